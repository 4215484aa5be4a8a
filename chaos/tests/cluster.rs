//! A cluster with a node: a pod runs on it, suffers, and nothing of it is left behind.

use std::path::Path;
use std::time::Duration;

use chaos::cluster::image::{ImageConfig, Layer, write_archive};
use chaos::cluster::{Cache, Cluster, Part, Programs, Progress, State, from_environment};
use chaos::fault;
use chaos::wait::wait_for;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

/// A pod starts within 2 s on an idle host; a killed container restarts at once the first time.
const POD_LIMIT: Duration = Duration::from_mins(1);

#[tokio::test]
#[ignore = "boots a node: needs root and the built programs; run with --ignored"]
async fn a_pod_on_a_node_suffers_faults_and_nothing_is_left_behind() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let cache = from_environment().0;
    let state = State::choose(Some(directory.path().join("state")), &cache);
    let cluster = or_tell(Cluster::up(&cache, &state, 1, Progress::Told).await);
    or_tell(cluster.load(&[server_image(&cache, directory.path()).await]).await);
    let uid = run_pod(&cluster).await;

    let mounts = or_tell(cluster.node_exec("n1", &["cat", "/proc/self/mounts"]).await);
    assert!(
        mounts
            .lines()
            .any(|line| line.starts_with("/dev/loop") && line.contains("/volumes/v")),
        "{mounts}"
    );
    assert!(
        !std::fs::read_to_string("/proc/self/mounts")
            .expect("readable")
            .contains("/volumes/v"),
        "the host does not see them"
    );

    or_tell(fault::freeze_pod(&cluster, &uid));
    let processes = or_tell(fault::pod_processes(&cluster, &uid));
    let server = processes
        .iter()
        .find(|process| process.name == "postgres")
        .expect("it runs");
    wait_for("the pod to freeze", POD_LIMIT, || async { is_frozen(server.pid) })
        .await
        .expect("frozen");
    or_tell(fault::thaw_pod(&cluster, &uid));

    let killed = or_tell(fault::kill_postmaster(&cluster, &uid));
    assert_eq!(killed.pid, server.pid);
    let pods = pods(&cluster);
    wait_for("the container to be started again", POD_LIMIT, || async {
        let pod = pods.get("pg").await.map_err(|error| error.to_string())?;
        if restarts(&pod) == 1 {
            Ok(())
        } else {
            Err(format!("{} restarts", restarts(&pod)))
        }
    })
    .await
    .expect("it restarts");
    give_up_volume(&cluster).await;
    let audit = std::fs::read_to_string(cluster.audit_log()).expect("the audit log");
    assert!(
        audit
            .lines()
            .any(|line| line.contains("\"pods\"") && line.contains("\"create\""))
    );

    drop(cluster);
    or_tell(Cluster::down(&state).await);
    or_tell(Cluster::down(&state).await);
    let left = |path: &str| {
        std::fs::read_to_string(path)
            .expect("readable")
            .contains(&*directory.path().to_string_lossy())
    };
    assert!(!left("/proc/self/mounts"));
    assert!(!killed.is_alive() && !state.layout().root().exists());
}

/// An image whose only program waits and is called `postgres`.
async fn server_image(cache: &Cache, directory: &Path) -> std::path::PathBuf {
    let programs = or_tell(Programs::find(cache, Part::All).await);
    let layer = Layer::from_files(
        &directory.join("layer.tar"),
        &[("postgres", programs.path("pause"), 0o755)],
    );
    let config = ImageConfig {
        entrypoint: vec!["/postgres".to_owned()],
        ..ImageConfig::default()
    };
    or_tell(write_archive(
        &directory.join("server.tar"),
        "localhost/server:1",
        &[or_tell(layer)],
        &config,
    ))
    .path
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test is the one who writes here; there is no controller"
)]
async fn run_pod(cluster: &Cluster) -> String {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client(), "default");
    let claim = json!({
        "metadata": {"name": "data"},
        "spec": {
            "storageClassName": chaos::cluster::STORAGE_CLASS,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "100Mi"}},
        },
    });
    claims
        .create(&PostParams::default(), &serde_json::from_value(claim).expect("a claim"))
        .await
        .expect("created");
    let pod = json!({
        "metadata": {"name": "pg"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "postgres", "image": "localhost/server:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        },
    });
    let pods = pods(cluster);
    let pod = pods
        .create(&PostParams::default(), &serde_json::from_value(pod).expect("a pod"))
        .await
        .expect("created");
    wait_for("the pod to run", POD_LIMIT, || async {
        let pod = pods.get("pg").await.map_err(|error| error.to_string())?;
        let phase = pod.status.and_then(|status| status.phase).unwrap_or_default();
        if phase == "Running" { Ok(()) } else { Err(phase) }
    })
    .await
    .expect("it runs");
    pod.uid().expect("the API server gives every pod a uid")
}

/// Deletes the pod and its claim, and sees the volume offered again, empty.
#[expect(
    clippy::disallowed_methods,
    reason = "the test is the one who writes here; there is no controller"
)]
async fn give_up_volume(cluster: &Cluster) {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client(), "default");
    let claim = claims.get("data").await.expect("it is there");
    let volume = claim.spec.and_then(|spec| spec.volume_name).expect("it is bound");
    pods(cluster)
        .delete("pg", &DeleteParams::default())
        .await
        .expect("deleted");
    claims.delete("data", &DeleteParams::default()).await.expect("deleted");
    wait_for("the volume to be offered again", POD_LIMIT, || async {
        let recycled = cluster.recycle_volumes().await.map_err(|error| error.to_string())?;
        if recycled == [volume.as_str()] {
            Ok(())
        } else {
            Err(format!("recycled: {recycled:?}"))
        }
    })
    .await
    .expect("recycled");
    let volumes: Api<PersistentVolume> = Api::all(cluster.client());
    wait_for("the volume to be available", POD_LIMIT, || async {
        let volume = volumes.get(&volume).await.map_err(|error| error.to_string())?;
        let phase = volume.status.and_then(|status| status.phase).unwrap_or_default();
        if phase == "Available" { Ok(()) } else { Err(phase) }
    })
    .await
    .expect("available");
}

fn pods(cluster: &Cluster) -> Api<Pod> {
    Api::namespaced(cluster.client(), "default")
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses
        .and_then(|all| all.first())
        .map_or(0, |container| container.restart_count)
}

/// A frozen task waits inside the kernel: in state D with cgroup v1, in state S in the freezer's function with v2.
fn is_frozen(pid: i32) -> Result<(), String> {
    let wchan = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|error| error.to_string())?;
    if wchan.contains("refrigerator") || wchan.contains("freezer") || status.contains(") D ") {
        Ok(())
    } else {
        Err(wchan)
    }
}

#[expect(
    clippy::panic,
    reason = "a failed environment fails the test, with the whole chain of causes"
)]
fn or_tell<T>(outcome: Result<T, chaos::cluster::Error>) -> T {
    outcome.unwrap_or_else(|error| panic!("{:#}", anyhow::Error::from(error)))
}
