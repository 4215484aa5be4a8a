//! Who brings the faults of a run about: this program on the embedded cluster, or Chaos Mesh.

use std::path::Path;

use super::command::Item;
use super::outcome::Outcome;
use super::run::Runner;
use super::stage::Tell;
use crate::cluster::{Cache, Progress};
use crate::ground::Ground;
use crate::host_time::HostTime;
use crate::install::Example;
use crate::mesh::ChaosMesh;
use crate::unfinished::Unfinished;

/// Who brings the faults about.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a run")]
pub(super) enum Driver<'a> {
    Embedded(Runner<'a>),
    ChaosMesh { mesh: ChaosMesh<'a>, reports: &'a Path },
}

impl<'a> Driver<'a> {
    /// Installs everything into the embedded cluster.
    pub(super) async fn embedded(
        ground: &'a Ground,
        cache: &'a Cache,
        project: &'a Path,
        reports: &'a Path,
        progress: Progress,
        example: Example,
    ) -> Result<Self, Unfinished> {
        let runner = Runner::prepare(ground, cache, project, reports, progress, example).await?;
        Ok(Self::Embedded(runner))
    }

    /// On a cluster that runs Chaos Mesh, and in which everything is installed.
    pub(super) async fn chaos_mesh(
        ground: &'a Ground,
        cache: &'a Cache,
        project: &'a Path,
        reports: &'a Path,
        progress: Progress,
    ) -> Result<Self, Unfinished> {
        let mesh = ChaosMesh::prepare(ground, cache, project, progress).await?;
        Ok(Self::ChaosMesh { mesh, reports })
    }

    /// Plays something so often, and judges what was recorded.
    pub(super) async fn play(&mut self, item: &Item, rounds: usize, tell: Tell<'_>) -> Result<Outcome, Unfinished> {
        match (self, item) {
            (Self::Embedded(runner), Item::Scenario(scenario)) => Ok(runner.play(scenario, rounds, tell).await?),
            (Self::Embedded(runner), Item::Random { seed, numbers }) => {
                Ok(runner.play_random(*seed, numbers.clone(), tell).await?)
            }
            (Self::ChaosMesh { mesh, reports }, Item::Experiment(experiment)) => {
                let began = HostTime::now();
                let mut outcome = Outcome::new(&experiment.name());
                for round in 1..=rounds {
                    let file = match round {
                        1 => format!("{}.jsonl", experiment.name()),
                        _ => format!("{}-{round}.jsonl", experiment.name()),
                    };
                    let judged = mesh.judged(experiment, reports.join(file), tell).await?;
                    outcome.add(&judged, Vec::new())?;
                }
                outcome.took = HostTime::now().since(began);
                Ok(outcome)
            }
            (Self::Embedded(_), Item::Experiment(_)) | (Self::ChaosMesh { .. }, _) => {
                Err(Unfinished::Usage("this driver does not play that".to_owned()))
            }
        }
    }

    /// Lets the controllers run without the preconditions of their writes from now on.
    pub(super) async fn without_preconditions(&self) -> Result<(), Unfinished> {
        match self {
            Self::Embedded(runner) => Ok(runner.without_preconditions().await?),
            Self::ChaosMesh { .. } => Ok(()),
        }
    }

    /// Puts the pair back where a promoter has taken its place.
    pub(super) async fn put_the_pair_back(&mut self, tell: Tell<'_>) -> Result<(), Unfinished> {
        match self {
            Self::Embedded(runner) => Ok(runner.put_the_pair_back(tell).await?),
            Self::ChaosMesh { .. } => Ok(()),
        }
    }
}
