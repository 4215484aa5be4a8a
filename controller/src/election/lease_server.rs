//! One Lease of an API server in memory, with the answers, delays and losses that a test asks for.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::pending,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::{Service, service_fn};

use crate::clock::{Clock, Tick};

/// What happens to one request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    /// It never arrives.
    Lost,
    /// It is carried out, and nobody hears of it.
    Unheard,
    /// It is carried out at once, and answered after this long.
    Slow(Duration),
    /// It is carried out after this long, and nobody hears of it: the sender has given up, the request has not.
    Late(Duration),
    /// It is refused.
    Refused(StatusCode),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct LeaseServer(Arc<Mutex<Store>>);

#[derive(Debug, Default)]
struct Store {
    lease: Option<Value>,
    version: u64,
    requests: Vec<(Method, Value)>,
    fates: VecDeque<(Method, Fate)>,
    frozen: bool,
}

/// The clock of a test whose time is paused: it moves as the timers do, or a little faster or slower.
#[derive(Debug)]
pub(crate) struct TimerClock {
    began: Instant,
    percent: u32,
}

// === impl LeaseServer ===

impl LeaseServer {
    /// Stores this Lease, as if somebody else had written it.
    pub(crate) fn put(&self, spec: &Value) {
        let mut store = self.store();
        store.version += 1;
        let uid = match &store.lease {
            Some(lease) => lease["metadata"]["uid"].clone(),
            None => format!("uid-{}", store.version).into(),
        };
        let version = store.version.to_string();
        store.lease = Some(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "pgsteer", "namespace": "pgsteer", "uid": uid, "resourceVersion": version},
            "spec": spec,
        }));
    }

    pub(crate) fn delete(&self) {
        self.store().lease = None;
    }

    pub(crate) fn lease(&self) -> Option<Lease> {
        let lease = self.store().lease.clone()?;
        Some(serde_json::from_value(lease).unwrap())
    }

    pub(crate) fn holder(&self) -> Option<String> {
        self.lease()?.spec?.holder_identity.filter(|holder| !holder.is_empty())
    }

    pub(crate) fn term(&self) -> Option<i32> {
        self.lease()?.spec?.lease_transitions
    }

    /// The next request of this method meets this fate, once.
    pub(crate) fn doom(&self, method: Method, fate: Fate) {
        self.store().fates.push_back((method, fate));
    }

    /// From now on nothing is answered, or everything is again.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.store().frozen = frozen;
    }

    /// What has arrived since this was asked last: method and body.
    pub(crate) fn requests(&self) -> Vec<(Method, Value)> {
        std::mem::take(&mut self.store().requests)
    }

    /// A client on which nothing is ever answered, for a watch that shows nothing.
    pub(crate) fn blind_client() -> Client {
        Client::new(
            service_fn(|_: Request<Body>| pending::<Result<Response<Full<Bytes>>, Infallible>>()),
            "pgsteer",
        )
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap()
    }

    async fn answer(self, method: Method, body: Value) -> Response<Full<Bytes>> {
        let fate = {
            let mut store = self.store();
            let doomed = store.fates.iter().position(|(doomed, _)| *doomed == method);
            if store.frozen {
                Some(Fate::Lost)
            } else {
                doomed.and_then(|at| store.fates.remove(at)).map(|(_, fate)| fate)
            }
        };
        match fate {
            None => self.store().carry_out(&method, body),
            Some(Fate::Lost) => pending().await,
            Some(Fate::Unheard) => {
                self.store().carry_out(&method, body);
                pending().await
            }
            Some(Fate::Late(span)) => {
                self.carry_out_later(method, body, span);
                pending().await
            }
            Some(Fate::Slow(span)) => {
                let answer = self.store().carry_out(&method, body);
                pass(span).await;
                answer
            }
            Some(Fate::Refused(status)) => refusal(status),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a request on the network outlives whoever sent it"
    )]
    fn carry_out_later(self, method: Method, body: Value, span: Duration) {
        drop(tokio::spawn(async move {
            pass(span).await;
            drop(self.store().carry_out(&method, body));
        }));
    }
}

impl Service<Request<Body>> for LeaseServer {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            Ok(server.answer(parts.method, body).await)
        })
    }
}

// === impl Store ===

impl Store {
    fn carry_out(&mut self, method: &Method, body: Value) -> Response<Full<Bytes>> {
        self.requests.push((method.clone(), body.clone()));
        match (method.as_str(), &mut self.lease) {
            ("GET", Some(lease)) => answer(StatusCode::OK, lease),
            ("GET" | "PATCH", None) => refusal(StatusCode::NOT_FOUND),
            ("POST", Some(_)) => refuse(StatusCode::CONFLICT, "AlreadyExists"),
            ("POST", None) => {
                self.version += 1;
                let mut lease = body;
                lease["metadata"]["uid"] = format!("uid-{}", self.version).into();
                lease["metadata"]["resourceVersion"] = self.version.to_string().into();
                let answer = answer(StatusCode::CREATED, &lease);
                self.lease = Some(lease);
                answer
            }
            ("PATCH", Some(lease)) => {
                for (field, status) in [
                    ("uid", StatusCode::UNPROCESSABLE_ENTITY),
                    ("resourceVersion", StatusCode::CONFLICT),
                ] {
                    if let Some(expected) = body["metadata"].get(field)
                        && *expected != lease["metadata"][field]
                    {
                        return refusal(status);
                    }
                }
                self.version += 1;
                for (field, value) in body["spec"].as_object().unwrap() {
                    lease["spec"][field] = value.clone();
                }
                lease["metadata"]["resourceVersion"] = self.version.to_string().into();
                answer(StatusCode::OK, lease)
            }
            other => panic!("an unforeseen request: {other:?}"),
        }
    }
}

/// Time is virtual in these tests: a timer is what lets it pass.
pub(crate) async fn pass(span: Duration) {
    drop(tokio::time::timeout(span, pending::<()>()).await);
}

fn answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(body).unwrap();
    Response::builder().status(status).body(Full::from(body)).unwrap()
}

fn refusal(status: StatusCode) -> Response<Full<Bytes>> {
    let reason = match status {
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::CONFLICT => "Conflict",
        StatusCode::UNPROCESSABLE_ENTITY => "Invalid",
        StatusCode::FORBIDDEN => "Forbidden",
        _ => "InternalError",
    };
    refuse(status, reason)
}

fn refuse(status: StatusCode, reason: &str) -> Response<Full<Bytes>> {
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "reason": reason, "message": reason, "code": status.as_u16(),
    });
    answer(status, &body)
}

// === impl TimerClock ===

impl TimerClock {
    /// A clock that runs at this rate. Must be made inside the test's runtime.
    #[expect(
        clippy::disallowed_methods,
        reason = "this clock is the timers' own, so that both can be paused together"
    )]
    pub(crate) fn at_percent(percent: u32) -> Self {
        Self {
            began: Instant::now(),
            percent,
        }
    }
}

impl Clock for TimerClock {
    fn now(&self) -> Tick {
        // Not at zero: a host that has just booted is nothing that a test should depend on.
        Tick::default() + Duration::from_secs(1000) + self.began.elapsed() * self.percent / 100
    }

    fn wall(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_nanos(self.now().as_nanos())
    }
}
