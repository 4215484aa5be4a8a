use super::Heal;
use super::pod::{first_of, first_of_container, lasting_name};
use crate::cluster::process::Process;

fn process(pid: i32, parent: i32, name: &str) -> Process {
    Process {
        pid,
        parent,
        name: name.to_owned(),
        is_zombie: false,
        started: 1,
    }
}

#[test]
fn the_postmaster_is_the_server_process_that_no_server_process_started() {
    let processes = [
        process(10, 1, "sh"),
        process(11, 10, "postgres"),
        process(12, 11, "postgres"),
        process(13, 11, "postgres"),
    ];
    assert_eq!(first_of(&processes, "postgres").expect("there is one").pid, 11);
}

#[test]
fn a_dead_server_and_two_servers_are_both_refused() {
    let mut dead = process(11, 10, "postgres");
    dead.is_zombie = true;
    assert!(first_of(&[process(10, 1, "sh"), dead], "postgres").is_err());
    let two = [process(11, 10, "postgres"), process(21, 10, "postgres")];
    assert!(first_of(&two, "postgres").is_err());
}

#[test]
fn a_containers_first_process_goes_by_its_number_in_there_and_not_by_its_name() {
    let mut processes = vec![
        process(9, 1, "pause"),
        process(10, 1, "bash"),
        process(11, 10, "postgres"),
        process(20, 1, "sleep"),
    ];
    // The pod's own holder and each container have a namespace each; the last is of an exec.
    let inside = |process: &Process| Some(if process.pid <= 10 { 1 } else { process.pid });
    assert_eq!(first_of_container(&processes, inside).expect("there is one").pid, 10);
    processes.insert(0, process(8, 1, "bash"));
    assert!(first_of_container(&processes, inside).is_err(), "two containers");
    assert!(first_of_container(&[process(9, 1, "pause")], inside).is_err(), "none");
    assert!(first_of_container(&processes, |_| None).is_err(), "all gone");
}

#[test]
fn how_a_fault_heals_survives_being_written_and_read() {
    let heal = Heal::All(vec![
        Heal::Thaw {
            group: "/sys/fs/cgroup/a".into(),
        },
        Heal::Itself,
    ]);
    let text = serde_json::json!(heal).to_string();
    assert_eq!(serde_json::from_str::<Heal>(&text).expect("it is one"), heal);
}

#[test]
fn a_server_keeps_its_name_when_its_pod_is_made_anew() {
    let cases = [
        ("pg-node1-795679f4d4-czrrr", Some("pg-node1")),
        // Five random letters may all be digits.
        ("pg-node1-795679f4d4-24567", Some("pg-node1")),
        ("patroni-0", Some("patroni-0")),
        ("pg-monitor-12", Some("pg-monitor-12")),
        ("writer", None),
    ];
    for (pod, name) in cases {
        assert_eq!(lasting_name(pod), name, "{pod}");
    }
}
