//! One request to the API server, as a span of what it is sent for, which is named in its headers.

use http::Request;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use crate::{clock::Clock, trace::Span};

/// What kube gives for a request in the making.
type Built = Result<Request<Vec<u8>>, kube::core::request::Error>;

/// Sends a request about one object and reads the answer.
pub(super) async fn call<K>(client: &Client, clock: &dyn Clock, request: Built) -> Result<K, kube::Error>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let mut request = request.map_err(kube::Error::BuildRequest)?;
    let span = Span::current().request(format!("{} {}", request.method(), K::plural(&())), clock.now());
    if span.is_told() {
        span.say("http.request.method", request.method().to_string())
            .say("url.path", request.uri().path().to_owned());
        span.hand_on(request.headers_mut());
    }
    let answer = client.request(request).await;
    match &answer {
        Ok(_) => {}
        Err(kube::Error::Api(status)) => {
            span.say("http.response.status_code", i64::from(status.code));
            span.fail(&status.message);
        }
        Err(error) => span.fail(error.to_string()),
    }
    span.end(clock.now());
    answer
}
