//! From the EndpointSlices and Services that the API server holds to what `decide` looks at. Pure: objects in, plain data out.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::{
    api::{
        core::v1::{Container, Pod, Service, ServicePort, ServiceSpec},
        discovery::v1::{Endpoint as WireEndpoint, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::ResourceExt;
use shared::{
    names,
    role::Role,
    route::{PostgresRoute, Routing},
    status::Reason,
};

use super::{acceptance, memory::Memory, observe};
use crate::{
    decide::{Blocked, Endpoint, Family, HeldSlice, Listing, PodKey, Port, Purpose, SliceView, SlicesView, Target},
    stamp::StampState,
};

/// The two Services of a route, where they are there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Services<'a> {
    pub(crate) primary: Option<&'a Service>,
    pub(crate) replica: Option<&'a Service>,
}

/// Everything that is known of a route's slices.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) route: &'a PostgresRoute,
    pub(crate) services: Services<'a>,
    pub(crate) pods: &'a [Arc<Pod>],
    pub(crate) slices: &'a [Arc<EndpointSlice>],
}

/// Whether a slice concerns the route: it is of one of its Services, or was made for it.
pub(crate) fn concerns(route: &PostgresRoute, slice: &EndpointSlice) -> bool {
    let services = &route.spec.services;
    let service = slice.labels().get(names::SLICE_SERVICE);
    service.is_some_and(|name| *name == services.primary || *name == services.replica) || is_ours(route, slice)
}

/// Whether a slice was made by a controller of ours.
pub(crate) fn is_managed(slice: &EndpointSlice) -> bool {
    slice
        .labels()
        .get(names::SLICE_MANAGED_BY)
        .is_some_and(|by| by == names::GROUP)
}

fn is_ours(route: &PostgresRoute, slice: &EndpointSlice) -> bool {
    is_managed(slice) && slice.annotations().get(names::ROUTE) == Some(&route.name_any())
}

/// The name of a Service's slice.
fn name_of(service: &str, family: Family) -> String {
    format!("{service}-pgsteer-{}", family.as_str().to_lowercase())
}

/// Puts together what `decide` looks at.
pub(crate) fn view(known: &Known<'_>, memory: &mut Memory) -> SlicesView {
    let Known { route, services, .. } = *known;
    let is_routing = route.spec.routing == Routing::EndpointSlices;
    memory.keep_only_slices(&known.slices.iter().filter_map(|slice| slice.uid()).collect());
    let mut slices = BTreeMap::new();
    if is_routing {
        for (purpose, service) in [(Purpose::Writes, services.primary), (Purpose::Reads, services.replica)] {
            for family in service.map(families).unwrap_or_default() {
                let service = service.cloned().unwrap_or_default();
                let slice = wanted(known, purpose, &service, family);
                slices.insert(name_of(&service.name_any(), family), slice);
            }
        }
    }
    for slice in known.slices.iter().filter(|slice| is_ours(route, slice)) {
        let view = slices.entry(slice.name_any()).or_insert_with(|| SliceView {
            purpose: Purpose::Nothing,
            service: slice.labels().get(names::SLICE_SERVICE).cloned().unwrap_or_default(),
            service_uid: String::new(),
            family: if slice.address_type == Family::V6.as_str() {
                Family::V6
            } else {
                Family::V4
            },
            held: None,
            targets: BTreeMap::new(),
        });
        view.held = Some(held(slice, &view.service, memory));
    }
    let names: BTreeSet<&String> = slices.keys().collect();
    let blocked = |role, service: Option<&Service>| is_routing.then(|| blocked(known, role, service, &names)).flatten();
    let writes_blocked = blocked(Role::Primary, services.primary);
    let reads_blocked = blocked(Role::Replica, services.replica);
    SlicesView {
        is_routing,
        write_service: route.spec.services.primary.clone(),
        slices,
        writes_blocked,
        reads_blocked,
    }
}

/// The slice that a Service should have, before it is looked whether it is there.
fn wanted(known: &Known<'_>, purpose: Purpose, service: &Service, family: Family) -> SliceView {
    let spec = service.spec.clone().unwrap_or_default();
    let targets = known.pods.iter().filter_map(|pod| {
        let target = Target {
            address: address(pod, family)?,
            ports: Some(ports(&spec, pod)).filter(|ports| !ports.is_empty())?,
            is_ready: is_ready(pod),
        };
        Some((observe::key_of(pod), target))
    });
    SliceView {
        purpose,
        service: service.name_any(),
        service_uid: service.uid().unwrap_or_default(),
        family,
        held: None,
        targets: targets.collect(),
    }
}

/// The families that the Service's clients may use.
fn families(service: &Service) -> Vec<Family> {
    let spec = service.spec.clone().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        return Vec::new();
    }
    let named = spec.ip_families.unwrap_or_default();
    let known: Vec<Family> = [Family::V4, Family::V6]
        .into_iter()
        .filter(|family| named.iter().any(|name| name == family.as_str()))
        .collect();
    if known.is_empty() { vec![Family::V4] } else { known }
}

/// Why nobody may be listed anew for a Service.
fn blocked(known: &Known<'_>, role: Role, service: Option<&Service>, ours: &BTreeSet<&String>) -> Option<Blocked> {
    let services = &known.route.spec.services;
    let name = if role == Role::Primary {
        &services.primary
    } else {
        &services.replica
    };
    let problem = acceptance::service_problem(known.route, role, service).map(|problem| problem.reason);
    if let Some(Reason::ServiceMissing | Reason::ServiceExternal | Reason::ServiceHasSelector) = problem {
        return Some(Blocked::Service(name.clone()));
    }
    let foreign = known.slices.iter().filter(|slice| {
        let of_service = slice.labels().get(names::SLICE_SERVICE) == Some(name);
        let leads = slice.endpoints.as_ref().is_some_and(|endpoints| !endpoints.is_empty());
        let in_the_way = ours.contains(&slice.name_any());
        of_service && !is_ours(known.route, slice) && (leads || in_the_way)
    });
    let foreign: Vec<_> = foreign.collect();
    (!foreign.is_empty()).then(|| Blocked::Foreign {
        service: name.clone(),
        slices: foreign.iter().map(|slice| slice.name_any()).collect(),
    })
}

/// A slice of our own as it is.
fn held(slice: &EndpointSlice, service: &str, memory: &Memory) -> HeldSlice {
    let uid = slice.uid().unwrap_or_default();
    let wire = slice.endpoints.as_deref().unwrap_or_default();
    let mut endpoints: Vec<Endpoint> = wire.iter().filter_map(endpoint).collect();
    endpoints.sort();
    let wire_ports = slice.ports.as_deref().unwrap_or_default();
    let ports: Vec<Port> = wire_ports.iter().filter_map(port).collect();
    let of_service = slice
        .labels()
        .get(names::SLICE_SERVICE)
        .is_some_and(|its| its == service);
    let is_sound = of_service && endpoints.len() == wire.len() && ports.len() == wire_ports.len();
    HeldSlice {
        resource_version: slice.resource_version().unwrap_or_default(),
        stamp: StampState::of(slice.annotations().get(names::STAMP).map(String::as_str)),
        unknown: memory.slice_unknown(&uid),
        uid,
        listing: Listing { ports, endpoints },
        is_sound,
    }
}

/// An endpoint as the controller writes them; `None`: somebody else wrote it.
fn endpoint(wire: &WireEndpoint) -> Option<Endpoint> {
    let [address] = wire.addresses.as_slice() else {
        return None;
    };
    let target = wire
        .target_ref
        .as_ref()
        .filter(|target| target.kind.as_deref() == Some("Pod"))?;
    let conditions = wire.conditions.as_ref()?;
    let draining = match (conditions.ready, conditions.serving, conditions.terminating) {
        (Some(true), Some(true), Some(false)) => false,
        (Some(false), Some(true), Some(true)) => true,
        _ => return None,
    };
    let plain = wire.hostname.is_none() && wire.hints.is_none() && wire.zone.is_none();
    plain.then_some(())?;
    Some(Endpoint {
        pod: PodKey {
            name: target.name.clone()?,
            uid: target.uid.clone()?,
        },
        address: address.parse().ok()?,
        node: wire.node_name.clone(),
        draining,
    })
}

fn port(wire: &EndpointPort) -> Option<Port> {
    Some(Port {
        name: wire.name.clone().unwrap_or_default(),
        number: wire.port?,
        protocol: wire.protocol.clone().unwrap_or_else(|| TCP.to_owned()),
        app_protocol: wire.app_protocol.clone(),
    })
}

/// What a port speaks when nobody says otherwise.
const TCP: &str = "TCP";

/// The Service's ports, as this pod serves them; a port that is named and that the pod has not is left out, as Kubernetes does.
pub(crate) fn ports(service: &ServiceSpec, pod: &Pod) -> Vec<Port> {
    let ports = service.ports.iter().flatten();
    ports
        .filter_map(|port| {
            let protocol = port.protocol.clone().unwrap_or_else(|| TCP.to_owned());
            Some(Port {
                name: port.name.clone().unwrap_or_default(),
                number: number(port, &protocol, pod)?,
                protocol,
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

fn number(port: &ServicePort, protocol: &str, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let stays = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
            let beside = spec.init_containers.iter().flatten().filter(stays);
            let ports = spec
                .containers
                .iter()
                .chain(beside)
                .flat_map(|container| container.ports.iter().flatten());
            ports
                .filter(|its| its.name.as_ref() == Some(name) && its.protocol.as_deref().unwrap_or(TCP) == protocol)
                .map(|its| its.container_port)
                .next()
        }
    }
}

/// The pod's address of a family.
fn address(pod: &Pod, family: Family) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    let all = status.pod_ips.iter().flatten().map(|each| &each.ip);
    let mut addresses = all.chain(&status.pod_ip).filter_map(|ip| ip.parse::<IpAddr>().ok());
    addresses.find(|address| Family::of(*address) == family)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests;
