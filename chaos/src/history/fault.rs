//! Faults as the history tells them: what was struck, and when that ended.

use serde::{Deserialize, Serialize};

/// What a fault strikes. The judge makes allowances for what depends on it, and for nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// A PostgreSQL server, its container or its pod.
    Server,
    /// A controller's process or pod.
    Controller,
    /// The API server, or what it cannot work without (etcd).
    ApiServer,
    /// The controller-manager: nobody copies labels into EndpointSlices.
    ControllerManager,
    /// A kubelet.
    Kubelet,
    /// A kube-proxy: a node keeps its old rules.
    KubeProxy,
    /// The cluster's DNS.
    Dns,
    /// A node with everything on it.
    Node,
    /// The wires between some of the others.
    Network,
    /// A pod's clock.
    Clock,
    /// The processors of the host.
    Processors,
}

/// One thing that a fault strikes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Of what kind.
    pub part: Part,
    /// Which: a pod's, a node's or a component's name.
    pub name: String,
}

impl Target {
    /// This one.
    pub fn new(part: Part, name: impl Into<String>) -> Self {
        Self {
            part,
            name: name.into(),
        }
    }
}

/// Whether a fault begins or ends. One that is over at once (a SIGKILL) is injected and healed in the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// It begins.
    Injected,
    /// Whoever brought it about has taken it back, or it was over at once. What it broke may still be mending.
    Healed,
}
