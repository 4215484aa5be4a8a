//! Packets that do not arrive: dropped without a word by rules on the victim's node, so that connections stay open at both ends, or a
//! cable pulled out.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use super::{Faults, Heal, PodRef, host};
use crate::cluster::{Cluster, Error};

/// Whom a pod is cut off from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The API server.
    ApiServer,
    /// Every PostgreSQL server.
    Servers,
    /// One address.
    Address(IpAddr),
    /// Everyone beyond its own node's programs.
    Everyone,
}

/// PostgreSQL's port in the pods.
pub(super) const POSTGRES_PORT: u16 = 5432;

/// Cuts a pod off, both ways.
pub fn cut_pod(faults: &mut Faults<'_>, pod: &PodRef, from: From) -> Result<(), Error> {
    let network = faults.cluster.node_network(&pod.node)?;
    let table = format!("pgsteer_cut_{}", faults.next);
    let rules = rules(&table, pod.address, from);
    let heal = Heal::Pass {
        network: network.clone(),
        table,
    };
    faults.inject(heal, || {
        host::in_network(&network, &["nft", "-f", "-"], Some(&rules)).map(drop)
    })
}

/// The rules of one table. Packets are looked at where they are passed on, after kube-proxy has put the pod's address in the place of the
/// Service's.
fn rules(table: &str, pod: IpAddr, from: From) -> String {
    let (out, back) = match from {
        From::ApiServer => {
            let (address, port) = (Cluster::api_server().ip(), Cluster::api_server().port());
            (
                format!("ip daddr {address} tcp dport {port}"),
                format!("ip saddr {address} tcp sport {port}"),
            )
        }
        From::Servers => (
            format!("tcp dport {POSTGRES_PORT}"),
            format!("tcp sport {POSTGRES_PORT}"),
        ),
        From::Address(address) => (format!("ip daddr {address}"), format!("ip saddr {address}")),
        From::Everyone => (String::new(), String::new()),
    };
    let mut rules = format!("table ip {table} {{\n  chain passed {{\n    type filter hook forward priority -300;\n");
    // Writing to a String cannot fail.
    writeln!(rules, "    ip saddr {pod} {out} drop\n    ip daddr {pod} {back} drop").ok();
    rules.push_str("  }\n}\n");
    rules
}

/// Removes a table of rules; one that is not there is no error.
pub(super) fn remove_table(network: &Path, table: &str) -> Result<(), Error> {
    // Adding it first makes its removal sure, in one transaction.
    let script = format!("add table ip {table}\ndelete table ip {table}\n");
    host::in_network(network, &["nft", "-f", "-"], Some(&script)).map(drop)
}

/// Pulls a node's cable: nothing passes between it and the rest.
pub fn unplug_node(faults: &mut Faults<'_>, node: &str) -> Result<(), Error> {
    let cluster = faults.cluster;
    faults.inject(Heal::Plug { node: node.to_owned() }, || unplug(cluster, node))
}

pub(super) fn unplug(cluster: &Cluster, node: &str) -> Result<(), Error> {
    set_cable(cluster, node, "down")
}

pub(super) fn plug(cluster: &Cluster, node: &str) -> Result<(), Error> {
    set_cable(cluster, node, "up")
}

fn set_cable(cluster: &Cluster, node: &str, state: &str) -> Result<(), Error> {
    let (network, cable) = cluster.node_cable(node)?;
    host::in_network(&network, &["ip", "link", "set", &cable, state], None).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_names_the_pod_in_both_directions_and_nobody_else() {
        let pod: IpAddr = "198.18.1.5".parse().expect("an address");
        let cut = rules("t", pod, From::ApiServer);
        assert!(
            cut.contains("ip saddr 198.18.1.5 ip daddr 198.18.0.1 tcp dport 6443 drop"),
            "{cut}"
        );
        assert!(
            cut.contains("ip daddr 198.18.1.5 ip saddr 198.18.0.1 tcp sport 6443 drop"),
            "{cut}"
        );
        let everyone = rules("t", pod, From::Everyone);
        assert_eq!(everyone.matches("drop").count(), 2, "{everyone}");
        assert_eq!(everyone.matches("198.18.1.5").count(), 2, "{everyone}");
    }
}
