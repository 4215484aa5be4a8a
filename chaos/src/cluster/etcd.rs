//! etcd: one member, for the API server alone.

use std::path::Path;

use super::component::{Component, Room};

/// The ports of etcd on its loopback address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) client: u16,
    pub(crate) peer: u16,
}

/// The ports in a network namespace where nobody else listens.
pub(crate) const USUAL: Ports = Ports {
    client: 2379,
    peer: 2380,
};

pub(crate) fn component(program: &Path, data: &Path, ports: Ports, room: Room) -> Component {
    let client = format!("http://127.0.0.1:{}", ports.client);
    let peer = format!("http://127.0.0.1:{}", ports.peer);
    let args = [
        format!("--data-dir={}", data.display()),
        // The data is thrown away with the cluster; waiting for the disk would only make every write slower.
        "--unsafe-no-fsync".to_owned(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--log-level=warn".to_owned(),
    ];
    Component {
        name: "etcd".to_owned(),
        program: program.to_owned(),
        args: args.into(),
        env: Vec::new(),
        room,
    }
}
