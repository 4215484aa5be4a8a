//! `chaos demo`: the whole main job in front of one's eyes, and a verdict.
//!
//! ```text
//! up -> install -> clients -> kill the primary ----> both names moved -> the old one is back
//!                          -> delete the leader ---> the next one leads, and repairs a label
//!                          -> promote, no fault ---> both names moved -> the old one is back
//!                          -> count what is lost -> timeline, checks, PASS or FAIL -> down
//! ```
//!
//! It looks from outside alone: labels, EndpointSlices and the Lease through the API server, and what clients in pods are answered
//! through the Services' DNS names. It asks no controller anything.

mod clients;
mod history;
mod play;
#[cfg(test)]
mod tests;
mod verdict;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

pub use verdict::{Check, Verdict};

use crate::cluster::{self, Cache, Cluster, Progress, State};
use crate::install::{self, Installation, Kubectl};
use crate::table::Screen;
use crate::wait::TimedOut;

/// What a demo is asked to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many nodes the cluster has.
    pub nodes: u8,
    /// Leave the cluster running.
    pub keep: bool,
    /// This project's folder.
    pub project: PathBuf,
}

/// The demo did not come to its verdict.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster or the host failed; nothing is known of pgsteer.
    #[error(transparent)]
    Environment(#[from] cluster::Error),
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
    /// The installation does not work.
    #[error(transparent)]
    Install(install::Error),
    /// The person at the terminal, or the system, ended it.
    #[error("interrupted")]
    Interrupted,
}

impl From<install::Error> for Error {
    fn from(error: install::Error) -> Self {
        match error {
            install::Error::Environment(error) => Self::Environment(error),
            error @ install::Error::NotWorking { .. } => Self::Install(error),
        }
    }
}

/// Taking the cluster down takes two seconds; only for the progress line.
const DOWN_ESTIMATE: Duration = Duration::from_secs(2);

/// Boots, installs, plays, and takes the cluster down again, whatever happened. A cluster that was up before is left alone.
pub async fn run(cache: &Cache, state: &State, options: &Options, progress: Progress) -> Result<Verdict, Error> {
    let cluster = tokio::select! {
        booted = Cluster::up(cache, state, options.nodes, progress) => match booted {
            Ok(cluster) => cluster,
            // A cluster of somebody else's is not ours to end; what a failed boot left, it has cleared away itself.
            Err(error) => return Err(error.into()),
        },
        () = interrupted() => {
            Cluster::down(state).await?;
            return Err(Error::Interrupted);
        }
    };
    let installation = Installation {
        cluster: &cluster,
        cache,
        project: &options.project,
        progress,
    };
    let outcome = tokio::select! {
        outcome = installed_and_played(&installation) => outcome,
        () = interrupted() => Err(Error::Interrupted),
    };
    if options.keep {
        clients::remove(&cluster.client()).await;
        progress.tell("the cluster is left running; `chaos down` ends it");
    } else {
        drop(cluster);
        let step = progress.step("take the cluster down", DOWN_ESTIMATE);
        let down = Cluster::down(state).await;
        // The first failure is the one to tell.
        if outcome.is_ok() {
            down?;
        }
        step.done();
    }
    outcome
}

async fn installed_and_played(installation: &Installation<'_>) -> Result<Verdict, Error> {
    installation.run().await?;
    play::play(installation.cluster, Screen::of_standard_output()).await
}

/// Ctrl-C or SIGTERM.
async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without a way to hear of signals their default ends the process, as ever.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

impl Error {
    /// Something did not happen in time: asks the cluster about it.
    async fn missed(cluster: &Cluster, act: &str, missing: TimedOut) -> Self {
        Self::Missed {
            act: act.to_owned(),
            missing,
            diagnosis: Kubectl::of(cluster).diagnosis().await,
        }
    }
}
