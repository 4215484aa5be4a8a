//! The workloads that own the pods: whether they select by the role label, and whether their pods are born with one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, ReplicaSet, StatefulSet},
        core::v1::{Pod, PodTemplateSpec},
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference},
};
use kube::{Api, Client};

use crate::{
    clock::Tick,
    tasks::{Gate, Tasks},
};

/// How long one read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// An owner that could not be read is tried again after this long.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What is known of the workload that owns a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It was read.
    Read(Labels),
    /// It is gone, or of a kind that this controller does not know: nothing can be said against relabelling.
    Gone,
    /// It could not be read.
    Unreadable {
        /// Which one.
        name: String,
        /// Why not.
        reason: String,
    },
}

/// The labels that a workload cares about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Labels {
    /// `<kind> <name>`.
    pub(crate) name: String,
    /// The keys that its selector looks at.
    pub(crate) selector: BTreeSet<String>,
    /// The keys that its pods are born with.
    pub(crate) template: BTreeSet<String>,
}

/// The workloads that own pods, by uid, and the reads of them that are under way.
pub(crate) struct Owners {
    known: BTreeMap<String, (Tick, Owner)>,
    reading: BTreeSet<String>,
    pub(crate) reads: Tasks<(String, Owner)>,
}

impl Owners {
    /// None known yet.
    pub(crate) fn new(gate: &Arc<dyn Gate>) -> Self {
        Self {
            known: BTreeMap::new(),
            reading: BTreeSet::new(),
            reads: Tasks::new(gate),
        }
    }

    /// An owner has been read.
    pub(crate) fn learn(&mut self, uid: String, owner: Owner, now: Tick) {
        self.reading.remove(&uid);
        self.known.insert(uid, (now, owner));
    }

    /// What is known of the pod's owner.
    pub(crate) fn of(&self, pod: &Pod) -> Option<&Owner> {
        self.known.get(&owner_of(pod)?.uid).map(|(_, owner)| owner)
    }

    /// Begins to read the owners that are not known yet; whether all are known.
    pub(crate) fn complete(&mut self, client: &Client, namespace: &str, pods: &[Arc<Pod>], now: Tick) -> bool {
        let mut complete = true;
        for owner in pods.iter().filter_map(|pod| owner_of(pod)) {
            let again = match self.known.get(&owner.uid) {
                Some((read, Owner::Unreadable { .. })) => now.since(*read) >= READ_AGAIN_AFTER,
                Some(_) => false,
                None => {
                    complete = false;
                    true
                }
            };
            if again && self.reading.insert(owner.uid.clone()) {
                let (client, namespace, owner): (_, _, OwnerReference) =
                    (client.clone(), namespace.to_owned(), owner.clone());
                self.reads
                    .spawn(async move { (owner.uid.clone(), read(client, namespace, owner).await) });
            }
        }
        complete
    }
}

/// The reference to the workload that controls the pod.
fn owner_of(pod: &Pod) -> Option<&OwnerReference> {
    pod.metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
}

/// Reads the owner. Its selector cannot be changed, so once read it is known for good.
async fn read(client: Client, namespace: String, owner: OwnerReference) -> Owner {
    let shown = format!("{} {}", owner.kind, owner.name);
    let reading = async {
        match owner.kind.as_str() {
            "ReplicaSet" => {
                let api: Api<ReplicaSet> = Api::namespaced(client, &namespace);
                let spec = api.get_opt(&owner.name).await?.and_then(|found| found.spec);
                kube::Result::Ok(spec.map(|spec| (spec.selector, spec.template)))
            }
            "StatefulSet" => {
                let api: Api<StatefulSet> = Api::namespaced(client, &namespace);
                let spec = api.get_opt(&owner.name).await?.and_then(|found| found.spec);
                Ok(spec.map(|spec| (spec.selector, Some(spec.template))))
            }
            "DaemonSet" => {
                let api: Api<DaemonSet> = Api::namespaced(client, &namespace);
                let spec = api.get_opt(&owner.name).await?.and_then(|found| found.spec);
                Ok(spec.map(|spec| (spec.selector, Some(spec.template))))
            }
            _unknown => Ok(None),
        }
    };
    match tokio::time::timeout(READ_TIMEOUT, reading).await {
        Ok(Ok(Some((selector, template)))) => Owner::Read(Labels {
            name: shown,
            selector: keys(&selector),
            template: born_with(template.as_ref()),
        }),
        Ok(Ok(None)) => Owner::Gone,
        Ok(Err(kube::Error::Api(status))) => Owner::Unreadable {
            name: shown,
            reason: status.message,
        },
        Ok(Err(error)) => Owner::Unreadable {
            name: shown,
            reason: error.to_string(),
        },
        Err(_elapsed) => Owner::Unreadable {
            name: shown,
            reason: format!("no answer within {READ_TIMEOUT:?}"),
        },
    }
}

fn keys(selector: &LabelSelector) -> BTreeSet<String> {
    let labels = selector.match_labels.iter().flatten().map(|(key, _)| key.clone());
    let expressions = selector
        .match_expressions
        .iter()
        .flatten()
        .map(|expression| expression.key.clone());
    labels.chain(expressions).collect()
}

fn born_with(template: Option<&PodTemplateSpec>) -> BTreeSet<String> {
    let labels = template.and_then(|template| template.metadata.as_ref()?.labels.as_ref());
    labels.into_iter().flatten().map(|(key, _)| key.clone()).collect()
}
