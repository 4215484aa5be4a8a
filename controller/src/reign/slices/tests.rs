use serde_json::{Value, json};

use super::*;
use crate::clock::Tick;

fn of<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}

fn route(routing: &str) -> PostgresRoute {
    of(json!({
        "apiVersion": "pgsteer.io/v1alpha1",
        "kind": "PostgresRoute",
        "metadata": { "name": "db", "namespace": "pg" },
        "spec": {
            "podSelector": { "matchLabels": { "app": "db" } },
            "services": { "primary": "rw", "replica": "ro" },
            "connection": { "user": "pgsteer" },
            "routing": routing,
        },
    }))
}

fn service(name: &str, spec: &Value) -> Service {
    of(json!({ "metadata": { "name": name, "uid": format!("uid-{name}") }, "spec": spec }))
}

fn pod(name: &str, ips: &[&str], port: i32) -> Arc<Pod> {
    let ips: Vec<Value> = ips.iter().map(|ip| json!({ "ip": ip })).collect();
    Arc::new(of(json!({
        "metadata": { "name": name, "uid": format!("uid-{name}") },
        "spec": {
            "containers": [
                { "name": "exporter", "ports": [{ "name": "metrics", "containerPort": 9187 }] },
                { "name": "postgres", "ports": [
                    { "name": "postgres", "containerPort": 1, "protocol": "UDP" },
                    { "name": "postgres", "containerPort": port },
                ] },
            ],
            "initContainers": [
                { "name": "once", "ports": [{ "name": "pooled", "containerPort": 2 }] },
                { "name": "pooler", "restartPolicy": "Always", "ports": [{ "name": "pooled", "containerPort": 6432 }] },
            ],
        },
        "status": { "podIP": ips[0]["ip"], "podIPs": ips, "conditions": [{ "type": "Ready", "status": "True" }] },
    })))
}

fn slice(name: &str, service: &str, by: &str, route: Option<&str>, endpoints: &Value) -> Arc<EndpointSlice> {
    let annotations = route.map(|route| json!({ "pgsteer.io/route": route, "pgsteer.io/stamp": "7.1.aaaaaaaa" }));
    Arc::new(of(json!({
        "metadata": {
            "name": name, "uid": format!("uid-{name}"), "resourceVersion": "5", "annotations": annotations,
            "labels": { "kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": by },
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{ "name": "", "port": 5432, "protocol": "TCP" }],
    })))
}

fn listed(pod: &str, ip: &str) -> Value {
    json!({
        "addresses": [ip],
        "conditions": { "ready": true, "serving": true, "terminating": false },
        "nodeName": "n1",
        "targetRef": { "kind": "Pod", "namespace": "pg", "name": pod, "uid": format!("uid-{pod}") },
    })
}

fn looked(
    route: &PostgresRoute,
    services: Services<'_>,
    pods: &[Arc<Pod>],
    slices: &[Arc<EndpointSlice>],
) -> SlicesView {
    let known = Known {
        route,
        services,
        pods,
        slices,
    };
    view(&known, &mut Memory::new(Tick::default()))
}

#[test]
fn a_port_is_what_the_pod_calls_so() {
    let pod = pod("a", &["10.0.0.1"], 5433);
    let rows = [
        (json!({ "port": 6432 }), vec![6432]),
        (json!({ "port": 6432, "targetPort": 5432 }), vec![5432]),
        (json!({ "port": 6432, "targetPort": "postgres" }), vec![5433]),
        (
            json!({ "port": 6432, "targetPort": "postgres", "protocol": "UDP" }),
            vec![1],
        ),
        (json!({ "port": 6432, "targetPort": "pooled" }), vec![6432]),
        (json!({ "port": 6432, "targetPort": "nobody" }), vec![]),
    ];
    for (port, numbers) in rows {
        let service = service("rw", &json!({ "ports": [port] }));
        let found: Vec<i32> = ports(&service.spec.unwrap(), &pod)
            .iter()
            .map(|port| port.number)
            .collect();
        assert_eq!(found, numbers, "{port}");
    }
}

#[test]
fn each_family_of_a_service_has_a_slice_and_a_pod_is_in_those_that_it_has_an_address_for() {
    let spec = json!({ "ipFamilies": ["IPv6", "IPv4"], "ports": [{ "port": 5432 }] });
    let (rw, ro) = (
        service("rw", &spec),
        service("ro", &json!({ "ports": [{ "port": 5432 }] })),
    );
    let services = Services {
        primary: Some(&rw),
        replica: Some(&ro),
    };
    let pods = [pod("a", &["10.0.0.1", "fd00::1"], 1), pod("b", &["10.0.0.2"], 1)];
    let found = looked(&route("EndpointSlices"), services, &pods, &[]);
    let targets = |name: &str| {
        let targets = found.slices[name].targets.iter();
        targets
            .map(|(pod, target)| (pod.name.clone(), target.address.to_string()))
            .collect::<Vec<_>>()
    };
    let both = [
        ("a".to_owned(), "10.0.0.1".to_owned()),
        ("b".to_owned(), "10.0.0.2".to_owned()),
    ];
    assert_eq!(found.slices.len(), 3);
    assert_eq!(targets("rw-pgsteer-ipv4"), both);
    assert_eq!(targets("rw-pgsteer-ipv6"), [("a".to_owned(), "fd00::1".to_owned())]);
    assert_eq!(targets("ro-pgsteer-ipv4"), both);
    assert!(found.is_routing && found.writes_blocked.is_none() && found.reads_blocked.is_none());
}

#[test]
fn a_slice_of_ours_is_read_as_it_was_written_and_anything_else_in_it_is_noticed() {
    let spec = json!({ "ports": [{ "port": 5432 }] });
    let (rw, ro) = (service("rw", &spec), service("ro", &spec));
    let services = Services {
        primary: Some(&rw),
        replica: Some(&ro),
    };
    let pods = [pod("a", &["10.0.0.1"], 1)];
    let held = |endpoints: &Value| {
        let slices = [slice("rw-pgsteer-ipv4", "rw", "pgsteer.io", Some("db"), endpoints)];
        looked(&route("EndpointSlices"), services, &pods, &slices).slices["rw-pgsteer-ipv4"]
            .held
            .clone()
            .unwrap()
    };
    let found = held(&json!([listed("a", "10.0.0.1")]));
    assert!(found.is_sound);
    assert_eq!(found.listing.endpoints[0].address.to_string(), "10.0.0.1");
    assert_eq!(
        (found.listing.ports[0].number, found.resource_version.as_str()),
        (5432, "5")
    );
    assert!(held(&json!([])).is_sound);
    let mut hinted = listed("a", "10.0.0.1");
    hinted["zone"] = json!("z");
    let mut two = listed("a", "10.0.0.1");
    two["addresses"] = json!(["10.0.0.1", "10.0.0.2"]);
    let mut unready = listed("a", "10.0.0.1");
    unready["conditions"] = json!({});
    for strange in [json!({ "addresses": ["10.9.9.9"] }), hinted, two, unready] {
        assert!(!held(&json!([strange])).is_sound, "{strange}");
    }
}

#[test]
fn endpoints_of_others_block_their_service_and_empty_slices_do_not() {
    let spec = json!({ "ports": [{ "port": 5432 }] });
    let (rw, ro) = (service("rw", &spec), service("ro", &spec));
    let services = Services {
        primary: Some(&rw),
        replica: Some(&ro),
    };
    let one = json!([listed("a", "10.0.0.1")]);
    let theirs = [
        slice("rw-x", "rw", "endpointslice-controller.k8s.io", None, &one),
        slice("rw-m", "rw", "endpointslicemirroring-controller.k8s.io", None, &one),
        slice("rw-e", "rw", "somebody", None, &json!([])),
        // Of another route, and in the way of our own.
        slice("ro-pgsteer-ipv4", "ro", "pgsteer.io", Some("other"), &json!([])),
    ];
    let found = looked(&route("EndpointSlices"), services, &[], &theirs);
    assert_eq!(
        found.writes_blocked,
        Some(Blocked::Foreign {
            service: "rw".to_owned(),
            slices: vec!["rw-x".to_owned(), "rw-m".to_owned()],
        })
    );
    assert!(matches!(found.reads_blocked, Some(Blocked::Foreign { .. })));
    let selects = service(
        "rw",
        &json!({ "selector": { "app": "db" }, "ports": [{ "port": 5432 }] }),
    );
    let services = Services {
        primary: Some(&selects),
        replica: None,
    };
    let found = looked(&route("EndpointSlices"), services, &[], &[]);
    assert_eq!(found.writes_blocked, Some(Blocked::Service("rw".to_owned())));
    assert_eq!(found.reads_blocked, Some(Blocked::Service("ro".to_owned())));
}

#[test]
fn slices_that_nobody_asks_for_any_more_are_for_nothing() {
    let spec = json!({ "selector": { "app": "db", "pgsteer.io/role": "primary" }, "ports": [{ "port": 5432 }] });
    let rw = service("rw", &spec);
    let services = Services {
        primary: Some(&rw),
        replica: None,
    };
    let one = json!([listed("a", "10.0.0.1")]);
    let slices = [
        slice("rw-pgsteer-ipv4", "rw", "pgsteer.io", Some("db"), &one),
        slice("old-pgsteer-ipv4", "old", "pgsteer.io", Some("db"), &one),
        slice("rw-abcde", "rw", "endpointslice-controller.k8s.io", None, &one),
        slice("else-pgsteer-ipv4", "else", "pgsteer.io", Some("other"), &one),
    ];
    let found = looked(&route("Labels"), services, &[], &slices);
    assert!(!found.is_routing && found.writes_blocked.is_none());
    let names: Vec<&str> = found.slices.keys().map(String::as_str).collect();
    assert_eq!(names, ["old-pgsteer-ipv4", "rw-pgsteer-ipv4"]);
    assert!(found.slices.values().all(|slice| slice.purpose == Purpose::Nothing));
}
