//! From what the API server holds to what `decide` looks at. Pure: objects in, plain data out.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use k8s_openapi::api::{
    core::v1::{Container as ContainerSpec, ContainerState, ContainerStateTerminated, Pod},
    discovery::v1::EndpointSlice,
};
use kube::ResourceExt;
use shared::{ledger::PostgresLedger, names, route::PostgresRoute, term::Term};

use super::{
    memory::Memory,
    slices::{self, Services},
};
use crate::{
    clock::Tick,
    data_identity,
    decide::{Container, LabelState, LedgerView, Lifecycle, Observed, PodKey, PodView, ReignView},
    sighting::Sightings,
    stamp::{Holder, StampState},
};

/// What a person sets an annotation to, to say yes.
const YES: &str = "true";

/// Everything that is known of one route.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    pub(crate) at: Tick,
    pub(crate) term: Term,
    pub(crate) holder: Holder,
    pub(crate) route: &'a PostgresRoute,
    pub(crate) pods: &'a [std::sync::Arc<Pod>],
    pub(crate) ledger: Option<&'a PostgresLedger>,
    pub(crate) services: Services<'a>,
    /// Those that concern the route.
    pub(crate) slices: &'a [std::sync::Arc<EndpointSlice>],
    pub(crate) sightings: &'a BTreeMap<PodKey, Sightings>,
}

/// Whether the route's selector picks the pod.
pub(crate) fn selects(route: &PostgresRoute, pod: &Pod) -> bool {
    let wanted = &route.spec.pod_selector.match_labels;
    !wanted.is_empty() && wanted.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
}

/// The pod's name and uid.
pub(crate) fn key_of(pod: &Pod) -> PodKey {
    PodKey {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
    }
}

/// The container that runs PostgreSQL: the one that the route names, else the only one.
pub(crate) fn container_of<'a>(route: &PostgresRoute, pod: &'a Pod) -> Option<&'a ContainerSpec> {
    let containers = &pod.spec.as_ref()?.containers;
    match &route.spec.container {
        Some(name) => containers.iter().find(|container| container.name == *name),
        None => containers.first().filter(|_| containers.len() == 1),
    }
}

/// The pod's address.
pub(crate) fn ip_of(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

/// How far the pod's life has come.
pub(crate) fn lifecycle_of(pod: &Pod) -> Lifecycle {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    match phase {
        Some("Succeeded" | "Failed") => Lifecycle::Ended,
        _ if pod.metadata.deletion_timestamp.is_some() => Lifecycle::Terminating,
        _ => Lifecycle::Alive,
    }
}

/// Puts together what `decide` looks at, and lets the memory look too.
pub(crate) fn observe(known: &Known<'_>, memory: &mut Memory) -> Observed {
    let write_endpoints = endpoints(known);
    memory.keep_only(&known.pods.iter().filter_map(|pod| pod.uid()).collect());
    let pods = known
        .pods
        .iter()
        .map(|pod| (key_of(pod), view(known, pod, &write_endpoints, memory)))
        .collect();
    let of_slices = slices::Known {
        route: known.route,
        services: known.services,
        pods: known.pods,
        slices: known.slices,
    };
    Observed {
        at: known.at,
        reign: ReignView {
            term: known.term,
            holder: known.holder,
            began: memory.began,
            nodes_replied: memory.nodes_replied(),
            mark_written: memory.mark_written,
        },
        ledger: ledger(known.ledger),
        ledger_unknown: memory.ledger_unknown && known.ledger.is_some(),
        pods,
        slices: slices::view(&of_slices, memory),
        paused: known
            .route
            .annotations()
            .get(names::PAUSED)
            .is_some_and(|value| value == YES),
        accept: known.route.annotations().get(names::ACCEPT).cloned(),
    }
}

fn view(known: &Known<'_>, pod: &Pod, write_endpoints: &BTreeSet<String>, memory: &mut Memory) -> PodView {
    let key = key_of(pod);
    let label = LabelState::of(pod.labels().get(&known.route.spec.role_label).map(String::as_str));
    let sightings = known.sightings.get(&key).cloned().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    if sightings.replied.is_some() {
        memory.replied(node.as_deref(), &key.uid);
    }
    memory.look(&key.uid, &label, write_endpoints.contains(&key.uid), known.at);
    let container = container_of(known.route, pod);
    let directory = sightings
        .answer
        .as_ref()
        .and_then(|(_, report)| report.data_directory.as_deref());
    let data = container.map_or_else(
        || data_identity::of(pod, &ContainerSpec::default(), None),
        |container| data_identity::of(pod, container, directory),
    );
    PodView {
        node,
        ip: ip_of(pod),
        resource_version: pod.resource_version().unwrap_or_default(),
        lifecycle: lifecycle_of(pod),
        container: container.map_or(Container::Unknown, |container| state(pod, &container.name)),
        excluded: pod.annotations().get(names::EXCLUDE).is_some_and(|value| value == YES),
        label,
        stamp: StampState::of(pod.annotations().get(names::STAMP).map(String::as_str)),
        data,
        unknown: memory.unknown(&key.uid),
        out_of_write_since: memory.out_of_write_since(&key.uid),
        repair_not_before: memory.repair_not_before(&key.uid),
        sightings,
    }
}

fn state(pod: &Pod, container: &str) -> Container {
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    let status = statuses.into_iter().find(|status| status.name == container);
    let last = status.and_then(|status| status.last_state.as_ref());
    match status.and_then(|status| status.state.as_ref()) {
        Some(ContainerState {
            running: Some(running), ..
        }) => match &running.started_at {
            Some(since) => Container::Running {
                since_micros: since.0.as_microsecond(),
            },
            None => Container::Unknown,
        },
        Some(ContainerState {
            terminated: Some(ended),
            ..
        }) => stopped(Some(ended)),
        Some(ContainerState { waiting: Some(_), .. }) => stopped(last.and_then(|last| last.terminated.as_ref())),
        Some(_) | None => Container::Unknown,
    }
}

fn stopped(ended: Option<&ContainerStateTerminated>) -> Container {
    let finished = ended.and_then(|ended| ended.finished_at.as_ref());
    Container::Stopped {
        since_micros: finished.map(|at| at.0.as_microsecond()),
    }
}

/// The uids of the pods among the Service's endpoints, ready or not: kube-proxy may send clients to any of them.
fn endpoints(known: &Known<'_>) -> BTreeSet<String> {
    let service = &known.route.spec.services.primary;
    let of_service = |slice: &&std::sync::Arc<EndpointSlice>| slice.labels().get(names::SLICE_SERVICE) == Some(service);
    let slices = known.slices.iter().filter(of_service);
    let endpoints = slices.flat_map(|slice| slice.endpoints.iter().flatten());
    endpoints
        .filter_map(|endpoint| endpoint.target_ref.as_ref()?.uid.clone())
        .collect()
}

fn ledger(ledger: Option<&PostgresLedger>) -> LedgerView {
    match ledger {
        None => LedgerView::Absent,
        Some(ledger) => LedgerView::Present {
            uid: ledger.uid().unwrap_or_default(),
            resource_version: ledger.resource_version().unwrap_or_default(),
            stamp: StampState::of(ledger.annotations().get(names::STAMP).map(String::as_str)),
            ledger: ledger.spec.clone(),
        },
    }
}
