//! kube-scheduler, at its defaults.

use std::path::Path;

use super::component::{Component, Room};
use super::layout::Layout;

/// The user whose certificate and kubeconfig it uses.
pub(crate) const USER: &str = "scheduler";

pub(crate) fn component(program: &Path, layout: &Layout, room: Room) -> Component {
    let kubeconfig = layout.kubeconfig(USER).display().to_string();
    let args = [
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        // There is only one.
        "--leader-elect=false".to_owned(),
    ];
    Component {
        name: "kube-scheduler".to_owned(),
        program: program.to_owned(),
        args: args.into(),
        env: Vec::new(),
        room,
    }
}
