//! The objects that a person, a kubelet or another controller writes.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use super::{
    api_server::Kind,
    postgres::{ContainerState, PodState},
    slices::Endpoint,
    story::Story,
};

/// The namespace of the route.
pub(crate) const NAMESPACE: &str = "pg";

/// apiVersion and kind.
pub(crate) const fn type_of(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Lease => ("coordination.k8s.io/v1", "Lease"),
        Kind::Pod => ("v1", "Pod"),
        Kind::Service => ("v1", "Service"),
        Kind::Slice => ("discovery.k8s.io/v1", "EndpointSlice"),
        Kind::Route => ("pgsteer.io/v1alpha1", "PostgresRoute"),
        Kind::Ledger => ("pgsteer.io/v1alpha1", "PostgresLedger"),
        Kind::StatefulSet => ("apps/v1", "StatefulSet"),
        Kind::Event => ("events.k8s.io/v1", "Event"),
    }
}

/// The name of a server's pod.
pub(crate) fn pod_name(server: usize) -> String {
    format!("pg-{server}")
}

/// The server of a pod.
pub(crate) fn server_of(pod: &str) -> Option<usize> {
    pod.strip_prefix("pg-")?.parse().ok()
}

/// The role label of a pod.
pub(crate) fn role(pod: &Value) -> Option<&str> {
    pod["metadata"]["labels"]["pgsteer.io/role"].as_str()
}

/// An annotation of an object.
pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][key].as_str()
}

/// An address in the simulated network.
pub(crate) const fn address(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))
}

pub(crate) fn stateful_set() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": { "name": "pg", "namespace": NAMESPACE, "uid": "uid-of-the-set" },
        "spec": {
            "serviceName": "pg",
            "selector": { "matchLabels": { "app": "pg" } },
            "template": { "metadata": { "labels": { "app": "pg" } }, "spec": { "containers": [] } },
        },
    })
}

pub(crate) fn service(name: &str, role: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name, "namespace": NAMESPACE, "uid": format!("uid-of-{name}") },
        "spec": { "clusterIP": "10.1.0.1", "selector": { "app": "pg", "pgsteer.io/role": role } },
    })
}

pub(crate) fn endpoints(pods: &[Endpoint]) -> Value {
    pods.iter()
        .map(|(name, uid, ip, ready)| {
            json!({
                "addresses": [ip],
                "conditions": { "ready": ready },
                "targetRef": { "kind": "Pod", "name": name, "namespace": NAMESPACE, "uid": uid },
            })
        })
        .collect()
}

/// A slice without endpoints.
pub(crate) fn slice(service: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": service, "namespace": NAMESPACE, "uid": format!("uid-of-slice-{service}"),
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": "IPv4",
        "endpoints": [],
    })
}

pub(crate) fn route(story: &Story) -> Value {
    let Story {
        interval,
        silent_after,
        beaten_gap,
        policy,
        ..
    } = story;
    json!({
        "apiVersion": "pgsteer.io/v1alpha1", "kind": "PostgresRoute",
        "metadata": { "name": "pg", "namespace": NAMESPACE, "uid": "uid-of-the-route", "generation": 1 },
        "spec": {
            "podSelector": { "matchLabels": { "app": "pg" } },
            "services": { "primary": "pg-rw", "replica": "pg-ro" },
            "connection": { "user": "pgsteer", "tls": { "mode": "Disable" } },
            "probe": {
                "interval": format!("{}ms", interval.as_millis()),
                "timeout": "500ms",
                "silentAfter": format!("{}ms", silent_after.as_millis()),
            },
            "splitBrain": {
                "policy": policy,
                "maxBehind": "16MiB",
                "beatenGap": format!("{}ms", beaten_gap.as_millis()),
            },
        },
    })
}

/// A pod as the kubelet describes it at first.
pub(crate) fn pod(server: usize, uid: &str, state: &PodState) -> Value {
    let name = pod_name(server);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": NAMESPACE, "uid": uid,
            "labels": { "app": "pg" },
            "annotations": {},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "pg", "uid": "uid-of-the-set", "controller": true,
            }],
        },
        "spec": {
            "nodeName": format!("node-{server}"),
            "containers": [{ "name": "postgres", "volumeMounts": [{ "name": "data", "mountPath": "/data" }] }],
            "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": format!("data-{name}") } }],
        },
        "status": status(state),
    })
}

/// What the kubelet says of a pod.
pub(crate) fn status(state: &PodState) -> Value {
    let container = match &state.container {
        ContainerState::Running { since } => json!({ "running": { "startedAt": since.to_string() } }),
        ContainerState::Stopped { at } => json!({ "terminated": { "exitCode": 1, "finishedAt": at.to_string() } }),
    };
    let ready = matches!(state.container, ContainerState::Running { .. });
    json!({
        "phase": "Running",
        "podIP": address(state.address).to_string(),
        "containerStatuses": [{
            "name": "postgres", "image": "postgres", "imageID": "", "ready": ready, "restartCount": 0, "state": container,
        }],
    })
}
