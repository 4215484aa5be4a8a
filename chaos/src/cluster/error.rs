//! Why the embedded cluster could not do what it was asked.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::wait::TimedOut;

/// The environment failed: exit status 3 of the `chaos` program. None of these says anything about pgsteer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory could not be used. Look at the path's rights and the disk's space.
    #[error("could not {doing} {}", path.display())]
    Io {
        /// The verb, as in "could not _write_".
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An external command could not be started at all, usually because it is not installed.
    #[error("could not start `{program}`; is it installed and on the PATH?")]
    NoSuchProgram {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An external command ended with a failure. What it said is in the message.
    #[error("`{command}` failed ({status}):\n{said}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The last lines of its output.
        said: String,
    },
    /// Programs of the cluster have not been built. Run the named command once; it takes minutes, and seconds afterwards.
    #[error("{} not built for this version of the sources; run `{command}` first", missing.join(", "))]
    NotBuilt {
        /// The programs.
        missing: Vec<String>,
        /// What builds them.
        command: String,
    },
    /// Debian packages are missing and only root may install them.
    #[error("programs are missing on this host; run: {command}")]
    MissingPackages {
        /// The one command that installs them.
        command: String,
    },
    /// Nodes need namespaces, mounts and cgroups, which only root may make.
    #[error("a cluster with nodes needs root; `--nodes 0` (the API server alone) does not")]
    NotRoot,
    /// More nodes than the address plan has room for.
    #[error("{asked} nodes are too many; at most {most}")]
    TooManyNodes {
        /// How many were asked for.
        asked: u8,
        /// How many there may be.
        most: u8,
    },
    /// A component ended by itself. The end of its log is in the message.
    #[error("{component} ended by itself; the end of {}:\n{said}", log.display())]
    Died {
        /// The component.
        component: String,
        /// Its whole log.
        log: PathBuf,
        /// The last lines of it.
        said: String,
    },
    /// A condition did not come true in time; the message says what was missing.
    #[error("the cluster is too slow or broken{}", said_by(logs))]
    TimedOut {
        /// What was waited for.
        #[source]
        source: TimedOut,
        /// The logs that may tell why, with their last lines.
        logs: Vec<(PathBuf, String)>,
    },
    /// The API server refused or did not answer.
    #[error("the API server did not {doing}")]
    Api {
        /// What it was asked to do.
        doing: String,
        /// Its answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// The kubeconfig that this program wrote (or was given) cannot be used.
    #[error("could not use the kubeconfig {}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// A certificate could not be made; a defect of this program.
    #[error("could not make the certificate of {who}")]
    Certificate {
        /// Whose.
        who: String,
        /// What the library said.
        #[source]
        source: rcgen::Error,
    },
    /// Another `up`, `down` or `build` is at work on the same directory. Wait for it, or give another directory.
    #[error("{} is locked by another chaos command that is still running", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The cluster runs already; use it, or take it down first.
    #[error("a cluster with {nodes} nodes is up in {}; `chaos down` ends it", state.display())]
    AlreadyUp {
        /// How many nodes it has.
        nodes: u8,
        /// Where its state is.
        state: PathBuf,
    },
    /// There is no running cluster; start one with `chaos up`.
    #[error("no cluster is up in {}; `chaos up` starts one", state.display())]
    NotUp {
        /// Where its state would be.
        state: PathBuf,
    },
    /// A thing that was asked for does not exist (a node, a pod's process, a volume).
    #[error("{what} does not exist: {hint}")]
    NoSuch {
        /// What was looked for.
        what: String,
        /// What there is instead, or what to do.
        hint: String,
    },
    /// Something in a cluster of the user's own was not made by chaos, or is in the way, and is not touched.
    #[error("{what}: {hint}")]
    NotOurs {
        /// What is there.
        what: String,
        /// What to do.
        hint: String,
    },
    /// Data that this program or a component wrote cannot be read back.
    #[error("{} is not what it should be: {wrong}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        wrong: String,
    },
}

impl Error {
    /// For `map_err`: an I/O failure on `path`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    /// For `map_err`: a failed API call.
    pub(crate) fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Api {
            doing,
            source: Box::new(source),
        }
    }

    /// A wait that ran out, with the ends of the logs that may tell why.
    pub(crate) fn timed_out(source: TimedOut, logs: &[PathBuf]) -> Self {
        let logs = logs.iter().map(|log| (log.clone(), last_lines(log))).collect();
        Self::TimedOut { source, logs }
    }
}

fn said_by(logs: &[(PathBuf, String)]) -> String {
    logs.iter().fold(String::new(), |mut text, (log, said)| {
        // Writing to a String cannot fail.
        write!(text, "\nthe end of {}:\n{said}", log.display()).ok();
        text
    })
}

/// Lines of a log shown when its component fails: enough for a Go panic's head or a refused flag, not a screenful.
const LOG_LINES: usize = 15;

/// The last lines of a log file, or why it cannot be read.
pub(crate) fn last_lines(log: &Path) -> String {
    match std::fs::read(log) {
        Ok(bytes) => tail(&String::from_utf8_lossy(&bytes)),
        Err(error) => format!("(unreadable: {error})"),
    }
}

/// The last lines of a text, indented.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    lines[from..]
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_long_text_is_shown() {
        let text = (1..=40).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        let shown = tail(&text);
        assert!(shown.starts_with("  26\n"), "{shown}");
        assert!(shown.ends_with("\n  40"), "{shown}");
    }
}
