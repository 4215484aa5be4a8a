//! Why a command did not come to its verdict.

use crate::cluster;
use crate::install;
use crate::mesh;
use crate::wait::TimedOut;

/// Why a command did not come to its verdict.
#[derive(Debug, thiserror::Error)]
pub enum Unfinished {
    /// The cluster or the host failed; nothing is known of pgsteer.
    #[error(transparent)]
    Environment(#[from] cluster::Error),
    /// Chaos Mesh did not carry an experiment out; nothing is known of pgsteer.
    #[error(transparent)]
    Experiment(#[from] mesh::Error),
    /// Something that pgsteer should have brought about did not happen. Holds what the cluster says about it.
    #[error("{act}: it did not happen in time\n{diagnosis}")]
    Missed {
        /// What was going on.
        act: String,
        /// What was waited for.
        #[source]
        missing: TimedOut,
        /// The route, the pods, and the last lines of the controllers' logs.
        diagnosis: String,
    },
    /// The command line asks for something that cannot be; says what can.
    #[error("{0}")]
    Usage(String),
    /// The person at the terminal, or the system, ended it.
    #[error("interrupted")]
    Interrupted,
}

impl From<install::Error> for Unfinished {
    fn from(error: install::Error) -> Self {
        match error {
            install::Error::Environment(error) => Self::Environment(error),
            install::Error::NotWorking { missing, diagnosis } => Self::Missed {
                act: "what was installed does not work".to_owned(),
                missing,
                diagnosis,
            },
        }
    }
}
