//! Where the parts of a running cluster are on the host: what faults take hold of.

use std::path::PathBuf;

use super::cgroup::Hierarchies;
use super::names::Instance;
use super::process::Process;
use super::volume::Volume;
use super::{Cluster, Error, component, names, node};

/// Where a kubelet puts pods, by their class of service.
const POD_GROUPS: [&str; 3] = ["kubepods", "kubepods/burstable", "kubepods/besteffort"];

impl Cluster {
    /// The record of a component and its process, if it was ever started.
    pub(crate) fn component(&self, name: &str) -> Result<(PathBuf, Option<Process>), Error> {
        let record = self.layout.processes().join(name);
        let process = if record.is_file() {
            Process::recorded(&record)?
        } else {
            None
        };
        Ok((record, process))
    }

    /// Starts a component that has ended, as `up` did. One that runs is left alone.
    pub(crate) fn start_again(&self, name: &str) -> Result<(), Error> {
        let (_, process) = self.component(name)?;
        if process.is_some_and(|process| process.is_alive()) {
            return Ok(());
        }
        component::start_again(&self.layout, name).map(drop)
    }

    /// The components that run on a node, in the order in which they are started. The process that holds the node's namespaces is not among
    /// them: without it there is no node to start anything on.
    pub(crate) fn node_components(node: &str) -> [String; 3] {
        ["containerd", "kubelet", "kube-proxy"].map(|name| format!("{name}-{node}"))
    }

    /// The process that holds a node's namespaces.
    pub(crate) fn anchor(&self, node: &str) -> Result<Option<Process>, Error> {
        self.component(&node::anchor_name(node)).map(|(_, process)| process)
    }

    /// The control group of a pod, in the hierarchy that can also freeze it.
    pub(crate) fn pod_group(&self, uid: &str) -> Result<PathBuf, Error> {
        let hierarchies = Hierarchies::detect()?;
        let nodes = self.instance.nodes(self.nodes);
        let roots = nodes.iter().map(|node| hierarchies.pods_hierarchy(&node.cgroup));
        let groups = roots.flat_map(|root| POD_GROUPS.map(|class| root.join(class).join(format!("pod{uid}"))));
        let hint = "it may have ended, or run on a node that is not of this cluster";
        groups
            .into_iter()
            .find(|group| group.is_dir())
            .ok_or_else(|| Error::NoSuch {
                what: format!("a running pod with uid {uid}"),
                hint: hint.to_owned(),
            })
    }

    /// The control group of a whole node, its pods included, in the hierarchy that can also freeze it.
    pub(crate) fn node_group(&self, node: &str) -> Result<PathBuf, Error> {
        Ok(Hierarchies::detect()?.pods_hierarchy(&self.site(node)?.node.cgroup))
    }

    /// Makes a control group of the cluster's own and returns its directories, one a hierarchy.
    pub(crate) fn make_group(&self, name: &str) -> Result<Vec<PathBuf>, Error> {
        let group = format!("{}/{name}", self.instance.cgroup());
        let hierarchies = Hierarchies::detect()?;
        hierarchies.create(&group)?;
        Ok(hierarchies.directories(&group))
    }

    /// A node's network namespace.
    pub(crate) fn node_network(&self, node: &str) -> Result<PathBuf, Error> {
        Ok(self.site(node)?.node.network())
    }

    /// The control plane's end of a node's cable: the network namespace, and the name of the link in it.
    pub(crate) fn node_cable(&self, node: &str) -> Result<(PathBuf, String), Error> {
        let cable = self.site(node)?.node.cable();
        Ok((Instance::network(&self.instance.fabric()), cable))
    }

    /// Where the API server listens, inside the cluster's network.
    pub(crate) fn api_server() -> std::net::SocketAddr {
        names::api_server()
    }

    /// The volumes of all nodes.
    pub(crate) fn volumes(&self) -> Vec<Volume> {
        self.nodes()
            .iter()
            .filter_map(|node| self.site(node).ok())
            .flat_map(|site| site.volumes())
            .collect()
    }

    /// Where the faults that are not healed yet are on record.
    pub(crate) fn faults(&self) -> PathBuf {
        self.layout.faults()
    }
}
