//! Watches on what the controller writes and on what follows from it: role labels, EndpointSlices, the Lease.
//!
//! A watch that breaks is begun anew; what changed twice in between is then seen once.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures::TryStreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::task::JoinSet;

use super::history::History;
use crate::install::{CONTROLLER, NAMESPACE, PODS, READS, ROLE, SYSTEM, WRITES};
use crate::timeline::{Happening, ServiceOf};

/// Begins all watches; they end with the set.
pub(super) fn begin(tasks: &mut JoinSet<()>, client: &Client, history: &History) {
    tasks.spawn(pods(client.clone(), history.clone()));
    tasks.spawn(endpoints(client.clone(), history.clone()));
    tasks.spawn(lease(client.clone(), history.clone()));
}

async fn pods(client: Client, history: History) {
    let api: Api<Pod> = Api::namespaced(client, NAMESPACE);
    let mut known: BTreeMap<String, Option<String>> = BTreeMap::new();
    watch(api, watcher::Config::default().labels(PODS), |event| match event {
        Seen::Is(pod) => {
            let (name, role) = (pod.name_any(), pod.labels().get(ROLE).cloned());
            if known.get(&name) != Some(&role) {
                known.insert(name.clone(), role.clone());
                history.record(Happening::Role { pod: name, role });
            }
        }
        Seen::Gone(pod) => {
            known.remove(&pod.name_any());
            history.record(Happening::PodGone { pod: pod.name_any() });
        }
    })
    .await;
}

async fn endpoints(client: Client, history: History) {
    let api: Api<EndpointSlice> = Api::namespaced(client, NAMESPACE);
    let mut slices: BTreeMap<(ServiceOf, String), BTreeSet<String>> = BTreeMap::new();
    let mut known: BTreeMap<ServiceOf, BTreeSet<String>> = BTreeMap::new();
    watch(api, watcher::Config::default(), |event| {
        let (Seen::Is(slice) | Seen::Gone(slice)) = &event;
        let name = match slice.labels().get("kubernetes.io/service-name").map(String::as_str) {
            Some(WRITES) => ServiceOf::Writes,
            Some(READS) => ServiceOf::Reads,
            _ => return,
        };
        let key = (name, slice.name_any());
        match &event {
            Seen::Is(slice) => slices.insert(key, ready_addresses(slice)),
            Seen::Gone(_) => slices.remove(&key),
        };
        let of_service = slices.iter().filter(|((of, _), _)| *of == name);
        let addresses: BTreeSet<String> = of_service.flat_map(|(_, addresses)| addresses.clone()).collect();
        if known.get(&name) != Some(&addresses) {
            known.insert(name, addresses.clone());
            history.record(Happening::Endpoints { name, addresses });
        }
    })
    .await;
}

async fn lease(client: Client, history: History) {
    let api: Api<Lease> = Api::namespaced(client, SYSTEM);
    let mut known = None;
    let only = format!("metadata.name={CONTROLLER}");
    watch(api, watcher::Config::default().fields(&only), |event| {
        let holder = match event {
            Seen::Is(lease) => lease.spec.and_then(|spec| spec.holder_identity),
            Seen::Gone(_) => None,
        };
        let holder = holder.filter(|holder| !holder.is_empty());
        if known.as_ref() != Some(&holder) {
            known = Some(holder.clone());
            history.record(Happening::Leader { holder });
        }
    })
    .await;
}

/// What a watch says of one object.
enum Seen<K> {
    /// It is so now.
    Is(K),
    /// It is gone; this is how it was last.
    Gone(K),
}

async fn watch<K>(api: Api<K>, config: watcher::Config, mut saw: impl FnMut(Seen<K>))
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let mut events = pin!(watcher(api, config).default_backoff());
    loop {
        match events.try_next().await {
            Ok(Some(Event::Apply(object) | Event::InitApply(object))) => saw(Seen::Is(object)),
            Ok(Some(Event::Delete(object))) => saw(Seen::Gone(object)),
            Ok(Some(Event::Init | Event::InitDone)) => {}
            // The stream backs off and begins anew by itself; the end of a run is when its task is dropped.
            Err(error) => tracing::debug!(%error, "watch broken"),
            Ok(None) => return,
        }
    }
}

/// The addresses that kube-proxy sends to: those that are not known to be unready.
fn ready_addresses(slice: &EndpointSlice) -> BTreeSet<String> {
    let ready = slice.endpoints.iter().flatten().filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|conditions| conditions.ready).unwrap_or(true)
    });
    ready.flat_map(|endpoint| endpoint.addresses.clone()).collect()
}
