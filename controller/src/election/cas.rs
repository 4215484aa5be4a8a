//! Makes every write of the election library a compare-and-swap, from outside.
//!
//! ```text
//! kube-leader-election --GET---> [ LeaseCas ] ---> API server    the answer is seen, then rewritten (`expiry`)
//!                      --PATCH-> [ LeaseCas ] ---> API server    + uid and resourceVersion of that GET, + the term
//!                      --POST--> [ LeaseCas ] ---> API server    + the term; a Lease that exists is not made again
//! ```
//!
//! The library reads and then patches without a precondition, so two candidates that read the same expired Lease would both
//! win. Through this layer the second one's patch is refused with 409 (or 422 when the Lease was made anew). A patch with no
//! read before it is not sent.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Method, Request, Response, StatusCode, header, response};
use http_body_util::{BodyExt as _, Full, Limited};
use k8s_openapi::api::coordination::v1::Lease;
use kube::client::Body;
use serde_json::Value;
use shared::{
    planted::{Bug, is_planted},
    term::Term,
};
use tokio::sync::Notify;
use tower::{BoxError, Layer, Service};

use super::expiry::Expiry;
use crate::clock::{Clock, Tick};

/// The largest answer that is read. The API server stores no object above 1.5 MiB, and a Lease has a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What the requests that follow are for. The library's own patches do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))] // a model's states are copied and compared
pub(super) enum Intent {
    /// Begin a reign: take the Lease, or what is still ours after a reign ended. The term rises.
    Contend,
    /// Keep the Lease under the same term. Should it have been deleted, make it anew under the next one.
    Renew,
    /// Prolong a reign, under at least this term.
    Raise(Term),
    /// Give the Lease back; its term stays.
    Release,
}

/// Why a request of the election library was not sent. The elector looks again later.
#[derive(Debug, thiserror::Error)]
pub(super) enum CasError {
    /// A patch without a precondition would not be a compare-and-swap.
    #[error("a Lease is only patched after it was read")]
    NotRead,
    /// The Lease was deleted under a reign that meant to raise its term.
    #[error("the Lease is gone, and with it the reign")]
    Gone,
    /// Thirty-one bits of terms are used up, by a hand or by an accident.
    #[error("leaseTransitions cannot rise any more: stop all replicas, remove the stamps, delete the Lease")]
    TermsExhausted,
    /// The library has learnt a request that this layer does not know.
    #[error("a {0} request is not part of an election")]
    Unforeseen(Method),
    /// What was sent or answered is not a Lease.
    #[error("not a Lease")]
    Malformed(#[source] serde_json::Error),
}

/// The layer, and what it has seen. All clones share it.
#[derive(Debug, Clone)]
pub(super) struct LeaseCas {
    clock: Arc<dyn Clock>,
    changed: Arc<Notify>,
    book: Arc<Mutex<Book>>,
}

/// What the layer has seen, and the rules by which it amends what the library sends: plain data, no requests and no clock.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq, Eq, Hash))]
pub(super) struct Book {
    expiry: Expiry,
    intent: Intent,
    /// uid and resourceVersion of the last read, until a write has used them.
    precondition: Option<(String, String)>,
}

/// [`LeaseCas`] around a transport.
#[derive(Debug, Clone)]
pub(super) struct LeaseCasService<S> {
    inner: S,
    cas: LeaseCas,
}

// === impl LeaseCas ===

impl LeaseCas {
    /// A layer for a candidate of this identity and ttl.
    pub(super) fn new(me: String, ttl: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            changed: Arc::new(Notify::new()),
            book: Arc::new(Mutex::new(Book::new(me, ttl))),
        }
    }

    /// Says what the next requests are for.
    pub(super) fn intend(&self, intent: Intent) {
        self.book().intend(intent);
    }

    /// Takes note of what a watch has shown: the Lease, or that there is none.
    pub(super) fn see(&self, lease: Option<&Lease>) {
        let now = self.clock.now();
        self.book().see(lease, now);
        self.changed.notify_one();
    }

    /// Waits until a watch has shown something that was not waited for yet.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// From when on the Lease may be taken or created, if nothing changes.
    pub(super) fn takeable_at(&self) -> Option<Tick> {
        self.book().expiry().takeable_at()
    }

    /// Until when we hold the Lease without reigning, if we do at this moment.
    pub(super) fn probation(&self) -> Option<Tick> {
        self.book().expiry().probation(self.clock.now())
    }

    /// Who held the Lease when it was seen last.
    pub(super) fn holder(&self) -> Option<String> {
        self.book().expiry().holder().map(ToOwned::to_owned)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing panics while it is held, and each change is one assignment.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to send instead of the library's `body`.
    fn amend(&self, method: &Method, body: &[u8]) -> Result<Vec<u8>, CasError> {
        let mut value = serde_json::from_slice(body).map_err(CasError::Malformed)?;
        let mut book = self.book();
        if *method == Method::PATCH && !is_planted(Bug::NoCas) {
            let (uid, resource_version) = book.precondition()?;
            set(&mut value, "metadata", "uid", uid.into());
            set(&mut value, "metadata", "resourceVersion", resource_version.into());
        }
        if let Some(term) = book.term(method)? {
            set(&mut value, "spec", "leaseTransitions", term.0.into());
        }
        serde_json::to_vec(&value).map_err(CasError::Malformed)
    }

    /// Takes note of an answer, and says what the library is to read instead of its `body`.
    fn note(&self, method: &Method, status: StatusCode, body: Bytes) -> Result<Bytes, CasError> {
        let now = self.clock.now();
        let read = *method == Method::GET;
        if read && status == StatusCode::NOT_FOUND {
            self.book().see(None, now);
            return Ok(body);
        }
        if !status.is_success() {
            return Ok(body);
        }
        let lease: Lease = serde_json::from_slice(&body).map_err(CasError::Malformed)?;
        let mut book = self.book();
        if !read {
            book.see(Some(&lease), now);
            return Ok(body);
        }
        let shown = book.read(lease, now);
        serde_json::to_vec(&shown).map(Bytes::from).map_err(CasError::Malformed)
    }
}

impl<S> Layer<S> for LeaseCas {
    type Service = LeaseCasService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LeaseCasService {
            inner,
            cas: self.clone(),
        }
    }
}

// === impl Book ===

impl Book {
    /// Nothing seen yet.
    pub(super) const fn new(me: String, ttl: Duration) -> Self {
        Self {
            expiry: Expiry::new(me, ttl),
            intent: Intent::Contend,
            precondition: None,
        }
    }

    /// What was seen of the Lease.
    pub(super) const fn expiry(&self) -> &Expiry {
        &self.expiry
    }

    /// Says what the next requests are for. What was read for another purpose is no precondition.
    pub(super) fn intend(&mut self, intent: Intent) {
        self.intent = intent;
        self.precondition = None;
    }

    /// Takes note of the Lease as it is at `now`, or that there is none.
    pub(super) fn see(&mut self, lease: Option<&Lease>, now: Tick) {
        match lease {
            Some(lease) => self.expiry.observe(lease, now),
            None => self.expiry.observe_missing(now),
        }
    }

    /// Takes note of the answer to a GET, as what the next patch expects to find, and says what the library is to read instead.
    pub(super) fn read(&mut self, lease: Lease, now: Tick) -> Lease {
        self.see(Some(&lease), now);
        self.precondition = lease.metadata.uid.clone().zip(lease.metadata.resource_version.clone());
        self.expiry.shown(lease, self.intent == Intent::Contend, now)
    }

    /// What a patch expects to find: uid and resourceVersion. Each read is good for one.
    pub(super) fn precondition(&mut self) -> Result<(String, String), CasError> {
        self.precondition.take().ok_or(CasError::NotRead)
    }

    /// The term to write, if this write changes it. It only rises, whatever became of the Lease.
    pub(super) fn term(&self, method: &Method) -> Result<Option<Term>, CasError> {
        let highest = self.expiry.highest();
        let next = || highest.next().ok_or(CasError::TermsExhausted).map(Some);
        let make = *method == Method::POST;
        match self.intent {
            Intent::Contend => next(),
            Intent::Renew if make => next(),
            Intent::Raise(_) | Intent::Release if make => Err(CasError::Gone),
            Intent::Renew | Intent::Release => Ok(None),
            Intent::Raise(at_least) => Ok(Some(at_least.max(highest))),
        }
    }
}

fn set(value: &mut Value, section: &str, field: &str, to: Value) {
    // The library builds both sections itself; an object that lacked one would be refused by the API server.
    if let Some(section) = value.get_mut(section).and_then(Value::as_object_mut) {
        section.insert(field.to_owned(), to);
    }
}

// === impl LeaseCasService ===

impl<S, B> Service<Request<Body>> for LeaseCasService<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (cas, method) = (self.cas.clone(), request.method().clone());
        let request = match amended(&cas, request) {
            Ok(request) => request,
            Err(error) => return Box::pin(async { Err(error) }),
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let (mut parts, body) = answer.await.map_err(Into::into)?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            let shown = cas.note(&method, parts.status, body)?;
            forget_length(&mut parts);
            Ok(Response::from_parts(parts, Full::new(shown)))
        })
    }
}

fn amended(cas: &LeaseCas, request: Request<Body>) -> Result<Request<Body>, BoxError> {
    let (parts, body) = request.into_parts();
    if parts.method == Method::GET {
        return Ok(Request::from_parts(parts, body));
    }
    if parts.method != Method::PATCH && parts.method != Method::POST {
        return Err(CasError::Unforeseen(parts.method).into());
    }
    // The client builds the bodies of its own requests in memory: they are there at once.
    let body = body
        .collect()
        .now_or_never()
        .ok_or("the body of a Lease request is not in memory")??
        .to_bytes();
    let amended = cas.amend(&parts.method, &body)?;
    Ok(Request::from_parts(parts, Body::from(amended)))
}

fn forget_length(parts: &mut response::Parts) {
    parts.headers.remove(header::CONTENT_LENGTH);
}

#[cfg(test)]
mod tests;
