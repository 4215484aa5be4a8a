//! Processors that somebody else keeps busy.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{Faults, Heal};
use crate::cluster::process::Process;
use crate::cluster::{Cluster, Error, cgroup};

/// The control group of the busy processes.
const GROUP: &str = "busy";
/// So many busy processes a processor.
const TIMES: usize = 4;
/// The weight of one process among its like, with cgroup v1 and v2.
const SHARES: usize = 1024;
const WEIGHT: usize = 100;
const WEIGHT_MAX: usize = 10_000;

/// Keeps every processor busy, four times over, with processes that weigh as much as those of the cluster.
pub fn starve(faults: &mut Faults<'_>) -> Result<(), Error> {
    let cluster = faults.cluster;
    let heal = Heal::Idle {
        group: GROUP.to_owned(),
    };
    faults.inject(heal, || {
        let groups = cluster.make_group(GROUP)?;
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let busy = TIMES * processors;
        for group in &groups {
            set(group, "cpu.shares", SHARES * busy)?;
            set(group, "cpu.weight", (WEIGHT * busy).min(WEIGHT_MAX))?;
        }
        let script = "n=$1; shift; for group in \"$@\"; do echo $$ >\"$group/cgroup.procs\"; done
            i=0; while [ $i -lt $n ]; do (while :; do :; done) & i=$((i + 1)); done; wait";
        let mut command = Command::new("setsid");
        command
            .args(["sh", "-ec", script, "busy", &busy.to_string()])
            .args(&groups);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(drop)
            .map_err(|source| Error::NoSuchProgram {
                program: "setsid (util-linux)".to_owned(),
                source,
            })
    })
}

fn set(group: &Path, file: &str, value: usize) -> Result<(), Error> {
    let path = group.join(file);
    if path.exists() {
        std::fs::write(&path, value.to_string()).map_err(Error::io("write", &path))?;
    }
    Ok(())
}

/// Ends the busy processes.
pub(super) fn end(cluster: &Cluster, group: &str) -> Result<(), Error> {
    for directory in cluster.make_group(group)? {
        // Those that start while the others are killed are found by another look.
        for _ in 0..LOOKS_MAX {
            let members: BTreeSet<i32> = cgroup::members(&directory).into_iter().collect();
            let busy: Vec<Process> = members
                .into_iter()
                .filter_map(Process::find)
                .filter(|process| !process.is_zombie)
                .collect();
            if busy.is_empty() {
                break;
            }
            for process in busy {
                process
                    .signal(Signal::KILL)
                    .map_err(Error::io("end a process of", &directory))?;
            }
        }
    }
    Ok(())
}

/// A killed process takes a moment to leave its group.
const LOOKS_MAX: usize = 1000;
