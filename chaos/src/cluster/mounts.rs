//! How a node's mount namespace is furnished: directories of its own lie over those of the host that a node writes to, so that it
//! leaves nothing on the host and two nodes never meet. The host's own view does not change, and no mount point is made on it.
//!
//! ```text
//! /run  /var/lib  /var/log      the node's own, empty at first
//! /etc                          the host's, with the node's changes on top
//! /proc/sys/…                   copies of the settings that a kubelet insists on writing
//! …/volumes/v1                  the node's volumes
//! ```

use std::path::{Path, PathBuf};

use super::containerd::pod_network;
use super::kubelet::KERNEL_TUNABLES;
use super::layout::{create_dir, write};
use super::names::{CONTROL_PLANE, Node};
use super::volume::Volume;
use super::{Error, layout};

/// Directories of the node, and where they lie in its view.
const OWN: &[(&str, &str)] = &[("run", "/run"), ("lib", "/var/lib"), ("log", "/var/log")];

/// The node's changes to the host's `/etc`, and a directory that overlayfs wants beside them.
const ETC: &str = "etc";
const ETC_WORK: &str = "etc-work";

/// containerd takes the first file by name, and the host's own files (another container engine's) shine through.
const POD_NETWORK: &str = "cni/net.d/00-pgsteer.conflist";

/// What shell scripts and mount options cannot carry in a path.
const UNFIT: &[char] = &['\'', ',', ':', '\\', '\n'];

/// The furniture of one node.
#[derive(Debug)]
pub(crate) struct Mounts<'a> {
    /// The node's directory.
    pub(crate) directory: &'a Path,
    pub(crate) volumes: &'a [Volume],
    /// Directories of the host that must stay visible even where one of the node's own lies over them: the state and the programs.
    pub(crate) kept: &'a [PathBuf],
    /// Where the names of volumes go that have to stay plain directories.
    pub(crate) plain: &'a Path,
}

impl Mounts<'_> {
    /// Makes what will be mounted.
    pub(crate) fn write_files(&self, node: &Node) -> Result<(), Error> {
        if let Some(path) = self.kept.iter().find(|path| path.to_string_lossy().contains(UNFIT)) {
            let wrong = format!("nodes need a path without any of {UNFIT:?}");
            return Err(Error::Malformed {
                path: path.clone(),
                wrong,
            });
        }
        for own in OWN.iter().map(|(own, _)| *own).chain([ETC, ETC_WORK]) {
            create_dir(&self.directory.join(own))?;
        }
        for standard in ["run/netns", "run/lock", "log/pods", "log/containers"] {
            create_dir(&self.directory.join(standard))?;
        }
        write(&self.directory.join(ETC).join(POD_NETWORK), pod_network(node))?;
        write(&self.resolv_conf(), format!("nameserver {CONTROL_PLANE}\n"))?;
        for (copy, tunable) in self.tunables() {
            let value = std::fs::read(tunable).map_err(Error::io("read", Path::new(tunable)))?;
            layout::write(&copy, value)?;
        }
        Ok(())
    }

    /// Names are looked up in the cluster, by the node's programs too.
    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.directory.join(ETC).join("resolv.conf")
    }

    /// Shell lines, to be run in a mount namespace that shares nothing with the host's.
    pub(crate) fn script(&self) -> String {
        let mut lines = Vec::new();
        for (own, target) in OWN {
            let own = self.directory.join(own);
            for (kept, rest) in self
                .kept
                .iter()
                .filter_map(|kept| Some((kept, kept.strip_prefix(target).ok()?)))
            {
                let (kept, inside) = (kept.display(), own.join(rest));
                lines.push(format!("mkdir -p '{0}'; mount --bind '{kept}' '{0}'", inside.display()));
            }
            lines.push(format!("mount --rbind '{}' '{target}'", own.display()));
        }
        let [upper, work] = [ETC, ETC_WORK].map(|name| self.directory.join(name));
        let layers = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
        lines.push(format!("mount -t overlay overlay -o '{layers}' /etc"));
        let tunables = self.tunables();
        lines.extend(
            tunables
                .iter()
                .map(|(copy, tunable)| format!("mount --bind '{}' '{tunable}'", copy.display())),
        );
        lines.extend(self.volumes.iter().map(|volume| volume.mount_script(self.plain)));
        // What the kubelet mounts for a pod must reach the mount namespaces of containers that ask for it.
        lines.push("mount --make-rshared /".to_owned());
        lines.join("\n")
    }

    /// The node's own copies of the host's settings, and what they lie over.
    fn tunables(&self) -> Vec<(PathBuf, &'static str)> {
        let there = KERNEL_TUNABLES.iter().filter(|tunable| Path::new(tunable).exists());
        there
            .map(|tunable| (self.directory.join(tunable.trim_start_matches('/')), *tunable))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(kept: &[PathBuf]) -> Mounts<'_> {
        Mounts {
            directory: Path::new("/s/n1"),
            volumes: &[],
            kept,
            plain: Path::new("/s/n1/plain"),
        }
    }

    #[test]
    fn a_cache_under_a_covered_directory_stays_visible() {
        let kept = [
            PathBuf::from("/var/lib/builder/.cache/pgsteer"),
            PathBuf::from("/srv/state"),
        ];
        let script = mounts(&kept).script();
        let saved = "mount --bind '/var/lib/builder/.cache/pgsteer' '/s/n1/lib/builder/.cache/pgsteer'";
        let covered = "mount --rbind '/s/n1/lib' '/var/lib'";
        let [saved, covered] = [saved, covered].map(|line| script.find(line).expect("the line is there"));
        assert!(saved < covered, "{script}");
        assert!(
            !script.contains("/srv/state"),
            "what is not covered needs nothing: {script}"
        );
    }

    #[test]
    fn a_path_that_a_script_cannot_carry_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kept = [directory.path().join("it's")];
        let node = crate::cluster::names::Instance::of(directory.path()).node(1);
        let error = mounts(&kept).write_files(&node).expect_err("a quotation mark");
        assert!(error.to_string().contains("it's"), "{error}");
    }
}
