//! Throw-away PostgreSQL servers: real processes on loopback, each in a directory of its own under the temporary directory, gone
//! with the test that made them.
//!
//! ```text
//! Setup ──> Server::primary ──> initdb ──> start ──┐
//!              │ pg_basebackup                     ├──> Server: sql · stop · kill · freeze · promote · address
//!              └──> standby ───────────────> start ┘
//! ```
//!
//! Nothing is flushed to disk (`fsync = off`): a server survives the death of its processes, not that of its host.
//! PostgreSQL refuses to run as root, so root starts it as the user `postgres`; everybody else as himself.

use std::{io, path::PathBuf};

mod authority;
mod install;
mod server;
mod setup;

pub use authority::{Authority, Certificate};
pub use server::{Server, Shutdown};
pub use setup::Setup;

use crate::wait::TimedOut;

/// Why a throw-away server could not be had or moved. The environment failed, or the test asks for something impossible.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No PostgreSQL on this host.
    #[error(
        "no PostgreSQL server in {looked_in}: install it (apt-get install postgresql-15) or put another version there"
    )]
    NotInstalled {
        /// Where versions are looked for.
        looked_in: &'static str,
    },
    /// Root, and nobody to run PostgreSQL as.
    #[error(
        "PostgreSQL does not run as root, and there is no user \"{user}\": install postgresql-common, or run as another user"
    )]
    NoAccount {
        /// Whom root runs it as.
        user: &'static str,
    },
    /// A program of PostgreSQL, or what starts it, cannot be started.
    #[error("cannot start {program}")]
    Spawn {
        /// Which.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program of PostgreSQL failed.
    #[error("{program} failed ({status}): {said}")]
    Failed {
        /// Which.
        program: PathBuf,
        /// Its exit status.
        status: String,
        /// Its last lines.
        said: String,
    },
    /// The server ended when it should not have.
    #[error("the server in {directory} ended ({status}); its log ends with: {log}")]
    Ended {
        /// Its directory.
        directory: PathBuf,
        /// Its exit status.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// The server is not running.
    #[error("the server in {directory} is not running")]
    NotRunning {
        /// Its directory.
        directory: PathBuf,
    },
    /// A file of the rig could not be read or written.
    #[error("cannot {doing} {path}")]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No free port in the range of the rig.
    #[error("no free port between {first} and {last} on 127.0.0.1")]
    NoPort {
        /// The first that was tried.
        first: u16,
        /// The last.
        last: u16,
    },
    /// The server refused a statement of the test.
    #[error("the statement failed: {statement}")]
    Sql {
        /// Which.
        statement: String,
        /// What the server says.
        #[source]
        source: tokio_postgres::Error,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate for {name}")]
    Certificate {
        /// For whom.
        name: String,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// Something did not happen in time.
    #[error("the server in {directory}; its log ends with: {log}")]
    TimedOut {
        /// Its directory.
        directory: PathBuf,
        /// The last lines of its log.
        log: String,
        /// What was waited for.
        #[source]
        source: TimedOut,
    },
}

impl Error {
    fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }
}
