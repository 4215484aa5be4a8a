//! One long-running program of the cluster: what is run, where, and how it is started so that it can be ended.
//!
//! A component writes its own process record and joins its cgroups, and then asks the tool whether it may become the program. A tool
//! that was killed does not answer, so whatever runs is on record, and `down` finds it.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::keeper::Keeper;
use super::layout::{Layout, write};
use super::process::Process;
use super::{Error, host};

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Component {
    /// Unique in the cluster, such as `kubelet-n1`: names its log and its record.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) room: Room,
}

/// The namespaces in which a component runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Room {
    /// The host's own: the API server alone, for tests.
    Host,
    /// A network namespace: the control plane of a cluster with nodes.
    Network(PathBuf),
    /// A network and a mount namespace: a node.
    Node { network: PathBuf, mount: PathBuf },
}

impl Room {
    /// The words that go in front of a command line to run it here. `ip netns exec` would not do: it mounts a fresh /sys, which
    /// hides the cgroups.
    pub(crate) fn enter(&self) -> Vec<String> {
        let option = |name: &str, path: &Path| format!("--{name}={}", path.display());
        match self {
            Self::Host => Vec::new(),
            Self::Network(network) => vec!["nsenter".to_owned(), option("net", network)],
            Self::Node { network, mount } => vec!["nsenter".to_owned(), option("net", network), option("mount", mount)],
        }
    }
}

/// Starts components of one cluster.
#[derive(Debug)]
pub(crate) struct Launcher<'a> {
    pub(crate) layout: &'a Layout,
    /// Directories of the cgroups to join, one a hierarchy; none without root.
    pub(crate) cgroups: Vec<PathBuf>,
    /// Ties components to the life of this process; otherwise they outlive it.
    pub(crate) keeper: Option<&'a Keeper>,
}

/// A component that was started.
#[derive(Debug, Clone)]
pub(crate) struct Started {
    name: String,
    record: PathBuf,
    log: PathBuf,
}

/// Record, join, ask, become. `$1` is the record, then the cgroups, `--`, and the command line. Standard input is a socket to the tool: a
/// tool that has died answers nothing, and the component never comes to be.
const BECOME: &str = r#"record=$1; shift
cat /proc/$$/stat >"$record.new"; mv "$record.new" "$record"
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done
shift; echo recorded >&0; read -r go; exec "$@" </dev/null"#;

/// A shell records itself within milliseconds; a host that cannot do it in this time is broken.
const RECORD_LIMIT: Duration = Duration::from_secs(30);

impl Launcher<'_> {
    /// Starts a component. That it also keeps running is for the caller to see, with [`Started::check`].
    pub(crate) fn start(&self, component: &Component) -> Result<Started, Error> {
        let log_path = self.layout.log(&component.name);
        // What an earlier life of the component said stays.
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&log_path);
        let log = log.map_err(Error::io("open the log", &log_path))?;
        let errors = log.try_clone().map_err(Error::io("create the log", &log_path))?;
        let record = self.layout.processes().join(&component.name);
        self.keep_plan(component)?;
        // A session of its own keeps a terminal's signals away from what shall outlive the tool.
        let mut command = if self.keeper.is_some() {
            Command::new("setpriv")
        } else {
            Command::new("setsid")
        };
        if self.keeper.is_some() {
            command.args(["--pdeathsig", "KILL"]);
        }
        command
            .args(["sh", "-ec", BECOME, &component.name])
            .arg(&record)
            .args(&self.cgroups)
            .arg("--");
        command
            .args(component.room.enter())
            .arg(&component.program)
            .args(&component.args);
        // Nothing of the user's settings reaches the cluster: a proxy for HTTP in between would break it.
        command.env_clear().env("PATH", host::PROGRAM_DIRECTORIES.join(":"));
        command.envs(component.env.iter().map(|(name, value)| (name, value)));
        let (ours, theirs) = UnixStream::pair().map_err(Error::io("make a socket for", &record))?;
        command.current_dir(self.layout.root());
        command.stdin(OwnedFd::from(theirs)).stdout(log).stderr(errors);
        let spawned = match self.keeper {
            Some(keeper) => keeper.spawn(command),
            None => spawn(command),
        };
        let program = "setsid or setpriv (util-linux)".to_owned();
        spawned.map_err(|source| Error::NoSuchProgram { program, source })?;
        let name = component.name.clone();
        let started = Started {
            name,
            record,
            log: log_path,
        };
        // A component that could not even record itself has said why in its log.
        if allow(ours).is_ok() {
            Ok(started)
        } else {
            Err(started.died())
        }
    }
}

/// How a component was started: whoever kills it starts it again in the same way, as an init system would.
#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    component: Component,
    cgroups: Vec<PathBuf>,
}

impl Launcher<'_> {
    fn keep_plan(&self, component: &Component) -> Result<(), Error> {
        let plan = Plan {
            component: component.clone(),
            cgroups: self.cgroups.clone(),
        };
        write(&self.layout.plan(&component.name), serde_json::json!(plan).to_string())
    }
}

/// Starts a component that has ended, as it was started first. It outlives this process.
pub(crate) fn start_again(layout: &Layout, name: &str) -> Result<Started, Error> {
    let path = layout.plan(name);
    let content = std::fs::read(&path).map_err(Error::io("read how it was started:", &path))?;
    let malformed = |error: serde_json::Error| Error::Malformed {
        path: path.clone(),
        wrong: error.to_string(),
    };
    let Plan { component, cgroups } = serde_json::from_slice(&content).map_err(malformed)?;
    Launcher {
        layout,
        cgroups,
        keeper: None,
    }
    .start(&component)
}

/// Takes the command with it, whose end of the socket must not stay open here.
fn spawn(mut command: Command) -> std::io::Result<()> {
    command.spawn().map(drop)
}

/// Waits until the component is on record, then lets it become its program. Blocks for the few milliseconds that this takes.
fn allow(mut component: UnixStream) -> std::io::Result<()> {
    component.set_read_timeout(Some(RECORD_LIMIT))?;
    let mut word = [0; RECORDED.len()];
    component.read_exact(&mut word)?;
    component.write_all(b"go\n")
}

/// What the shell says when the component is on record.
const RECORDED: &[u8] = b"recorded\n";

impl Started {
    /// Whether the component runs. `Ok(false)`: it has not got so far. An error, with the end of its log: it has ended.
    pub(crate) fn check(&self) -> Result<bool, Error> {
        match Process::recorded(&self.record)? {
            None => Ok(false),
            Some(process) if process.is_alive() => Ok(true),
            Some(_) => Err(self.died()),
        }
    }

    /// Its log.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    fn died(&self) -> Error {
        Error::Died {
            component: self.name.clone(),
            log: self.log.clone(),
            said: super::error::last_lines(&self.log),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::wait_for;

    fn component(script: &str) -> Component {
        let args = vec!["-c".to_owned(), script.to_owned()];
        Component {
            name: "part".to_owned(),
            program: "sh".into(),
            args,
            env: Vec::new(),
            room: Room::Host,
        }
    }

    fn layout(directory: &tempfile::TempDir) -> Layout {
        let layout = Layout::new(directory.path());
        layout.create().expect("created");
        layout
    }

    #[test]
    fn a_component_is_on_record_before_it_is_its_program() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let layout = layout(&directory);
        let keeper = Keeper::new().expect("a thread");
        let launcher = Launcher {
            layout: &layout,
            cgroups: Vec::new(),
            keeper: Some(&keeper),
        };
        let started = launcher.start(&component("sleep 600")).expect("started");
        assert!(started.check().expect("alive"));
        let recorded = Process::recorded(&layout.processes().join("part"))
            .expect("readable")
            .expect("there");
        drop(keeper);
        assert!(!recorded.is_alive());
        assert!(matches!(started.check(), Err(Error::Died { .. })));
    }

    #[tokio::test]
    async fn a_component_that_has_ended_is_started_again_as_it_was() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let layout = layout(&directory);
        let keeper = Keeper::new().expect("a thread");
        let launcher = Launcher {
            layout: &layout,
            cgroups: Vec::new(),
            keeper: Some(&keeper),
        };
        let component = Component {
            env: vec![("LIFE".to_owned(), "the same".to_owned())],
            ..component("echo \"$LIFE\"")
        };
        launcher.start(&component).expect("started");
        let has_said = async |times: usize| {
            let said = wait_for("what it says", std::time::Duration::from_secs(30), || async {
                let said = std::fs::read_to_string(layout.log("part")).unwrap_or_default();
                if said == "the same\n".repeat(times) {
                    Ok(())
                } else {
                    Err(said)
                }
            });
            said.await
        };
        has_said(1).await.expect("the first life");
        start_again(&layout, "part").expect("started again");
        has_said(2).await.expect("the second life, in the same log");
    }

    #[test]
    fn a_component_that_cannot_be_put_on_record_never_runs() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let layout = layout(&directory);
        std::fs::remove_dir(layout.processes()).expect("removed");
        let proof = directory.path().join("ran");
        let launcher = Launcher {
            layout: &layout,
            cgroups: Vec::new(),
            keeper: None,
        };
        let refused = launcher.start(&component(&format!("touch {}", proof.display())));
        let error = refused.expect_err("there is nowhere to write the record");
        assert!(error.to_string().contains("part ended by itself"), "{error}");
        assert!(!proof.exists());
    }

    #[test]
    fn a_component_whose_tool_has_died_never_runs() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let proof = directory.path().join("ran");
        let record = directory.path().join("record");
        let (ours, theirs) = UnixStream::pair().expect("a socket");
        drop(ours);
        let mut shell = Command::new("sh");
        shell
            .args(["-ec", BECOME, "part"])
            .arg(&record)
            .args(["--", "touch"])
            .arg(&proof);
        let status = shell
            .stdin(OwnedFd::from(theirs))
            .stderr(std::process::Stdio::null())
            .status()
            .expect("a shell");
        assert!(!status.success() && record.exists() && !proof.exists());
    }
}
