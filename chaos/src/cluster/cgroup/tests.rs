use std::process::{Child, Command};
use std::time::Duration;

use super::*;
use crate::wait::wait_for;

fn file(path: &Path, content: &str) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    std::fs::write(path, content).expect("a file");
}

#[test]
fn a_unified_hierarchy_is_recognised_by_its_controllers() {
    let root = tempfile::tempdir().expect("a temporary directory");
    file(&root.path().join("cgroup.controllers"), "cpu memory");
    assert_eq!(
        Hierarchies::detect_at(root.path()).expect("v2"),
        Hierarchies::V2(root.path().to_owned())
    );
}

#[test]
fn a_link_to_a_hierarchy_is_not_a_second_one() {
    let root = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(root.path().join("cpu,cpuacct")).expect("a directory");
    std::os::unix::fs::symlink("cpu,cpuacct", root.path().join("cpu")).expect("a link");
    let found = Hierarchies::detect_at(root.path()).expect("v1");
    assert_eq!(found.directories("g"), [root.path().join("cpu,cpuacct/g")]);
}

#[test]
fn a_host_without_control_groups_is_told_so() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let error = Hierarchies::detect_at(root.path()).expect_err("nothing is mounted");
    assert!(error.to_string().contains("no control groups"), "{error}");
}

#[test]
fn unified_controllers_are_handed_down_and_a_missing_one_is_named() {
    let root = tempfile::tempdir().expect("a temporary directory");
    file(&root.path().join("cgroup.controllers"), "cpu cpuset memory pids");
    file(&root.path().join("cgroup.subtree_control"), "cpu cpuset memory");
    delegate(root.path()).expect("all that is needed is there");
    let written = std::fs::read_to_string(root.path().join("cgroup.subtree_control")).expect("written");
    assert_eq!(written, "+pids");

    file(&root.path().join("cgroup.controllers"), "cpu memory pids");
    let error = delegate(root.path()).expect_err("cpuset is missing");
    assert!(error.to_string().contains("`cpuset`"), "{error}");
}

#[test]
fn a_v1_cpuset_takes_its_processors_from_its_parent() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let (parent, child) = (root.path().join("cpuset"), root.path().join("cpuset/g"));
    for name in ["cpuset.cpus", "cpuset.mems"] {
        file(&parent.join(name), "0-1\n");
        file(&child.join(name), "");
    }
    inherit_cpuset(&parent, &child).expect("written");
    assert_eq!(
        std::fs::read_to_string(child.join("cpuset.cpus")).expect("written"),
        "0-1"
    );
}

#[test]
fn processes_are_found_in_every_group_below() {
    let root = tempfile::tempdir().expect("a temporary directory");
    file(&root.path().join("pids/g/cgroup.procs"), "7\n");
    file(&root.path().join("pids/g/n1/kubepods/pod1/cgroup.procs"), "8\n9\n");
    file(&root.path().join("cpu/g/cgroup.procs"), "7\n");
    file(&root.path().join("pids/other/cgroup.procs"), "10\n");
    let hierarchies = Hierarchies::detect_at(root.path()).expect("v1");
    assert_eq!(hierarchies.processes("g").into_iter().collect::<Vec<_>>(), [7, 8, 9]);
}

/// The kernel's own unified hierarchy, mounted aside: it is there beside version 1 too, without controllers, and can freeze all the same.
struct Unified(tempfile::TempDir);

impl Unified {
    fn mount() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mounted = Command::new("mount")
            .args(["-t", "cgroup2", "none"])
            .arg(directory.path())
            .status();
        assert!(mounted.expect("mount starts").success());
        Self(directory)
    }
}

impl Drop for Unified {
    fn drop(&mut self) {
        Command::new("umount").arg(self.0.path()).status().ok();
    }
}

/// A process that waits, and ends with the test.
struct Waiting(Child);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Groups change within milliseconds; the rest is a busy host.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
#[ignore = "mounts the unified hierarchy: needs root; run with --ignored"]
async fn the_kernels_unified_hierarchy_freezes_thaws_and_is_removed() {
    let root = Unified::mount();
    let hierarchies = Hierarchies::detect_at(root.0.path()).expect("mounted");
    assert_eq!(hierarchies, Hierarchies::V2(root.0.path().to_owned()));
    let name = format!("pgsteer-test-{}", std::process::id());
    let pod = hierarchies.pods_hierarchy(&format!("{name}/n1/kubepods/pod1"));
    std::fs::create_dir_all(&pod).expect("made");
    let waiting = Waiting(Command::new("sleep").arg("600").spawn().expect("sleep starts"));
    let pid = i32::try_from(waiting.0.id()).expect("a process id");
    std::fs::write(pod.join("cgroup.procs"), pid.to_string()).expect("joined");
    assert_eq!(hierarchies.processes(&name).into_iter().collect::<Vec<_>>(), [pid]);

    let frozen = async |wanted: &str| {
        wait_for("the group to freeze or thaw", LIMIT, || async {
            let events = std::fs::read_to_string(pod.join("cgroup.events")).map_err(|error| error.to_string())?;
            if events.contains(&format!("frozen {wanted}\n")) {
                Ok(())
            } else {
                Err(events)
            }
        })
        .await
        .expect("it does");
    };
    set_frozen(&pod, true).expect("frozen");
    frozen("1").await;
    hierarchies.thaw_all(&name);
    frozen("0").await;

    drop(waiting);
    wait_for("the group to be removed", LIMIT, || async {
        hierarchies.remove(&name).map_err(|error| error.to_string())
    })
    .await
    .expect("removed");
    assert!(!hierarchies.directories(&name)[0].exists());
}
