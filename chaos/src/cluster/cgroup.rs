//! The cluster's control groups: every process of a cluster with nodes is in one tree, which `down` can empty.
//!
//! ```text
//! pgsteer-<hash>/control            etcd, API server, … (one leaf)
//! pgsteer-<hash>/n1/system          containerd, kubelet, kube-proxy of node n1
//! pgsteer-<hash>/n1/kubepods/…      its pods, made by its kubelet
//! ```
//! With cgroup v1 the tree exists once in every hierarchy; with v2 there is one hierarchy.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Error;
use super::layout::create_dir;

#[cfg(test)]
mod tests;

/// Where the kernel's control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// Controllers without which a kubelet does not start.
const NEEDED: &[&str] = &["cpu", "cpuset", "memory", "pids"];

/// The mounted hierarchies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hierarchies {
    /// One directory a controller (or group of controllers).
    V1(Vec<PathBuf>),
    /// The unified hierarchy.
    V2(PathBuf),
}

impl Hierarchies {
    /// Those of this host.
    pub(crate) fn detect() -> Result<Self, Error> {
        Self::detect_at(Path::new(ROOT))
    }

    fn detect_at(root: &Path) -> Result<Self, Error> {
        if root.join("cgroup.controllers").is_file() {
            return Ok(Self::V2(root.to_owned()));
        }
        // Links such as `cpu -> cpu,cpuacct` name a hierarchy twice.
        let directories = subdirectories(root)?;
        if directories.is_empty() {
            return Err(Error::Malformed {
                path: root.to_owned(),
                wrong: "no control groups are mounted here".to_owned(),
            });
        }
        Ok(Self::V1(directories))
    }

    fn roots(&self) -> &[PathBuf] {
        match self {
            Self::V1(directories) => directories,
            Self::V2(root) => std::slice::from_ref(root),
        }
    }

    /// A group's directory in every hierarchy.
    pub(crate) fn directories(&self, group: &str) -> Vec<PathBuf> {
        self.roots().iter().map(|root| root.join(group)).collect()
    }

    /// Makes a group, with its parents, that processes may join and whose children have every controller.
    pub(crate) fn create(&self, group: &str) -> Result<(), Error> {
        for root in self.roots() {
            let mut parent = root.clone();
            for part in Path::new(group).components() {
                if matches!(self, Self::V2(_)) {
                    delegate(&parent)?;
                }
                let child = parent.join(part);
                create_dir(&child)?;
                inherit_cpuset(&parent, &child)?;
                parent = child;
            }
        }
        Ok(())
    }

    /// The processes in a group and all groups below it.
    pub(crate) fn processes(&self, group: &str) -> BTreeSet<i32> {
        self.tree(group)
            .iter()
            .flat_map(|directory| members(directory))
            .collect()
    }

    /// Thaws a group and every group below it, whoever froze it: a frozen process does not die.
    pub(crate) fn thaw_all(&self, group: &str) {
        for directory in self.tree(group) {
            // A group that has gone meanwhile needs no thaw.
            set_frozen(&directory, false).ok();
        }
    }

    /// Removes an emptied group and all groups below it. Tells what could not be removed.
    pub(crate) fn remove(&self, group: &str) -> Result<(), Error> {
        for directory in self.tree(group).iter().rev() {
            match std::fs::remove_dir(directory) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("remove the control group", directory)(error)),
            }
        }
        Ok(())
    }

    /// The group in the hierarchy that tells which processes are in which pod, and can freeze them.
    pub(crate) fn pods_hierarchy(&self, group: &str) -> PathBuf {
        match self {
            Self::V1(directories) => {
                let freezer = directories.iter().find(|directory| directory.ends_with("freezer"));
                freezer
                    .or(directories.first())
                    .map_or_else(PathBuf::new, |root| root.join(group))
            }
            Self::V2(root) => root.join(group),
        }
    }

    /// A group's directories and all below them, parents first.
    fn tree(&self, group: &str) -> Vec<PathBuf> {
        self.directories(group)
            .iter()
            .flat_map(|directory| walk(directory))
            .collect()
    }
}

/// Freezes or thaws every process of a group and below. A hierarchy that cannot freeze is left alone.
pub(crate) fn set_frozen(directory: &Path, frozen: bool) -> Result<(), Error> {
    let v1 = ("freezer.state", if frozen { "FROZEN" } else { "THAWED" });
    let v2 = ("cgroup.freeze", if frozen { "1" } else { "0" });
    for (file, content) in [v1, v2] {
        let path = directory.join(file);
        if path.exists() {
            std::fs::write(&path, content).map_err(Error::io("write", &path))?;
        }
    }
    Ok(())
}

/// A directory of control groups and all below it, parents first; empty when it does not exist.
pub(crate) fn walk(directory: &Path) -> Vec<PathBuf> {
    if !directory.is_dir() {
        return Vec::new();
    }
    let mut all = vec![directory.to_owned()];
    // A group that vanishes while it is read has nothing below it.
    for child in subdirectories(directory).unwrap_or_default() {
        all.extend(walk(&child));
    }
    all
}

/// The processes of one group, without those below it.
pub(crate) fn members(directory: &Path) -> Vec<i32> {
    let content = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    content.lines().filter_map(|line| line.parse().ok()).collect()
}

fn subdirectories(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = std::fs::read_dir(directory).map_err(Error::io("read", directory))?;
    let is_directory = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(is_directory)
        .map(|entry| entry.path())
        .collect();
    found.sort();
    Ok(found)
}

/// cgroup v2: lets the children of `group` use every controller that `group` has.
fn delegate(group: &Path) -> Result<(), Error> {
    let read = |file: &str| {
        let path = group.join(file);
        std::fs::read_to_string(&path).map_err(Error::io("read", &path))
    };
    let enabled = |content: &str| {
        content
            .split_whitespace()
            .map(str::to_owned)
            .collect::<BTreeSet<String>>()
    };
    let path = group.join("cgroup.subtree_control");
    let before = enabled(&read("cgroup.subtree_control")?);
    for controller in enabled(&read("cgroup.controllers")?).difference(&before) {
        // One at a time: a controller that cannot be delegated must not take the others with it.
        let delegated = std::fs::write(&path, format!("+{controller}"));
        if NEEDED.contains(&controller.as_str()) {
            delegated.map_err(Error::io("let children use a controller, in", &path))?;
        }
    }
    let after = enabled(&read("cgroup.controllers")?);
    match NEEDED.iter().find(|needed| !after.contains(**needed)) {
        None => Ok(()),
        Some(needed) => Err(Error::Malformed {
            path: group.to_owned(),
            wrong: format!("the controller `{needed}` is not available here; nodes need it"),
        }),
    }
}

/// cgroup v1: a new cpuset has no processors and takes no process until it is told which.
fn inherit_cpuset(parent: &Path, child: &Path) -> Result<(), Error> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (parent.join(file), child.join(file));
        let is_v2 = child.join("cgroup.controllers").exists();
        if is_v2 || !from.exists() || !to.exists() {
            continue;
        }
        let content = std::fs::read_to_string(&from).map_err(Error::io("read", &from))?;
        std::fs::write(&to, content.trim()).map_err(Error::io("write", &to))?;
    }
    Ok(())
}
