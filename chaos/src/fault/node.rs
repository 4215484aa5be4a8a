//! A node that is switched off: every process on it dies at once, its cable is dead, and its disks keep what they have.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;

use super::{Faults, Heal, host, network};
use crate::cluster::process::Process;
use crate::cluster::{Cluster, Error, cgroup};

/// A process that is killed may have forked a moment before: so often the node is looked at again.
const LOOKS_MAX: usize = 50;

/// A killed process that waits for a disk ends when that has answered. So long one is waited for before the node is looked at again.
const ENDED_WITHIN: Duration = Duration::from_secs(1);

/// A node's containerd reads its state before it listens: a second or two. The command that runs this is bounded.
const UNTIL_CONTAINERD_ANSWERS: &str = "until ctr version >/dev/null 2>&1; do sleep 0.1; done";

/// Switches a node off.
pub fn switch_off(faults: &mut Faults<'_>, node: &str) -> Result<(), Error> {
    let cluster = faults.cluster;
    faults.inject(Heal::SwitchOn { node: node.to_owned() }, || {
        network::unplug(cluster, node)?;
        kill_everything(cluster, node)
    })
}

/// Switches a node on again: its own programs start, and the kubelet starts its pods.
pub(super) fn switch_on(cluster: &Cluster, node: &str) -> Result<(), Error> {
    network::plug(cluster, node)?;
    let [containerd, kubelet, kube_proxy] = Cluster::node_components(node);
    cluster.start_again(&containerd)?;
    // A kubelet that meets no containerd ends, and here is no init system that would start it again.
    host::on_node(cluster, node, &["sh", "-c", UNTIL_CONTAINERD_ANSWERS])?;
    cluster.start_again(&kubelet)?;
    cluster.start_again(&kube_proxy)
}

/// Everything but the process that holds the node's namespaces: it stands for the machine itself.
fn kill_everything(cluster: &Cluster, node: &str) -> Result<(), Error> {
    let group = cluster.node_group(node)?;
    let anchor = cluster.anchor(node)?.map(|anchor| anchor.pid);
    for _ in 0..LOOKS_MAX {
        let members: BTreeSet<i32> = cgroup::walk(&group)
            .iter()
            .flat_map(|group| cgroup::members(group))
            .collect();
        let left = members.into_iter().filter(|pid| Some(*pid) != anchor);
        let left: Vec<Process> = left
            .filter_map(Process::find)
            .filter(|process| !process.is_zombie)
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        let killing = Error::io("kill a process of", &group);
        left.iter()
            .try_for_each(|process| process.signal(Signal::KILL).map(drop))
            .and_then(|()| {
                left.iter()
                    .try_for_each(|process| process.ends_within(ENDED_WITHIN).map(drop))
            })
            .map_err(killing)?;
    }
    Err(Error::NoSuch {
        what: format!("an end of the processes of node {node}"),
        hint: "a process that the kernel waits for cannot be killed".to_owned(),
    })
}
