//! A test's own API server: serves, keeps an audit log of writes to pods, and ends with its owner.

use std::path::Path;

use chaos::cluster::ControlPlane;
use chaos::cluster::process::Process;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test is the one who writes here; there is no controller"
)]
async fn an_api_server_of_a_tests_own_serves_audits_and_ends_with_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let control_plane = ControlPlane::start(directory.path())
        .await
        .unwrap_or_else(|error| panic!("{:#}", anyhow::Error::from(error)));
    let pods: Api<Pod> = Api::namespaced(control_plane.client(), "default");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "pg-node1-0"},
        "spec": {"containers": [{"name": "postgres", "image": "none"}]},
    }))
    .expect("a pod");
    pods.create(&PostParams::default(), &pod)
        .await
        .expect("the API server takes a pod without controllers");
    pods.get("pg-node1-0").await.expect("it is there");

    let audit = std::fs::read_to_string(control_plane.audit_log()).expect("the audit log");
    let events: Vec<serde_json::Value> = audit
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect();
    let ours: Vec<_> = events
        .iter()
        .filter(|event| event["objectRef"]["resource"] == "pods")
        .collect();
    assert_eq!(ours.len(), 1, "one write, and no read, is in the audit log");
    assert_eq!(ours[0]["requestObject"]["metadata"]["name"], "pg-node1-0");

    let records = recorded(directory.path());
    assert_eq!(records.len(), 2, "etcd and the API server wrote down who they are");
    assert!(records.iter().all(Process::is_alive));
    drop(control_plane);
    assert!(!records.iter().any(Process::is_alive), "nothing outlives its owner");
}

fn recorded(root: &Path) -> Vec<Process> {
    let records = std::fs::read_dir(root.join("try-1/pid")).expect("the records");
    let stats = records.map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).expect("a record"));
    stats
        .map(|stat| Process::parse(&stat).expect("a line of /proc/<pid>/stat"))
        .collect()
}
