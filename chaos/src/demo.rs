//! `chaos demo`: the whole main job in front of one's eyes, and a verdict.
//!
//! ```text
//! up -> install -> clients -> kill the primary ----> both names moved -> the old one is back
//!                          -> delete the leader ---> the next one leads, and repairs a label
//!                          -> promote, no fault ---> both names moved -> the old one is back
//!                          -> count what is lost -> timeline, checks, PASS or FAIL -> down
//! ```
//!
//! On a cluster of the user's own there is no `up` and no `down`: what was installed is removed, and the faults that only the embedded
//! cluster can suffer are skipped by name.
//!
//! It looks from outside alone: the recorder hears what happens, the judge of every other run judges it (docs/history.md), and the demo adds
//! what it has to show. It asks no controller anything.

mod play;
mod switch;
mod table;
#[cfg(test)]
mod tests;
mod verdict;
mod world;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use verdict::Verdict;

use crate::cluster::{Cache, Cluster, Progress, State, Target, Yours};
use crate::ground::{Ground, Guest};
use crate::install::example::TWO_DEPLOYMENTS;
use crate::install::{Example, Installation};
use crate::interrupt::{boot, interrupted};
use crate::record;
use crate::scenario::default_reports;
use crate::unfinished::Unfinished;
use crate::wait::TimedOut;

/// What a demo is asked to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where.
    pub target: Target,
    /// What is installed: the pair of two Deployments.
    pub example: Example,
    /// How many nodes the embedded cluster has.
    pub nodes: u8,
    /// Leave the cluster running, or what was installed in it.
    pub keep: bool,
    /// This project's folder.
    pub project: PathBuf,
}

/// Taking the cluster down takes two seconds; only for the progress line.
const DOWN_ESTIMATE: Duration = Duration::from_secs(2);

/// Boots, installs, plays, and takes the cluster down again, whatever happened. A cluster that was up before is left alone.
pub async fn run(cache: &Cache, state: &State, options: &Options, progress: Progress) -> Result<Verdict, Unfinished> {
    match &options.target {
        Target::Embedded => on_embedded(cache, state, options, progress).await,
        Target::Yours(yours) => as_guest(cache, state, yours, options, progress).await,
    }
}

async fn on_embedded(
    cache: &Cache,
    state: &State,
    options: &Options,
    progress: Progress,
) -> Result<Verdict, Unfinished> {
    let cluster = boot(cache, state, options.nodes, progress).await?;
    let ground = Ground::from(cluster);
    let outcome = installed_and_played(&ground, cache, &default_reports(state.root()), options, progress).await;
    if options.keep {
        record::remove_clients(&ground.client()).await;
        progress.tell("the cluster is left running; `chaos down` ends it");
    } else {
        drop(ground);
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

async fn as_guest(
    cache: &Cache,
    state: &State,
    yours: &Yours,
    options: &Options,
    progress: Progress,
) -> Result<Verdict, Unfinished> {
    let guest = Guest::open(yours.clone(), cache, progress).await?;
    guest.check_free().await?;
    let ground = Ground::from(guest);
    let outcome = installed_and_played(&ground, cache, &default_reports(state.root()), options, progress).await;
    if options.keep {
        record::remove_clients(&ground.client()).await;
        progress.tell("what was installed is left; `chaos uninstall` with the same options removes it");
    } else {
        let removed = ground.remove(&options.project, progress).await;
        // The first failure is the one to tell.
        if outcome.is_ok() {
            removed?;
        }
    }
    outcome
}

/// Ends with the first of: a verdict, a failure, an interruption.
async fn installed_and_played(
    ground: &Ground,
    cache: &Cache,
    reports: &Path,
    options: &Options,
    progress: Progress,
) -> Result<Verdict, Unfinished> {
    let installation = Installation {
        ground,
        example: options.example,
        cache,
        project: &options.project,
        progress,
    };
    let played = async {
        let images = installation.run().await?;
        play::play(ground, &images, reports, progress).await
    };
    tokio::select! {
        outcome = played => outcome,
        () = interrupted() => Err(Unfinished::Interrupted),
    }
}

/// Something did not happen in time: asks the cluster about it.
async fn missed(ground: &Ground, act: &str, missing: TimedOut) -> Unfinished {
    Unfinished::Missed {
        act: act.to_owned(),
        missing,
        diagnosis: ground.kubectl().diagnosis(TWO_DEPLOYMENTS.namespace).await,
    }
}
