//! One request to the API server, as a span of what it is sent for, which is named in its headers.

use http::Request;
use kube::Resource;
use serde::de::DeserializeOwned;

use super::Writer;
use crate::trace::Span;

/// What kube gives for a request in the making.
type Built = Result<Request<Vec<u8>>, kube::core::request::Error>;

impl Writer {
    /// Sends a request about one object and reads the answer.
    pub(super) async fn call<K>(&self, request: Built) -> Result<K, kube::Error>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        let (method, resource) = (request.method().to_string(), K::plural(&()));
        let sent = self.clock.now();
        let span = Span::current().request(format!("{method} {resource}"), sent);
        if span.is_told() {
            span.say("http.request.method", method.clone())
                .say("url.path", request.uri().path().to_owned());
            span.hand_on(request.headers_mut());
        }
        let answer = self.client.request(request).await;
        match &answer {
            Ok(_) => {}
            Err(kube::Error::Api(status)) => {
                span.say("http.response.status_code", i64::from(status.code));
                span.fail(&status.message);
            }
            Err(error) => span.fail(error.to_string()),
        }
        let answered = self.clock.now();
        self.metrics.called(&method, &resource, answered.since(sent));
        span.end(answered);
        answer
    }
}
