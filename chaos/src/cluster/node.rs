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
use super::layout::{Layout, write};
use super::mounts::Mounts;
use super::names::Node;
use super::process::Process;
use super::volume::{self, Volume};
use super::{Error, containerd, host, import, kube_proxy, kubelet};
use crate::wait::wait_for;

/// Mounting takes milliseconds and containerd starts within a second, within ten on a busy host. Only a hang waits this long.
const PREPARE_LIMIT: Duration = Duration::from_mins(3);

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
        let anchor = Process::recorded(&self.layout.processes().join(anchor_name(&self.node.name)))?
            .filter(Process::is_alive)
            .ok_or_else(gone)?;
        Ok(Room::Node {
            network: self.node.network(),
            mount: PathBuf::from(format!("/proc/{}/ns/mnt", anchor.pid)),
        })
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
        self.directory.join("config").join(file)
    }
}

/// The component that holds a node's namespaces.
pub(crate) fn anchor_name(node: &str) -> String {
    format!("anchor-{node}")
}

/// What is needed to start a node's components.
#[derive(Debug)]
pub(crate) struct Tools<'a> {
    pub(crate) launcher: &'a Launcher<'a>,
    pub(crate) programs: &'a Programs,
    /// The PATH of the node's components.
    pub(crate) path: &'a str,
    /// Directories of the host that must stay visible on the node.
    pub(crate) kept: &'a [PathBuf],
}

impl Tools<'_> {
    fn env(&self) -> Vec<(String, String)> {
        vec![("PATH".to_owned(), self.path.to_owned())]
    }
}

/// Makes the node's files and volumes, starts the anchor and containerd, and gives it the pause image. Needs no API server.
pub(crate) async fn prepare(site: &Site<'_>, tools: &Tools<'_>, pause: &Archive) -> Result<(), Error> {
    let (volumes, plain) = (site.volumes(), site.plain());
    let mounts = Mounts {
        directory: &site.directory,
        volumes: &volumes,
        kept: tools.kept,
        plain: &plain,
    };
    mounts.write_files(&site.node)?;
    for volume in &volumes {
        volume.create().await?;
    }
    let anchor = tools.launcher.start(&anchor(site, &mounts))?;
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
        kubelet::config(site.layout, &site.node, Path::new("/etc/resolv.conf")),
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

/// The process that holds the node's namespaces, and in whose mount namespace all its paths are set up.
fn anchor(site: &Site<'_>, mounts: &Mounts<'_>) -> Component {
    let ready = format!("touch '{}'", site.ready().display());
    let script = [mounts.script(), ready, "exec sleep infinity".to_owned()].join("\n");
    let enter = ["--mount", "--propagation", "private", "sh", "-ec"].map(str::to_owned);
    let args = [enter.to_vec(), vec![script]].concat();
    let room = Room::Network(site.node.network());
    Component {
        name: anchor_name(&site.node.name),
        program: PathBuf::from("unshare"),
        args,
        env: Vec::new(),
        room,
    }
}
