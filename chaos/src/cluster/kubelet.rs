//! The kubelet of one node.

use std::path::Path;

use serde_json::json;

use super::component::{Component, Room};
use super::layout::Layout;
use super::names::{CONTROL_PLANE, DOMAIN, Node};

pub(crate) fn component(
    program: &Path,
    layout: &Layout,
    node: &Node,
    config: &Path,
    room: Room,
    env: Vec<(String, String)>,
) -> Component {
    let args = vec![
        format!("--config={}", config.display()),
        format!("--kubeconfig={}", layout.kubeconfig(&node.name).display()),
        format!("--hostname-override={}", node.name),
        format!("--node-ip={}", node.address()),
    ];
    Component {
        name: format!("kubelet-{}", node.name),
        program: program.to_owned(),
        args,
        env,
        room,
    }
}

/// The configuration: defaults, except for what a node that is only a pair of namespaces needs.
pub(crate) fn config(layout: &Layout, node: &Node, resolv_conf: &Path) -> String {
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": layout.pki(&format!("{}.crt", node.name)),
        "tlsPrivateKeyFile": layout.pki(&format!("{}.key", node.name)),
        "containerRuntimeEndpoint": format!("unix://{}", super::containerd::SOCKET),
        "cgroupDriver": "cgroupfs",
        // One a node, or the kubelets take each other's pods for leftovers and remove them.
        "cgroupRoot": format!("/{}", node.cgroup),
        // A host with cgroup v1 is refused by default.
        "failCgroupV1": false,
        "failSwapOn": false,
        "clusterDomain": DOMAIN,
        "clusterDNS": [CONTROL_PLANE],
        "resolvConf": resolv_conf,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        // All nodes share the host's disk, whose filling is the host's business: a node must not evict pods or images over it.
        "localStorageCapacityIsolation": false,
        "evictionHard": {"nodefs.available": "0%", "imagefs.available": "0%", "memory.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        // A container that was killed is started again at once, also the tenth time: by default the waits double up to five minutes, and
        // one scenario would slow down the next.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
    });
    format!("{config:#}\n")
}

/// Settings of the whole host that a kubelet insists on writing. Inside a node, files of the node's own lie over them.
pub(crate) const KERNEL_TUNABLES: &[&str] = &[
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/panic_on_oops",
    "/proc/sys/kernel/keys/root_maxkeys",
    "/proc/sys/kernel/keys/root_maxbytes",
];
