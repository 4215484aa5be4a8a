//! One long-running program of the cluster: what is run, where, and how it is started so that it can be ended.
//!
//! A component writes its own process record and joins its cgroups *before* it becomes the program, so there is no moment at which
//! it runs unknown to `down`, even if the tool dies.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Error;
use super::keeper::Keeper;
use super::layout::Layout;
use super::process::Process;

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Component {
    /// Unique in the cluster, such as `kubelet-n1`: names its log and its record.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) room: Room,
}

/// The namespaces in which a component runs.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Record, join, become. `$1` is the record, then the cgroups, `--`, and the command line.
const BECOME: &str = r#"record=$1; shift
cat /proc/$$/stat >"$record.new"; mv "$record.new" "$record"
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done
shift; exec "$@""#;

impl Launcher<'_> {
    /// Starts a component. That it also keeps running is for the caller to see, with [`Started::check`].
    pub(crate) fn start(&self, component: &Component) -> Result<Started, Error> {
        let log_path = self.layout.log(&component.name);
        let log = std::fs::File::create(&log_path).map_err(Error::io("create the log", &log_path))?;
        let errors = log.try_clone().map_err(Error::io("create the log", &log_path))?;
        let record = self.layout.processes().join(&component.name);
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
        command.envs(component.env.iter().map(|(name, value)| (name, value)));
        command
            .current_dir(self.layout.root())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        let spawned = match self.keeper {
            Some(keeper) => keeper.spawn(command),
            None => command.spawn().map(drop),
        };
        spawned.map_err(|source| Error::NoSuchProgram {
            program: "setsid or setpriv (util-linux)".to_owned(),
            source,
        })?;
        Ok(Started {
            name: component.name.clone(),
            record,
            log: log_path,
        })
    }
}

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
