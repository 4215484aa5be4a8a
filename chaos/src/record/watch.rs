//! Watches on what the controller writes and on what follows from it: pods, EndpointSlices, the Lease, the ledger.
//!
//! A watch that breaks is begun anew; what changed twice in between is then seen once, and a [`Happening::Gap`] says so.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use shared::ledger::PostgresLedger;
use tokio::sync::watch::Sender;
use tokio::task::JoinSet;

use super::Journal;
use crate::history::{Happening, Heard, Mark, PodSeen, ServiceOf, WrittenEndpoints};
use crate::host_time::HostTime;
use crate::install::{CONTROLLER, NAMESPACE, PODS, READS, ROLE, ROUTE, SYSTEM, WRITES};

/// The pods of the route that exist now, by name.
pub(super) type Pods = BTreeMap<String, PodSeen>;

/// Begins all watches; they end with the set. `pods` hears of the route's pods.
pub(super) fn begin(tasks: &mut JoinSet<()>, client: &Client, journal: &Journal, pods: Sender<Pods>) {
    tasks.spawn(watch_pods(client.clone(), journal.clone(), pods));
    tasks.spawn(watch_endpoints(client.clone(), journal.clone()));
    tasks.spawn(watch_lease(client.clone(), journal.clone()));
    tasks.spawn(watch_ledger(client.clone(), journal.clone()));
}

async fn watch_pods(client: Client, journal: Journal, sender: Sender<Pods>) {
    let api: Api<Pod> = Api::namespaced(client, NAMESPACE);
    let config = watcher::Config::default().labels(PODS);
    follow(api, config, &journal, |seen| {
        sender.send_if_modified(|known| match seen {
            Seen::Is(pod) => {
                let pod = pod_seen(&pod);
                let is_new = known.get(&pod.pod) != Some(&pod);
                if is_new {
                    journal.record(Happening::Pod(pod.clone()));
                    known.insert(pod.pod.clone(), pod);
                }
                is_new
            }
            Seen::Gone(name) => known.remove(&name).is_some_and(|pod| {
                journal.record(Happening::PodGone {
                    pod: pod.pod,
                    uid: pod.uid,
                });
                true
            }),
        });
    })
    .await;
}

fn pod_seen(pod: &Pod) -> PodSeen {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let is_ready = |kind: &str, value: &str| kind == "Ready" && value == "True";
    PodSeen {
        pod: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        address: status.and_then(|status| status.pod_ip.clone()),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        role: pod.labels().get(ROLE).cloned(),
        is_ready: conditions
            .into_iter()
            .flatten()
            .any(|condition| is_ready(&condition.type_, &condition.status)),
        is_terminating: pod.metadata.deletion_timestamp.is_some(),
    }
}

/// The addresses of one slice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Addresses {
    ready: BTreeSet<String>,
    terminating: BTreeSet<String>,
}

async fn watch_endpoints(client: Client, journal: Journal) {
    let api: Api<EndpointSlice> = Api::namespaced(client, NAMESPACE);
    let mut slices: BTreeMap<String, (ServiceOf, Addresses)> = BTreeMap::new();
    let mut known: BTreeMap<ServiceOf, Addresses> = BTreeMap::new();
    follow(api, watcher::Config::default(), &journal, |seen| {
        let service = match seen {
            Seen::Is(slice) => {
                let Some(service) = service_of(&slice) else { return };
                slices.insert(slice.name_any(), (service, addresses(&slice)));
                service
            }
            Seen::Gone(name) => match slices.remove(&name) {
                Some((service, _)) => service,
                None => return,
            },
        };
        let mut all = Addresses::default();
        for (_, of_slice) in slices.values().filter(|(of, _)| *of == service) {
            all.ready.extend(of_slice.ready.iter().cloned());
            all.terminating.extend(of_slice.terminating.iter().cloned());
        }
        if known.get(&service) != Some(&all) {
            known.insert(service, all.clone());
            journal.record(Happening::Endpoints {
                service,
                ready: all.ready,
                terminating: all.terminating,
            });
        }
    })
    .await;
}

/// What a slice of one of the two Services holds.
pub(super) fn written(slice: &EndpointSlice) -> Option<WrittenEndpoints> {
    Some(WrittenEndpoints {
        service: service_of(slice)?,
        ready: addresses(slice).ready,
    })
}

fn service_of(slice: &EndpointSlice) -> Option<ServiceOf> {
    match slice.labels().get("kubernetes.io/service-name").map(String::as_str) {
        Some(WRITES) => Some(ServiceOf::Writes),
        Some(READS) => Some(ServiceOf::Reads),
        _ => None,
    }
}

/// As kube-proxy reads them: an endpoint that says nothing of a condition is ready and serves.
fn addresses(slice: &EndpointSlice) -> Addresses {
    let mut found = Addresses::default();
    for endpoint in slice.endpoints.iter().flatten() {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let is_terminating = conditions.terminating.unwrap_or(false);
        let is_ready = conditions.ready.unwrap_or(true);
        let serves = conditions.serving.unwrap_or(is_ready);
        if is_ready {
            found.ready.extend(endpoint.addresses.iter().cloned());
        } else if is_terminating && serves {
            found.terminating.extend(endpoint.addresses.iter().cloned());
        }
    }
    found
}

async fn watch_lease(client: Client, journal: Journal) {
    let api: Api<Lease> = Api::namespaced(client, SYSTEM);
    let config = watcher::Config::default().fields(&format!("metadata.name={CONTROLLER}"));
    let mut known = None;
    follow(api, config, &journal, |seen| {
        let (holder, transitions) = match seen {
            Seen::Is(lease) => {
                let spec = lease.spec.unwrap_or_default();
                let transitions = spec.lease_transitions.unwrap_or(0);
                (spec.holder_identity, u32::try_from(transitions).unwrap_or(0))
            }
            Seen::Gone(_) => (None, 0),
        };
        let now = (holder.filter(|holder| !holder.is_empty()), transitions);
        if known.as_ref() != Some(&now) {
            known = Some(now.clone());
            let (holder, transitions) = now;
            journal.record(Happening::Lease { holder, transitions });
        }
    })
    .await;
}

async fn watch_ledger(client: Client, journal: Journal) {
    let api: Api<PostgresLedger> = Api::namespaced(client, NAMESPACE);
    let config = watcher::Config::default().fields(&format!("metadata.name={ROUTE}"));
    let mut known = None;
    follow(api, config, &journal, |seen| {
        let mark = match seen {
            Seen::Is(ledger) => ledger.spec.mark.map(|mark| Mark {
                system: mark.system_identifier.to_string(),
                timeline: mark.timeline.0,
                lsn: mark.lsn.to_string(),
                pod: mark.pod,
            }),
            Seen::Gone(_) => None,
        };
        if known.as_ref() != Some(&mark) {
            known = Some(mark.clone());
            journal.record(Happening::Ledger { mark });
        }
    })
    .await;
}

/// What a watch says of one object.
enum Seen<K> {
    /// It is so now.
    Is(K),
    /// The one of this name is gone.
    Gone(String),
}

/// The pause before a broken watch is tried again. The faults kill API servers on purpose, and a pause that grows would leave the history
/// blind for longer than the outage was; a handful of watches that knock four times a second load nothing.
const WATCH_AGAIN: Duration = Duration::from_millis(250);

/// Tries again at one pace, however often.
struct Steadily;

impl Iterator for Steadily {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(WATCH_AGAIN)
    }
}

impl Backoff for Steadily {
    fn reset(&mut self) {}
}

async fn follow<K>(api: Api<K>, config: watcher::Config, journal: &Journal, mut saw: impl FnMut(Seen<K>))
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let mut events = pin!(watcher(api, config).backoff(Steadily));
    let (mut known, mut listed) = (BTreeSet::new(), BTreeSet::new());
    // When it broke, and why; at first it has not begun.
    let mut broken: Option<(HostTime, String)> = None;
    loop {
        match events.try_next().await {
            Ok(Some(Event::Apply(object))) => {
                known.insert(object.name_any());
                saw(Seen::Is(object));
            }
            Ok(Some(Event::Delete(object))) => {
                known.remove(&object.name_any());
                saw(Seen::Gone(object.name_any()));
            }
            Ok(Some(Event::Init)) => listed.clear(),
            Ok(Some(Event::InitApply(object))) => {
                listed.insert(object.name_any());
                saw(Seen::Is(object));
            }
            Ok(Some(Event::InitDone)) => {
                for name in known.difference(&listed) {
                    saw(Seen::Gone(name.clone()));
                }
                known = std::mem::take(&mut listed);
                if let Some((since, why)) = broken.take() {
                    let of = Heard::Watch;
                    journal.record(Happening::Gap { of, since, why });
                }
            }
            // The stream backs off and begins anew by itself; the end of a run is when its task is dropped.
            Err(error) => {
                broken.get_or_insert((HostTime::now(), error.to_string()));
            }
            Ok(None) => return,
        }
    }
}
