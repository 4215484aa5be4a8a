//! kube-controller-manager: among many others the controllers of Deployments, EndpointSlices and node life cycle, at their defaults,
//! because their delays are part of what is measured.

use std::path::Path;

use super::component::{Component, Room};
use super::layout::Layout;

/// The user whose certificate and kubeconfig it uses.
pub(crate) const USER: &str = "controller-manager";

pub(crate) fn component(program: &Path, layout: &Layout, room: Room) -> Component {
    let kubeconfig = layout.kubeconfig(USER).display().to_string();
    let args = [
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={}", layout.pki("sa.key").display()),
        format!("--root-ca-file={}", layout.pki("ca.crt").display()),
        // Getting a token for each of its forty controllers at the default 20 requests a second takes longer than the rest of the boot;
        // a cluster this small never comes near the limit again.
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
        // There is only one.
        "--leader-elect=false".to_owned(),
    ];
    Component {
        name: "kube-controller-manager".to_owned(),
        program: program.to_owned(),
        args: args.into(),
        env: Vec::new(),
        room,
    }
}
