//! What stands beside a pair: the client that measures, a rival that labels, a proxy.

use serde_json::{Value, json};

use crate::cluster::HAPROXY;
use crate::console::certificate_name;

/// The client's pod, in each namespace.
pub(super) const CLIENT: &str = "bench-client";
/// Where it waits for whoever measures.
pub(super) const CLIENT_PORT: u16 = 7000;
/// The port of every Service that is measured.
pub(super) const SERVICE_PORT: u16 = 6432;

fn unprivileged() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    })
}

/// A container of the client's image, with the secrets of one role of the database.
fn spec(image: &str, args: &[&str], secret: &str, account: Option<&str>) -> Value {
    let files = ["--password-file", "/secrets/password", "--ca-file", "/secrets/ca.crt"];
    let args = [args, &files].concat();
    json!({
        "serviceAccountName": account,
        "automountServiceAccountToken": account.is_some(),
        "terminationGracePeriodSeconds": 2,
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "chaos",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "args": args,
            "securityContext": unprivileged(),
            "volumeMounts": [{"name": "secrets", "mountPath": "/secrets", "readOnly": true}],
        }],
        "volumes": [{"name": "secrets", "projected": {"sources": [
            {"secret": {"name": secret, "items": [{"key": "password", "path": "password"}]}},
            {"secret": {"name": "pg-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        ]}}],
    })
}

/// The client of a namespace.
pub(super) fn client(namespace: &str, image: &str) -> Vec<Value> {
    vec![json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": CLIENT, "namespace": namespace, "labels": {"app": CLIENT}},
        "spec": spec(image, &["bench-client"], "pg-app", None),
    })]
}

/// A rival that labels the pods of a namespace, with the rights that it needs there.
pub(super) fn rival(namespace: &str, image: &str, kind: &str) -> Vec<Value> {
    let metadata = json!({"name": "rival", "namespace": namespace});
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch"]},
        ]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "rival"},
            "subjects": [{"kind": "ServiceAccount", "name": "rival", "namespace": namespace}]}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {
            "selector": {"matchLabels": {"app": "rival"}},
            "template": {
                "metadata": {"labels": {"app": "rival"}},
                "spec": spec(image, &["bench-rival", kind, "--namespace", namespace], "pgsteer-probe", Some("rival")),
            },
        }}),
    ]
}

/// How a proxy looks at its servers.
struct Checks {
    inter: &'static str,
    fall: u8,
    rise: u8,
}

/// `HAProxy`'s own defaults, or what people set who are in a hurry.
fn checks(name: &str) -> Checks {
    if name.ends_with("tuned") {
        Checks {
            inter: "500ms",
            fall: 1,
            rise: 1,
        }
    } else {
        Checks {
            inter: "2s",
            fall: 3,
            rise: 2,
        }
    }
}

/// A proxy in front of every server of a namespace, and its Service. It finds the servers by the name that all of them share, and asks each
/// whether it takes writes.
pub(super) fn proxy(namespace: &str, name: &str) -> Vec<Value> {
    let Checks { inter, fall, rise } = checks(name);
    let config = format!(
        "global\n  external-check\n  insecure-fork-wanted\n  maxconn 500\n\
         resolvers cluster\n  parse-resolv-conf\n  hold valid 5s\n  accepted_payload_size 8192\n\
         defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1h\n  timeout server 1h\n  timeout check 2s\n\
         listen postgres\n  bind :{SERVICE_PORT}\n  option external-check\n  external-check path \"/usr/bin:/bin:/usr/local/bin\"\n\
         \x20 external-check command /usr/local/bin/takes-writes\n\
         \x20 default-server inter {inter} fall {fall} rise {rise} on-marked-down shutdown-sessions resolvers cluster resolve-prefer ipv4 init-addr libc,none\n\
         \x20 server-template pg 2 pg-nodes.{namespace}.svc.cluster.local:5432 check\n"
    );
    let metadata = json!({"name": name, "namespace": namespace});
    let mut pod = spec(HAPROXY.name, &[], "pgsteer-probe", None);
    pod["containers"][0] = json!({
        "name": "haproxy",
        "image": HAPROXY.name,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": unprivileged(),
        "volumeMounts": [
            {"name": "secrets", "mountPath": "/secrets", "readOnly": true},
            {"name": "config", "mountPath": "/etc/haproxy", "readOnly": true},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    });
    if let Some(volumes) = pod["volumes"].as_array_mut() {
        volumes.push(json!({"name": "config", "configMap": {"name": name}}));
        volumes.push(json!({"name": "tmp", "emptyDir": {}}));
    }
    vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"haproxy.cfg": config, "certificate": certificate_name(namespace)}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        }}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {
            "selector": {"app": name},
            "ports": [{"port": SERVICE_PORT, "targetPort": SERVICE_PORT}],
        }}),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_looks_as_often_as_its_name_says() {
        let config = |name| {
            proxy("pg", name)[0]["data"]["haproxy.cfg"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        assert!(config("haproxy").contains("inter 2s fall 3 rise 2 "));
        assert!(config("haproxy-tuned").contains("inter 500ms fall 1 rise 1 "));
    }
}
