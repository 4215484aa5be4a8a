//! The EndpointSlices that the controller writes itself, as plain data.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use super::observed::{Observed, PodKey};
use crate::stamp::StampState;

/// The addresses that one slice can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// As a slice's `addressType` and a Service's `ipFamilies` say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// A port of a Service, as one pod serves it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Its name in the Service; empty where it has none.
    pub name: String,
    /// Where the pod listens.
    pub number: i32,
    /// TCP, UDP or SCTP.
    pub protocol: String,
    /// What is spoken there, if the Service says so.
    pub app_protocol: Option<String>,
}

/// One pod among the endpoints of a slice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The pod.
    pub pod: PodKey,
    /// Its address.
    pub address: IpAddr,
    /// Its node, for those who prefer what is near.
    pub node: Option<String>,
    /// Whether the pod is being deleted and still serves: nobody is sent there who could go elsewhere.
    pub draining: bool,
}

/// What a slice says: who is reached through it, and on which ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The ports, the same for every endpoint.
    pub ports: Vec<Port>,
    /// The endpoints, in the order of their pods.
    pub endpoints: Vec<Endpoint>,
}

/// How a pod could be listed in a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its address of the slice's family.
    pub address: IpAddr,
    /// The Service's ports, as this pod serves them.
    pub ports: Vec<Port>,
    /// Whether the kubelet calls it ready.
    pub is_ready: bool,
}

/// What a slice is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It leads to the primary.
    Writes,
    /// It leads to the replicas.
    Reads,
    /// To nothing any more: the route or its Services have changed since it was made.
    Nothing,
}

/// A slice of the controller's own, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSlice {
    /// Its uid.
    pub uid: String,
    /// What a write to it expects to find.
    pub resource_version: String,
    /// Its stamp.
    pub stamp: StampState,
    /// Whether a write to it had no definite answer.
    pub unknown: bool,
    /// What it says.
    pub listing: Listing,
    /// Whether that is all it says; else somebody else has written to it, and more may be reached through it.
    pub is_sound: bool,
}

/// A slice of the controller's own, as it is, and how each pod could be listed in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceView {
    /// What it is for.
    pub purpose: Purpose,
    /// Its Service's name.
    pub service: String,
    /// Its Service's uid, for the one that is yet to be made.
    pub service_uid: String,
    /// The addresses that it can hold.
    pub family: Family,
    /// As it is; `None`: it is not there.
    pub held: Option<HeldSlice>,
    /// How each pod could be listed; a pod without such an address or port is not among them.
    pub targets: BTreeMap<PodKey, Target>,
}

/// Why nobody may be listed anew for a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// The Service is not as it has to be; its own condition says how.
    Service(String),
    /// Somebody else lists endpoints for it.
    Foreign {
        /// The Service.
        service: String,
        /// Slices of others that hold an endpoint, or have the name of one of ours.
        slices: Vec<String>,
    },
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => write!(f, "Service {service} is not as routing EndpointSlices needs it"),
            Self::Foreign { service, .. } => write!(f, "somebody else lists endpoints for Service {service}"),
        }
    }
}

/// The slices of a route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlicesView {
    /// Whether the controller is to make the Services follow; else there is only what earlier times have left.
    pub is_routing: bool,
    /// The write Service's name.
    pub write_service: String,
    /// The slices that there are or should be, by name.
    pub slices: BTreeMap<String, SliceView>,
    /// What keeps the primary from being listed.
    pub writes_blocked: Option<Blocked>,
    /// What keeps replicas from being listed.
    pub reads_blocked: Option<Blocked>,
}

/// Which slice a write is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SliceKey {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

// === impl SliceView, SlicesView ===

impl SliceView {
    /// What the slice says when this pod alone is listed; no endpoint, if it cannot be.
    pub(crate) fn leading_to(&self, key: &PodKey, observed: &Observed) -> Listing {
        let Some(target) = self.targets.get(key) else {
            return self.empty();
        };
        let node = observed.pods.get(key).and_then(|pod| pod.node.clone());
        let endpoint = Endpoint {
            pod: key.clone(),
            address: target.address,
            node,
            draining: false,
        };
        Listing {
            ports: target.ports.clone(),
            endpoints: vec![endpoint],
        }
    }

    /// What the slice says when nobody is listed: its ports say nothing then, and stay.
    pub(crate) fn empty(&self) -> Listing {
        let ports = self.held.as_ref().map(|held| held.listing.ports.clone());
        Listing {
            ports: ports.unwrap_or_default(),
            endpoints: Vec::new(),
        }
    }

    /// Whether nobody can be reached through it.
    pub(crate) fn is_empty(&self) -> bool {
        self.held
            .as_ref()
            .is_none_or(|held| held.is_sound && held.listing.endpoints.is_empty())
    }

    /// Whether somebody may be reached through it who is not this pod.
    pub(crate) fn leads_elsewhere(&self, than: &PodKey) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| !held.is_sound || held.listing.endpoints.iter().any(|endpoint| endpoint.pod != *than))
    }
}

impl SlicesView {
    /// The slices of the write Service, also those that are to be empty.
    pub(crate) fn of_write_service(&self) -> impl Iterator<Item = (&String, &SliceView)> {
        self.slices
            .iter()
            .filter(|(_, slice)| slice.service == self.write_service)
    }

    /// The slices that are to lead to the primary.
    pub(crate) fn for_writes(&self) -> impl Iterator<Item = (&String, &SliceView)> {
        self.slices.iter().filter(|(_, slice)| slice.purpose == Purpose::Writes)
    }
}
