//! The HTTP endpoint of one process: `/livez`, `/readyz`, `/metrics` for machines, `/api/v1` for the command line, and the
//! status page at `/`. It reads only, and tells nothing secret.

mod api;
mod door;
mod events;
mod page;

use std::{fmt, io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::shown::Shown;
use door::{Door, GUESTS_MAX, STAY_MAX};

/// What `/metrics` answers with; Prometheus asks for it by this name.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The endpoint, bound and not yet serving: so that an address that is taken is an error at start, not later in a log.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
}

/// Why the endpoint cannot serve. The operator chooses another address, or ends who has it.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on --admin-address {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    source: io::Error,
}

/// What the answers are made of.
#[derive(Debug, Clone)]
struct Sources {
    shown: Shown,
    /// This replica, as the Lease names it when it leads.
    identity: Arc<str>,
    /// The process is to end: what would go on for ever ends.
    stop: CancellationToken,
}

// === impl Admin ===

impl Admin {
    /// Takes the address.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| BindError { address, source })?;
        Ok(Self { listener })
    }

    /// Where it listens: with port 0 the kernel chose one.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` fires, and then finishes what is being answered. `identity` is this replica's.
    pub async fn serve(self, shown: Shown, identity: String, stop: CancellationToken) -> io::Result<()> {
        let sources = Sources {
            shown,
            identity: identity.into(),
            stop: stop.clone(),
        };
        let routes = Router::new()
            .route("/", get(page::html))
            .route("/status.css", get(page::style))
            .route("/status.js", get(page::script))
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(scrape))
            .route("/api/v1/routes", get(api::routes))
            .route("/api/v1/routes/{namespace}/{name}", get(api::route))
            .route("/api/v1/routes/{namespace}/{name}/plan", get(api::plan))
            .route("/api/v1/routes/{namespace}/{name}/history", get(api::history))
            .route("/api/v1/events", get(events::follow))
            .with_state(sources);
        axum::serve(Door::new(self.listener, GUESTS_MAX, STAY_MAX), routes)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    }
}

async fn livez(State(sources): State<Sources>) -> Response {
    verdict(sources.shown.health.live().map(|()| "ok"))
}

async fn readyz(State(sources): State<Sources>) -> Response {
    verdict(sources.shown.health.ready())
}

async fn scrape(State(sources): State<Sources>) -> Response {
    match sources.shown.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// One line, for the kubelet's Event and for whoever asks with curl.
fn verdict<T: fmt::Display, E: fmt::Display>(result: Result<T, E>) -> Response {
    match result {
        Ok(well) => (StatusCode::OK, format!("{well}\n")).into_response(),
        Err(unwell) => (StatusCode::SERVICE_UNAVAILABLE, format!("{unwell}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests;
