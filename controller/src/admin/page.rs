//! The status page at `/`: one page, its style and its script, all in the program. The links in it are relative, so that it works through
//! `kubectl port-forward` and through the API server's proxy.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

/// Nothing comes from anywhere else, nothing is sent anywhere else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn served(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // A replica of another version may answer under the same address a moment later.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

pub(super) async fn html() -> Response {
    served("text/html; charset=utf-8", include_str!("page/status.html"))
}

pub(super) async fn style() -> Response {
    served("text/css; charset=utf-8", include_str!("page/status.css"))
}

pub(super) async fn script() -> Response {
    served("text/javascript; charset=utf-8", include_str!("page/status.js"))
}
