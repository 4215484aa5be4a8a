//! When a booted cluster may be used: pods can be placed on every node, have their service account, and find each other by name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::api::ListParams;
use kube::{Api, Client};

use super::component::Started;
use super::{Error, coredns, network};
use crate::wait::wait_for;

/// A node is ready 2 s after its kubelet started on an idle host, and was seen to take ten times that on a busy one. Only a hang waits this long.
const READY_LIMIT: Duration = Duration::from_mins(5);

/// Inside one host a connection is made within microseconds or not at all.
const DNS_LIMIT: Duration = Duration::from_millis(500);

/// Waits until the cluster may be used; a component that ends meanwhile ends the wait.
pub(crate) async fn wait_until_usable(
    client: &Client,
    fabric: &Path,
    nodes: usize,
    started: &[Started],
) -> Result<(), Error> {
    let waited = wait_for("the cluster to be usable", READY_LIMIT, || async {
        if let Some(error) = started.iter().find_map(|component| component.check().err()) {
            return Ok(Err(error));
        }
        look(client, fabric, nodes).await.map(Ok)
    });
    let logs: Vec<PathBuf> = started.iter().map(|component| component.log().to_owned()).collect();
    waited.await.map_err(|timed_out| Error::timed_out(timed_out, &logs))?
}

/// One look; an error is what is missing.
async fn look(client: &Client, fabric: &Path, nodes: usize) -> Result<(), String> {
    let listed = Api::<Node>::all(client.clone()).list(&ListParams::default()).await;
    let listed = listed.map_err(|error| format!("the nodes: {error}"))?;
    let ready = listed.items.iter().filter(|node| takes_pods(node)).count();
    if ready < nodes {
        return Err(format!("{ready} of {nodes} nodes are Ready"));
    }
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
    let account = accounts.get("default").await;
    account.map_err(|error| format!("the default service account: {error}"))?;
    // CoreDNS listens once it has read the Services.
    network::connect(fabric, coredns::address(), DNS_LIMIT).map_err(|error| format!("DNS: {error}"))?;
    Ok(())
}

/// Ready, and nothing keeps pods away.
fn takes_pods(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"));
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    ready && taints.is_none_or(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ready: &str, taint: Option<&str>) -> Node {
        let taints: Vec<_> = taint
            .iter()
            .map(|key| serde_json::json!({"key": key, "effect": "NoSchedule"}))
            .collect();
        let node = serde_json::json!({
            "spec": {"taints": taints},
            "status": {"conditions": [{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": ready}]},
        });
        serde_json::from_value(node).expect("a node")
    }

    #[test]
    fn a_ready_node_with_a_taint_takes_no_pods_yet() {
        assert!(takes_pods(&node("True", None)));
        assert!(!takes_pods(&node("False", None)));
        assert!(!takes_pods(&node("True", Some("node.kubernetes.io/not-ready"))));
        assert!(!takes_pods(&Node::default()));
    }
}
