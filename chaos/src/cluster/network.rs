//! The network of a cluster with nodes: one namespace for the control plane, with a bridge, and one a node, cabled to it. There is
//! no uplink: nothing in it reaches, or is reached from, anything outside.
//!
//! ```text
//!   pgsteer-<hash>   br0 198.18.0.1 ── v1 ═ eth0 198.18.0.11   pgsteer-<hash>-n1 ── pods 198.18.1.0/24
//!                        │          └─ v2 ═ eth0 198.18.0.12   pgsteer-<hash>-n2 ── pods 198.18.2.0/24
//! ```

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Error;
use super::command::Run;
use super::names::{CONTROL_PLANE, Instance, Node, SERVICES};

/// Makes the namespaces, cables and routes.
pub(crate) async fn create(instance: &Instance, nodes: &[Node]) -> Result<(), Error> {
    let fabric = instance.fabric();
    for namespace in std::iter::once(&fabric).chain(nodes.iter().map(|node| &node.namespace)) {
        Run::new("ip").args(["netns", "add", namespace]).run().await?;
        forward(namespace).await?;
    }
    batch(&fabric, &fabric_batch(nodes)).await?;
    for node in nodes {
        batch(&node.namespace, &node_batch(node, nodes)).await?;
    }
    Ok(())
}

/// Removes the namespaces of this cluster that exist, and with them the cables.
pub(crate) async fn remove(instance: &Instance, nodes: &[Node]) -> Result<(), Error> {
    let fabric = instance.fabric();
    for namespace in std::iter::once(&fabric).chain(nodes.iter().map(|node| &node.namespace)) {
        if Instance::network(namespace).exists() {
            Run::new("ip").args(["netns", "del", namespace]).run().await?;
        }
    }
    Ok(())
}

/// Lines for `ip -batch`, inside the control plane's namespace.
fn fabric_batch(nodes: &[Node]) -> String {
    let mut lines = vec![
        "link set lo up".to_owned(),
        "link add br0 type bridge".to_owned(),
        format!("addr add {CONTROL_PLANE}/24 dev br0"),
        "link set br0 up".to_owned(),
        // The API server calls admission webhooks at Service addresses: kube-proxy's rules rewrite them, but a route must exist first.
        format!("route add {SERVICES} dev br0"),
    ];
    for node in nodes {
        lines.push(format!(
            "link add {} type veth peer name eth0 netns {}",
            node.cable(),
            node.namespace
        ));
        lines.push(format!("link set {} master br0 up", node.cable()));
        lines.push(format!("route add {} via {}", node.pods(), node.address()));
    }
    lines.join("\n")
}

/// Lines for `ip -batch`, inside a node's namespace.
fn node_batch(node: &Node, nodes: &[Node]) -> String {
    let mut lines = vec![
        "link set lo up".to_owned(),
        format!("addr add {}/24 dev eth0", node.address()),
        "link set eth0 up".to_owned(),
        format!("route add default via {CONTROL_PLANE}"),
    ];
    let others = nodes.iter().filter(|other| *other != node);
    lines.extend(others.map(|other| format!("route add {} via {}", other.pods(), other.address())));
    lines.join("\n")
}

async fn batch(namespace: &str, lines: &str) -> Result<(), Error> {
    Run::new("ip")
        .args(["-n", namespace, "-batch", "-"])
        .input(format!("{lines}\n"))
        .run()
        .await
        .map(drop)
}

/// Lets a namespace pass packets on; where the host filters bridged packets, this bridge is left out: its nodes filter for themselves.
async fn forward(namespace: &str) -> Result<(), Error> {
    let network = Instance::network(namespace);
    let script = "echo 1 >/proc/sys/net/ipv4/ip_forward
        for call in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e \"$call\" ] || echo 0 >\"$call\"; done";
    Run::new("nsenter")
        .arg(format!("--net={}", network.display()))
        .args(["sh", "-ec", script])
        .run()
        .await
        .map(drop)
}

/// Runs `work` on a thread of its own inside a network namespace. Sockets that it makes stay in that namespace for ever, so they can
/// be used from outside; the thread ends, so no other work ever lands in the wrong network.
pub(crate) fn within<T: Send>(network: &Path, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let namespace = std::fs::File::open(network)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| -> io::Result<T> {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network))?;
            Ok(work())
        });
        thread
            .join()
            .unwrap_or_else(|_panic| Err(io::Error::other("the thread in the network namespace panicked")))
    })
}

/// A connection made inside a network namespace.
pub(crate) fn connect(network: &Path, address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    within(network, || TcpStream::connect_timeout(&address, limit))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_a_route_to_every_other_nodes_pods_but_not_its_own() {
        let nodes = Instance::of(Path::new("/a")).nodes(3);
        let lines = node_batch(&nodes[1], &nodes);
        assert!(lines.contains("route add 198.18.1.0/24 via 198.18.0.11"), "{lines}");
        assert!(lines.contains("route add 198.18.3.0/24 via 198.18.0.13"), "{lines}");
        assert!(!lines.contains("198.18.2.0/24"), "{lines}");
    }
}
