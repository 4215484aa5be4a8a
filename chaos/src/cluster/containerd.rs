//! containerd: runs the containers of one node through runc.

use std::path::Path;

use super::component::{Component, Room};
use super::names::Node;

/// Its socket, inside the node.
pub(crate) const SOCKET: &str = "/run/containerd/containerd.sock";

/// The image of the container that holds a pod's namespaces.
pub(crate) const PAUSE_IMAGE: &str = "localhost/pause:1";

/// The namespace in containerd where the kubelet's images and containers are.
pub(crate) const KUBERNETES: &str = "k8s.io";

pub(crate) fn component(
    program: &Path,
    node: &Node,
    config: &Path,
    room: Room,
    env: Vec<(String, String)>,
) -> Component {
    let args = vec!["--config".to_owned(), config.display().to_string()];
    Component {
        name: format!("containerd-{}", node.name),
        program: program.to_owned(),
        args,
        env,
        room,
    }
}

/// The configuration. The paths are the standard ones: inside the node they are its own.
pub(crate) fn config(runc: &Path) -> String {
    format!(
        r#"version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
# Both would write outside the node's own directories.
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  # Where the host has no CAP_SYS_RESOURCE, runc cannot lower a score and no container starts.
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "{}"
"#,
        runc.display()
    )
}

/// The pod network of one node, for the CNI plugins: a cable a pod, addresses from the node's range.
pub(crate) fn pod_network(node: &Node) -> String {
    let network = serde_json::json!({
        "cniVersion": "1.0.0",
        "name": "pod",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/containerd/ipam",
                "ranges": [[{"subnet": node.pods()}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    format!("{network:#}\n")
}
