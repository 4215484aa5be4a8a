//! Names and addresses of one cluster on the host: all derived from the state directory, so that `down` finds what `up` made
//! without being told, and two clusters in two state directories never meet.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::recipe::hex;

/// The range set aside for test beds (RFC 2544) is 198.18.0.0/15. Nobody's real network is in it.
/// Nodes and the control plane are in 198.18.0.0/24, the pods of node N in 198.18.N.0/24, Services in 198.19.0.0/20.
pub(crate) const CONTROL_PLANE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Nodes and pods.
pub(crate) const NODES_AND_PODS: &str = "198.18.0.0/16";
/// Service addresses.
pub(crate) const SERVICES: &str = "198.19.0.0/20";
/// The Service `kubernetes`: the first address of the range.
pub(crate) const KUBERNETES_SERVICE: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
/// The API server's port on [`CONTROL_PLANE`].
pub(crate) const API_PORT: u16 = 6443;
/// Domain of the cluster's DNS.
pub(crate) const DOMAIN: &str = "cluster.local";

/// Nodes beyond this do not fit two hands, and no scenario needs them.
pub const NODES_MAX: u8 = 9;

/// Where the API server listens.
pub(crate) fn api_server() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(CONTROL_PLANE), API_PORT)
}

/// Names of what a cluster makes outside its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    name: String,
}

impl Instance {
    /// The cluster whose state is in this directory.
    pub(crate) fn of(state: &Path) -> Self {
        let hash = Sha256::digest(state.as_os_str().as_encoded_bytes());
        Self {
            name: format!("pgsteer-{}", hex(&hash[..4])),
        }
    }

    /// The cgroup under which everything runs, relative to each hierarchy's root.
    pub(crate) fn cgroup(&self) -> &str {
        &self.name
    }

    /// The network namespace of the control plane, which holds the bridge between the nodes.
    pub(crate) fn fabric(&self) -> String {
        self.name.clone()
    }

    /// The path of a network namespace made with `ip netns add`.
    pub(crate) fn network(namespace: &str) -> PathBuf {
        Path::new("/run/netns").join(namespace)
    }

    /// The node with this number, from 1.
    pub(crate) fn node(&self, number: u8) -> Node {
        Node {
            number,
            name: format!("n{number}"),
            namespace: format!("{}-n{number}", self.name),
            cgroup: format!("{}/n{number}", self.name),
        }
    }

    /// All nodes.
    pub(crate) fn nodes(&self, count: u8) -> Vec<Node> {
        (1..=count).map(|number| self.node(number)).collect()
    }
}

/// Names and addresses of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) number: u8,
    /// Its name in Kubernetes.
    pub(crate) name: String,
    /// Its network namespace.
    pub(crate) namespace: String,
    /// Its cgroup, relative to each hierarchy's root; the kubelet's pods are under it.
    pub(crate) cgroup: String,
}

impl Node {
    pub(crate) fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 0, 10 + self.number)
    }

    /// The addresses of its pods.
    pub(crate) fn pods(&self) -> String {
        format!("198.18.{}.0/24", self.number)
    }

    /// The control plane's end of its cable.
    pub(crate) fn cable(&self) -> String {
        format!("v{}", self.number)
    }

    pub(crate) fn network(&self) -> PathBuf {
        Instance::network(&self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_state_directories_share_no_name() {
        let [one, other] = ["/a", "/b"].map(|path| Instance::of(Path::new(path)));
        assert_ne!(one.cgroup(), other.cgroup());
        assert_ne!(one.node(1).namespace, other.node(1).namespace);
        assert_eq!(one, Instance::of(Path::new("/a")));
    }

    #[test]
    fn the_largest_cluster_has_distinct_addresses_outside_the_pods_ranges() {
        let nodes = Instance::of(Path::new("/a")).nodes(NODES_MAX);
        assert_eq!(nodes[8].address(), Ipv4Addr::new(198, 18, 0, 19));
        assert_eq!(nodes[8].pods(), "198.18.9.0/24");
    }
}
