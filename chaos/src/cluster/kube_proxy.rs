//! kube-proxy in nftables mode: one a node, and one beside the API server, which calls webhooks at Service addresses.

use std::path::Path;

use super::component::{Component, Room};
use super::layout::Layout;
use super::names::NODES_AND_PODS;

/// The user whose certificate and kubeconfig it uses.
pub(crate) const USER: &str = "kube-proxy";

/// The kube-proxy of `node` (a node's name, or `control-plane`).
pub(crate) fn component(
    program: &Path,
    layout: &Layout,
    node: &str,
    room: Room,
    env: Vec<(String, String)>,
) -> Component {
    let args = [
        format!("--kubeconfig={}", layout.kubeconfig(USER).display()),
        "--proxy-mode=nftables".to_owned(),
        format!("--cluster-cidr={NODES_AND_PODS}"),
        format!("--hostname-override={node}"),
        // The conntrack settings cannot be written outside the host's first network namespace: 0 leaves them alone.
        "--conntrack-max-per-core=0".to_owned(),
        "--conntrack-min=0".to_owned(),
    ];
    Component {
        name: format!("kube-proxy-{node}"),
        program: program.to_owned(),
        args: args.into(),
        env,
        room,
    }
}
