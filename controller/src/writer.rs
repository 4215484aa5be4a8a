//! Every write of the controller, and the only place that sends one.
//!
//! A write carries two proofs: an unexpired permit (this process leads), and the uid and resourceVersion that the object must
//! still have (nobody wrote it since it was looked at). It carries a stamp, new each time, so that a write always changes the object
//! and no older request can follow it. See docs/architecture.md, the fence.

mod call;
mod slices;

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

pub use slices::{NewSlice, OldSlice};

use crate::{
    clock::Clock,
    decide::{LedgerExpected, PodKey},
    election::WritePermit,
    metrics::Metrics,
    stamp::{Holder, Stamp},
};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Client, Resource, ResourceExt,
    api::{GetParams, Patch, PatchParams, PostParams},
    core::Request,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::{
    ledger::{PostgresLedger, PostgresLedgerSpec},
    names,
    role::Role,
    route::PostgresRoute,
    status::PostgresRouteStatus,
};

/// How long one write may take: many times what a healthy API server needs, and well below a lease.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// What became of a write.
#[derive(Debug)]
pub enum Written<K> {
    /// It was carried out; the object as it is now.
    Done(Box<K>),
    /// The object is not what was expected. Look again, decide again. Should it go on, the API server's words tell why: an admission
    /// policy's no comes under the same code.
    Conflict(String),
    /// The object is gone.
    Gone,
    /// No definite answer: it may still be carried out. Nothing may be granted near it until a fresh stamp was answered.
    Unknown(String),
    /// The API server, or an admission webhook, said no. A person has to act; trying again soon does not help.
    Refused(String),
}

impl<K> Written<K> {
    /// Whether it is unknown, from now on, what the object will be; none: that is as it was before.
    #[must_use]
    pub const fn leaves_unknown(&self) -> Option<bool> {
        match self {
            Self::Done(_) => Some(false),
            Self::Unknown(_) => Some(true),
            Self::Conflict(_) | Self::Gone | Self::Refused(_) => None,
        }
    }
}

/// Why a write was not even sent.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    /// The permit has run out.
    #[error("the permit to write has run out")]
    PermitOver,
    /// The leader's identity carries no holder: a defect.
    #[error("identity {0:?} does not end in _<8 hex digits>")]
    Identity(String),
}

/// The write that changes the role label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelWrite {
    /// The label stays as it is.
    Keep,
    /// The label is removed.
    Remove,
    /// The label is set.
    Set(Role),
}

/// Sends writes. One for the whole process, so that stamps rise through all its reigns.
pub struct Writer {
    client: Client,
    clock: std::sync::Arc<dyn Clock>,
    metrics: std::sync::Arc<Metrics>,
    stamps: AtomicU64,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("stamps", &self.stamps)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// `client` must not retry by itself: a write that is sent twice is two writes.
    pub fn new(client: Client, clock: std::sync::Arc<dyn Clock>, metrics: std::sync::Arc<Metrics>) -> Self {
        Self {
            client,
            clock,
            metrics,
            stamps: AtomicU64::new(0),
        }
    }

    /// The next stamp of the permit's reign.
    fn stamp(&self, permit: &WritePermit<'_>) -> Result<Stamp, NotSent> {
        let identity = permit.holder();
        let holder = Holder::of_identity(identity).ok_or_else(|| NotSent::Identity(identity.to_owned()))?;
        let n = self.stamps.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Stamp {
            term: permit.term(),
            n,
            holder,
        })
    }

    /// Stamps a pod, and sets or removes its role label.
    pub async fn pod(
        &self,
        permit: WritePermit<'_>,
        namespace: &str,
        pod: &PodKey,
        resource_version: &str,
        role_label: &str,
        label: LabelWrite,
    ) -> Result<Written<Pod>, NotSent> {
        let stamp = self.stamp(&permit)?;
        let mut metadata = precondition(&pod.uid, resource_version, &stamp);
        match label {
            LabelWrite::Keep => {}
            LabelWrite::Remove => metadata["labels"] = json!({ role_label: null }),
            LabelWrite::Set(role) => metadata["labels"] = json!({ role_label: role.as_str() }),
        }
        self.patch(permit, namespace, &pod.name, json!({ "metadata": metadata }))
            .await
    }

    /// Creates the ledger, or changes the given fields of the one that is expected.
    pub async fn ledger(
        &self,
        permit: WritePermit<'_>,
        namespace: &str,
        name: &str,
        expected: Option<&LedgerExpected>,
        spec: PostgresLedgerSpec,
    ) -> Result<Written<PostgresLedger>, NotSent> {
        let stamp = self.stamp(&permit)?;
        let Some(expected) = expected else {
            let metadata = ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                annotations: Some(BTreeMap::from([(names::STAMP.to_owned(), stamp.to_string())])),
                ..ObjectMeta::default()
            };
            let params = PostParams {
                field_manager: Some(names::FIELD_MANAGER.to_owned()),
                ..PostParams::default()
            };
            let ledger = json!(PostgresLedger { metadata, spec }).to_string().into_bytes();
            let request = requests::<PostgresLedger>(namespace).create(&params, ledger);
            return self.send(permit, request).await;
        };
        let metadata = precondition(&expected.uid, &expected.resource_version, &stamp);
        self.patch(permit, namespace, name, json!({ "metadata": metadata, "spec": spec }))
            .await
    }

    /// Takes the accept annotation off the route.
    pub async fn accepted(
        &self,
        permit: WritePermit<'_>,
        route: &PostgresRoute,
    ) -> Result<Written<PostgresRoute>, NotSent> {
        let metadata = json!({
            "uid": route.metadata.uid,
            "resourceVersion": route.metadata.resource_version,
            "annotations": { names::ACCEPT: null },
        });
        let (namespace, name) = (route.namespace().unwrap_or_default(), route.name_any());
        self.patch(permit, &namespace, &name, json!({ "metadata": metadata }))
            .await
    }

    /// Writes the route's status.
    pub async fn status(
        &self,
        permit: WritePermit<'_>,
        route: &PostgresRoute,
        status: &PostgresRouteStatus,
    ) -> Result<Written<PostgresRoute>, NotSent> {
        let mut status = json!(status);
        // A merge patch leaves alone what it does not name: what is no longer there has to be named.
        if let (Some(new), Value::Object(old)) = (status.as_object_mut(), json!(route.status)) {
            for key in old.into_iter().map(|(key, _)| key) {
                new.entry(key).or_insert(Value::Null);
            }
        }
        let body = json!({
            "metadata": { "uid": route.metadata.uid, "resourceVersion": route.metadata.resource_version },
            "status": status,
        });
        let requests = requests::<PostgresRoute>(&route.namespace().unwrap_or_default());
        let request = requests.patch_subresource("status", &route.name_any(), &patch_params(), &Patch::Merge(&body));
        self.send(permit, request).await
    }

    /// Reads an object that was not as expected; `None`: it is gone.
    pub async fn read<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned,
    {
        let request = requests::<K>(namespace).get(name, &GetParams::default());
        match self.call(request).await {
            Ok(object) => Ok(Some(object)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn patch<K>(
        &self,
        permit: WritePermit<'_>,
        namespace: &str,
        name: &str,
        body: Value,
    ) -> Result<Written<K>, NotSent>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned,
    {
        let request = requests::<K>(namespace).patch(name, &patch_params(), &Patch::Merge(&body));
        self.send(permit, request).await
    }

    /// Sends one request while the permit lasts, and reads its answer.
    async fn send<K>(
        &self,
        permit: WritePermit<'_>,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Written<K>, NotSent>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let remaining = permit.remaining(self.clock.now()).min(WRITE_TIMEOUT);
        if remaining.is_zero() {
            return Err(NotSent::PermitOver);
        }
        let request = self.call(request);
        Ok(match tokio::time::timeout(remaining, request).await {
            Ok(Ok(object)) => Written::Done(Box::new(object)),
            Ok(Err(kube::Error::Api(status))) => match status.code {
                409 | 422 => Written::Conflict(status.message),
                404 => Written::Gone,
                400..=499 => Written::Refused(status.message),
                _ => Written::Unknown(format!("the API server answered {}: {}", status.code, status.message)),
            },
            Ok(Err(error)) => Written::Unknown(error.to_string()),
            Err(_elapsed) => Written::Unknown(format!("no answer within {remaining:?}")),
        })
    }
}

fn requests<K>(namespace: &str) -> Request
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Request::new(K::url_path(&(), Some(namespace)))
}

fn patch_params() -> PatchParams {
    PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// The metadata of a patch that is refused unless the object is the one that was looked at, unchanged.
fn precondition(uid: &str, resource_version: &str, stamp: &Stamp) -> Value {
    let annotations = json!({ names::STAMP: stamp.to_string() });
    if cfg!(feature = "unconditional-writes") {
        return json!({ "annotations": annotations });
    }
    json!({ "uid": uid, "resourceVersion": resource_version, "annotations": annotations })
}
