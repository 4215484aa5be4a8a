//! Faults that the kernel offers, played on the pods of the embedded cluster.
//!
//! Processes are found through their pod's control group, by the pod's uid, never by a program's name alone: another PostgreSQL on
//! the same host is not in it.

use rustix::process::Signal;

use crate::cluster::process::Process;
use crate::cluster::{Cluster, Error, cgroup};

/// The name of PostgreSQL's program; every process of a server has it.
const POSTGRES: &str = "postgres";

/// Every process of a running pod, as the host sees them.
pub fn pod_processes(cluster: &Cluster, pod_uid: &str) -> Result<Vec<Process>, Error> {
    let groups = cgroup::walk(&cluster.pod_group(pod_uid)?);
    Ok(groups
        .iter()
        .flat_map(|group| cgroup::members(group))
        .filter_map(Process::find)
        .collect())
}

/// Kills the postmaster of a pod with SIGKILL, as the kernel's out-of-memory killer would, and returns which process it was.
pub fn kill_postmaster(cluster: &Cluster, pod_uid: &str) -> Result<Process, Error> {
    let processes = pod_processes(cluster, pod_uid)?;
    let missing = |hint: &str| Error::NoSuch {
        what: format!("the postmaster of pod {pod_uid}"),
        hint: hint.to_owned(),
    };
    let postmaster = postmaster(&processes).map_err(missing)?;
    let killed = postmaster.signal(Signal::KILL);
    let group = cluster.pod_group(pod_uid)?;
    if killed.map_err(Error::io("kill the postmaster in", &group))? {
        Ok(postmaster.clone())
    } else {
        Err(missing("it ended while it was being looked for"))
    }
}

/// Stops every process of a pod in its tracks; connections stay open and nothing answers.
pub fn freeze_pod(cluster: &Cluster, pod_uid: &str) -> Result<(), Error> {
    cgroup::set_frozen(&cluster.pod_group(pod_uid)?, true)
}

/// Lets a frozen pod go on where it was.
pub fn thaw_pod(cluster: &Cluster, pod_uid: &str) -> Result<(), Error> {
    cgroup::set_frozen(&cluster.pod_group(pod_uid)?, false)
}

/// Stops a component of the cluster, such as `kube-apiserver`, in its tracks: connections stay open and nothing answers.
pub fn freeze_component(cluster: &Cluster, name: &str) -> Result<(), Error> {
    signal_component(cluster, name, Signal::STOP)
}

/// Lets a frozen component go on where it was.
pub fn thaw_component(cluster: &Cluster, name: &str) -> Result<(), Error> {
    signal_component(cluster, name, Signal::CONT)
}

fn signal_component(cluster: &Cluster, name: &str, signal: Signal) -> Result<(), Error> {
    let (record, process) = cluster.component(name)?;
    let missing = || Error::NoSuch {
        what: format!("a running component {name}"),
        hint: "`chaos status` shows them".to_owned(),
    };
    let process = process.ok_or_else(missing)?;
    if process
        .signal(signal)
        .map_err(Error::io("signal the process of", &record))?
    {
        Ok(())
    } else {
        Err(missing())
    }
}

/// The server's first process: the one whose parent is not of the server. Otherwise why it cannot be told.
fn postmaster(processes: &[Process]) -> Result<&Process, &'static str> {
    let servers = || {
        processes
            .iter()
            .filter(|process| process.name == POSTGRES && !process.is_zombie)
    };
    let mut roots = servers().filter(|process| !servers().any(|other| other.pid == process.parent));
    match (roots.next(), roots.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err("no PostgreSQL runs in it"),
        (Some(_), Some(_)) => Err("more than one PostgreSQL runs in it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            process(11, 10, POSTGRES),
            process(12, 11, POSTGRES),
            process(13, 11, POSTGRES),
        ];
        assert_eq!(postmaster(&processes).expect("there is one").pid, 11);
    }

    #[test]
    fn a_dead_server_and_two_servers_are_both_refused() {
        let mut dead = process(11, 10, POSTGRES);
        dead.is_zombie = true;
        assert!(postmaster(&[process(10, 1, "sh"), dead]).is_err());
        assert!(postmaster(&[process(11, 10, POSTGRES), process(21, 10, POSTGRES)]).is_err());
    }
}
