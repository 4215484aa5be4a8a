//! One node: a network and a mount namespace in which the standard paths are the node's own, so that agents which mount host paths
//! (a CSI driver, a chaos daemon) find what they expect.
//!
//! ```text
//! anchor (holds the namespaces, mounts) -> containerd -> pause image -> kubelet, kube-proxy
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::build::Programs;
use super::command::Run;
use super::component::{Component, Launcher, Room, Started};
use super::image::Archive;
use super::layout::{Layout, create_dir, write};
use super::names::{CONTROL_PLANE, Node};
use super::process::Process;
use super::volume::{self, Volume};
use super::{Error, containerd, host, import, kube_proxy, kubelet};
use crate::wait::wait_for;

/// What of the node's directory lies over which path of the host. The kernel's tunables come on top.
const MOUNTS: &[(&str, &str)] = &[
    ("run/containerd", "/run/containerd"),
    ("run/netns", "/run/netns"),
    ("lib/containerd", "/var/lib/containerd"),
    ("lib/kubelet", "/var/lib/kubelet"),
    ("lib/cni", "/var/lib/cni"),
    ("etc/cni", "/etc/cni/net.d"),
    ("log/pods", "/var/log/pods"),
    ("log/containers", "/var/log/containers"),
];

/// Mounting takes milliseconds and containerd starts within a second; a busy host was seen to take ten times that.
const PREPARE_LIMIT: Duration = Duration::from_mins(1);

/// A node in the making, or made: its names and where its files are.
#[derive(Debug, Clone)]
pub(crate) struct Site<'a> {
    pub(crate) node: Node,
    pub(crate) directory: PathBuf,
    pub(crate) layout: &'a Layout,
}

impl<'a> Site<'a> {
    pub(crate) fn new(node: Node, layout: &'a Layout) -> Self {
        Self {
            directory: layout.node(&node.name),
            node,
            layout,
        }
    }

    pub(crate) fn volumes(&self) -> Vec<Volume> {
        volume::of_node(&self.node, &self.directory)
    }

    /// Its namespaces, once the anchor holds them.
    pub(crate) fn room(&self) -> Result<Room, Error> {
        let gone = || Error::NoSuch {
            what: format!("node {}", self.node.name),
            hint: "see `chaos status`".to_owned(),
        };
        let anchor = Process::recorded(&self.layout.processes().join(self.anchor_name()))?
            .filter(Process::is_alive)
            .ok_or_else(gone)?;
        Ok(Room::Node {
            network: self.node.network(),
            mount: PathBuf::from(format!("/proc/{}/ns/mnt", anchor.pid)),
        })
    }

    fn anchor_name(&self) -> String {
        format!("anchor-{}", self.node.name)
    }

    /// Written by the anchor when all is mounted.
    fn ready(&self) -> PathBuf {
        self.directory.join("ready")
    }

    /// Names the volumes that had to stay plain directories, one a line.
    fn plain(&self) -> PathBuf {
        self.directory.join("plain")
    }

    /// Volumes that are plain directories because the host has no loop devices: they cannot be filled or frozen by themselves.
    pub(crate) fn plain_volumes(&self) -> Vec<String> {
        let content = std::fs::read_to_string(self.plain()).unwrap_or_default();
        content.lines().map(str::to_owned).collect()
    }

    fn config(&self, file: &str) -> PathBuf {
        self.directory.join("etc").join(file)
    }
}

/// The mount points that the host does not have, parents first.
pub(crate) fn missing_mount_points() -> Vec<PathBuf> {
    let ancestors = MOUNTS.iter().flat_map(|(_, target)| Path::new(target).ancestors());
    let mut missing: Vec<PathBuf> = ancestors.filter(|path| !path.exists()).map(Path::to_owned).collect();
    missing.sort();
    missing.dedup();
    missing
}

/// What is needed to start a node's components.
#[derive(Debug)]
pub(crate) struct Tools<'a> {
    pub(crate) launcher: &'a Launcher<'a>,
    pub(crate) programs: &'a Programs,
    /// The PATH of the node's components.
    pub(crate) path: &'a str,
}

impl Tools<'_> {
    fn env(&self) -> Vec<(String, String)> {
        vec![("PATH".to_owned(), self.path.to_owned())]
    }
}

/// Makes the node's files and volumes, starts the anchor and containerd, and gives it the pause image. Needs no API server.
pub(crate) async fn prepare(site: &Site<'_>, tools: &Tools<'_>, pause: &Archive) -> Result<(), Error> {
    write_files(site)?;
    for volume in site.volumes() {
        volume.create().await?;
    }
    let anchor = tools.launcher.start(&anchor(site)?)?;
    until(&format!("the mounts of {}", site.node.name), &[anchor], || async {
        if site.ready().exists() {
            Ok(())
        } else {
            Err("not all is mounted".to_owned())
        }
    })
    .await?;
    let room = site.room()?;
    let runc = host::find("runc").unwrap_or_else(|| PathBuf::from("runc"));
    let config = site.config("containerd.toml");
    write(&config, containerd::config(&runc))?;
    let component = containerd::component(
        tools.programs.path("containerd"),
        &site.node,
        &config,
        room.clone(),
        tools.env(),
    );
    let started = tools.launcher.start(&component)?;
    let ctr = tools.programs.path("ctr");
    until(&format!("containerd of {}", site.node.name), &[started], || async {
        in_room(&room, ctr)
            .arg("version")
            .run()
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    })
    .await?;
    import::import(&room, ctr, pause).await
}

/// Starts the kubelet and kube-proxy, which need the API server.
pub(crate) fn join(site: &Site<'_>, tools: &Tools<'_>) -> Result<Vec<Started>, Error> {
    let room = site.room()?;
    let config = site.config("kubelet.json");
    write(
        &config,
        kubelet::config(site.layout, &site.node, &site.config("resolv.conf")),
    )?;
    let kubelet = tools.programs.path("kubelet");
    let kubelet = kubelet::component(kubelet, site.layout, &site.node, &config, room.clone(), tools.env());
    let proxy = tools.programs.path("kube-proxy");
    let proxy = kube_proxy::component(proxy, site.layout, &site.node.name, room, tools.env());
    Ok(vec![tools.launcher.start(&kubelet)?, tools.launcher.start(&proxy)?])
}

/// A command to be run in a room.
pub(crate) fn in_room(room: &Room, program: &Path) -> Run {
    let mut words = room.enter();
    words.push(program.display().to_string());
    let program = words.remove(0);
    Run::new(program).args(words)
}

/// Waits for a condition; a component that ends meanwhile ends the wait with its log.
async fn until<F, Look>(what: &str, components: &[Started], mut condition: F) -> Result<(), Error>
where
    F: FnMut() -> Look,
    Look: Future<Output = Result<(), String>>,
{
    let waited = wait_for(what, PREPARE_LIMIT, || {
        let died = components.iter().find_map(|component| component.check().err());
        let look = condition();
        async move {
            match died {
                Some(error) => Ok(Err(error)),
                None => look.await.map(Ok),
            }
        }
    });
    let logs: Vec<PathBuf> = components.iter().map(|component| component.log().to_owned()).collect();
    waited.await.map_err(|timed_out| Error::timed_out(timed_out, &logs))?
}

fn write_files(site: &Site<'_>) -> Result<(), Error> {
    for (own, target) in MOUNTS {
        create_dir(&site.directory.join(own))?;
        create_dir(Path::new(target))?;
    }
    write(
        &site.directory.join("etc/cni/10-pod.conflist"),
        containerd::pod_network(&site.node),
    )?;
    write(&site.config("resolv.conf"), format!("nameserver {CONTROL_PLANE}\n"))?;
    for (copy, tunable) in tunables(site) {
        let value = std::fs::read(tunable).map_err(Error::io("read", Path::new(tunable)))?;
        write(&copy, value)?;
    }
    Ok(())
}

/// The node's own copies of the host's settings, and what they lie over.
fn tunables(site: &Site<'_>) -> Vec<(PathBuf, &'static str)> {
    let there = kubelet::KERNEL_TUNABLES
        .iter()
        .filter(|tunable| Path::new(tunable).exists());
    there
        .map(|tunable| (site.directory.join(tunable.trim_start_matches('/')), *tunable))
        .collect()
}

/// The process that holds the node's namespaces, and in whose mount namespace all its paths are set up.
fn anchor(site: &Site<'_>) -> Result<Component, Error> {
    if site.directory.to_string_lossy().contains('\'') {
        let wrong = "the path of a state directory may not hold a quotation mark".to_owned();
        return Err(Error::Malformed {
            path: site.directory.clone(),
            wrong,
        });
    }
    let bind = |own: &Path, target: &str| format!("mount --bind '{}' '{target}'", own.display());
    let mut script: Vec<String> = MOUNTS
        .iter()
        .map(|(own, target)| bind(&site.directory.join(own), target))
        .collect();
    script.extend(tunables(site).iter().map(|(copy, tunable)| bind(copy, tunable)));
    script.extend(site.volumes().iter().map(|volume| volume.mount_script(&site.plain())));
    // What the kubelet mounts for a pod must reach the mount namespaces of containers that ask for it.
    script.push("mount --make-rshared /".to_owned());
    script.push(format!("touch '{}'", site.ready().display()));
    script.push("exec sleep infinity".to_owned());
    let args = ["--mount", "--propagation", "private", "sh", "-ec"]
        .map(str::to_owned)
        .into_iter()
        .chain([script.join("\n")]);
    Ok(Component {
        name: site.anchor_name(),
        program: PathBuf::from("unshare"),
        args: args.collect(),
        env: Vec::new(),
        room: Room::Network(site.node.network()),
    })
}
