//! Ends exactly what `up` started, however far it came and whatever happened since: by the records that the components wrote, by the
//! cluster's own control groups and network namespaces, never by a program's name.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use rustix::process::Signal;

use super::Error;
use super::cgroup::Hierarchies;
use super::layout::{Layout, State};
use super::lock::Lock;
use super::names::Instance;
use super::node::{Site, in_room};
use super::process::{self, Process};
use super::record::Record;
use super::{host, network};
use crate::wait::wait_for;

/// A killed process ends within milliseconds, unless the kernel is waiting for a disk on its behalf.
const END_LIMIT: Duration = Duration::from_secs(30);

/// Thawing a disk is one system call.
const THAW_LIMIT: Duration = Duration::from_secs(5);

/// Takes the cluster of this state directory down. Nothing running is no error: the outcome is the same.
pub(crate) async fn down(state: &State) -> Result<(), Error> {
    let lock = Lock::take(&state.lock())?;
    take_down(state, &lock).await
}

/// As [`down`], for one who holds the lock.
pub(crate) async fn take_down(state: &State, _held: &Lock) -> Result<(), Error> {
    let layout = state.layout();
    let Some(record) = Record::read(&layout)? else {
        return remove_files(&layout);
    };
    if record.is_of_this_boot()? {
        let instance = Instance::of(state.root());
        if record.nodes > 0 {
            host::require_root()?;
            end_nodes(&layout, &instance, record.nodes).await?;
        } else {
            end_processes(&layout, None).await?;
        }
    }
    remove_files(&layout)
}

async fn end_nodes(layout: &Layout, instance: &Instance, nodes: u8) -> Result<(), Error> {
    let hierarchies = Hierarchies::detect()?;
    let nodes = instance.nodes(nodes);
    // What is frozen does not die: first the control groups, then the disks.
    hierarchies.thaw_all(instance.cgroup());
    join_all(nodes.iter().map(|node| thaw_disks(Site::new(node.clone(), layout)))).await;
    end_processes(layout, Some((&hierarchies, instance.cgroup()))).await?;
    network::remove(instance, &nodes).await?;
    let removed = wait_for("the control groups to be removed", END_LIMIT, || async {
        hierarchies
            .remove(instance.cgroup())
            .map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    });
    removed.await.map_err(|timed_out| Error::timed_out(timed_out, &[]))
}

async fn thaw_disks(site: Site<'_>) {
    let Ok(room) = site.room() else { return };
    for volume in site.volumes() {
        // A disk that is not frozen answers with an error, which is the usual case.
        in_room(&room, Path::new("fsfreeze"))
            .arg("--unfreeze")
            .arg(&volume.mount)
            .limit(THAW_LIMIT)
            .run()
            .await
            .ok();
    }
}

/// Kills, and looks again, until nothing is left: a process may be forking while it is looked at.
async fn end_processes(layout: &Layout, tree: Option<(&Hierarchies, &str)>) -> Result<(), Error> {
    let records = layout.processes();
    let ended = wait_for("the cluster's processes to end", END_LIMIT, || async {
        let mut left: BTreeMap<i32, String> = BTreeMap::new();
        for process in recorded(&records).into_iter().filter(Process::is_alive) {
            process
                .signal(Signal::KILL)
                .map_err(|error| format!("{}: {error}", process.name))?;
            left.insert(process.pid, process.name);
        }
        if let Some((hierarchies, group)) = tree {
            let members = hierarchies.processes(group).into_iter().filter_map(Process::find);
            for process in members.filter(|process| !process.is_zombie) {
                let pid = process.pid;
                if process::signal_if(pid, Signal::KILL, || is_in(pid, group)).map_err(|error| error.to_string())? {
                    left.insert(pid, process.name);
                }
            }
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("still there: {left:?}"))
        }
    });
    ended.await.map_err(|timed_out| Error::timed_out(timed_out, &[]))
}

fn recorded(records: &Path) -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir(records) else {
        return Vec::new();
    };
    // A record that was cut short belongs to a component that never became its program.
    entries
        .flatten()
        .filter_map(|entry| Process::recorded(&entry.path()).ok().flatten())
        .collect()
}

/// Whether a process is in this control group or below it, in any hierarchy.
fn is_in(pid: i32, group: &str) -> bool {
    let content = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    lists(&content, group)
}

/// Lines are `<number>:<controllers>:/<group>`.
fn lists(proc_cgroup: &str, group: &str) -> bool {
    let paths = proc_cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths
        .map(|path| path.trim_start_matches('/'))
        .any(|path| Path::new(path).starts_with(group))
}

fn remove_files(layout: &Layout) -> Result<(), Error> {
    match std::fs::remove_dir_all(layout.root()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("remove", layout.root())(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_whose_name_only_begins_alike_is_not_ours() {
        let ours = "5:memory:/pgsteer-ab/n1/kubepods/pod1\n0::/\n";
        assert!(lists(ours, "pgsteer-ab"));
        assert!(!lists("5:memory:/pgsteer-abc/n1\n0::/\n", "pgsteer-ab"));
        assert!(!lists("0::/user.slice\n", "pgsteer-ab"));
    }
}
