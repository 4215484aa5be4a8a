//! Every write of the controller, and the only place that sends one.
//!
//! A write carries two proofs: an unexpired permit (this process leads), and the uid and resourceVersion that the object must
//! still have (nobody wrote it since it was looked at). It carries a stamp, new each time, so that a write always changes the object
//! and no older request can follow it. See docs/architecture.md, the fence.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
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
use tracing::{Instrument, debug_span};

use crate::{
    clock::Clock,
    decide::{LedgerExpected, PodKey},
    election::WritePermit,
    stamp::{Holder, Stamp},
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
    pub fn new(client: Client, clock: std::sync::Arc<dyn Clock>) -> Self {
        Self {
            client,
            clock,
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
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        self.patch(permit, &api, &pod.name, json!({ "metadata": metadata }))
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
        let api: Api<PostgresLedger> = Api::namespaced(self.client.clone(), namespace);
        let Some(expected) = expected else {
            let metadata = ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                annotations: Some(BTreeMap::from([(names::STAMP.to_owned(), stamp.to_string())])),
                ..ObjectMeta::default()
            };
            let ledger = PostgresLedger { metadata, spec };
            let params = PostParams {
                field_manager: Some(names::FIELD_MANAGER.to_owned()),
                ..PostParams::default()
            };
            #[expect(clippy::disallowed_methods, reason = "this is the Writer")]
            return self.send(permit, "create", api.create(&params, &ledger)).await;
        };
        let metadata = precondition(&expected.uid, &expected.resource_version, &stamp);
        self.patch(permit, &api, name, json!({ "metadata": metadata, "spec": spec }))
            .await
    }

    /// Takes the accept annotation off the route.
    pub async fn accepted(
        &self,
        permit: WritePermit<'_>,
        route: &PostgresRoute,
    ) -> Result<Written<PostgresRoute>, NotSent> {
        let api: Api<PostgresRoute> = self.api_of(route);
        let metadata = json!({
            "uid": route.metadata.uid,
            "resourceVersion": route.metadata.resource_version,
            "annotations": { names::ACCEPT: null },
        });
        let name = route.metadata.name.clone().unwrap_or_default();
        self.patch(permit, &api, &name, json!({ "metadata": metadata })).await
    }

    /// Writes the route's status.
    pub async fn status(
        &self,
        permit: WritePermit<'_>,
        route: &PostgresRoute,
        status: &PostgresRouteStatus,
    ) -> Result<Written<PostgresRoute>, NotSent> {
        let api: Api<PostgresRoute> = self.api_of(route);
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
        let (name, params) = (route.metadata.name.clone().unwrap_or_default(), patch_params());
        let patch = Patch::Merge(&body);
        #[expect(clippy::disallowed_methods, reason = "this is the Writer")]
        let request = api.patch_status(&name, &params, &patch);
        self.send(permit, "status", request).await
    }

    fn api_of(&self, route: &PostgresRoute) -> Api<PostgresRoute> {
        Api::namespaced(
            self.client.clone(),
            route.metadata.namespace.as_deref().unwrap_or_default(),
        )
    }

    async fn patch<K>(
        &self,
        permit: WritePermit<'_>,
        api: &Api<K>,
        name: &str,
        body: Value,
    ) -> Result<Written<K>, NotSent>
    where
        K: kube::Resource + Clone + DeserializeOwned + fmt::Debug,
    {
        let (params, patch) = (patch_params(), Patch::Merge(&body));
        #[expect(clippy::disallowed_methods, reason = "this is the Writer")]
        let request = api.patch(name, &params, &patch);
        self.send(permit, "patch", request).await
    }

    /// Sends one request while the permit lasts, and reads its answer.
    async fn send<K>(
        &self,
        permit: WritePermit<'_>,
        verb: &'static str,
        request: impl Future<Output = Result<K, kube::Error>>,
    ) -> Result<Written<K>, NotSent> {
        let remaining = permit.remaining(self.clock.now()).min(WRITE_TIMEOUT);
        if remaining.is_zero() {
            return Err(NotSent::PermitOver);
        }
        let span = debug_span!("api", verb, "otel.kind" = "client");
        Ok(match tokio::time::timeout(remaining, request).instrument(span).await {
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

fn patch_params() -> PatchParams {
    PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// The metadata of a patch that is refused unless the object is the one that was looked at, unchanged.
fn precondition(uid: &str, resource_version: &str, stamp: &Stamp) -> Value {
    json!({
        "uid": uid,
        "resourceVersion": resource_version,
        "annotations": { names::STAMP: stamp.to_string() },
    })
}
