//! An experiment under the judge's eyes: recorded from before it begins until everything has had its time to be right again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::{Error, Experiment, Stage};
use crate::cluster::{Cache, OwnImage, Progress};
use crate::ground::Ground;
use crate::history::Phase;
use crate::judge::Judged;
use crate::record::{Options, Recorder};

/// How an experiment is recorded.
#[derive(Debug, Clone, Args)]
pub struct MeshArgs {
    /// The experiment: its file's name, without the ending.
    pub experiment: String,
    /// The history's file.
    #[arg(long, default_value = "history.jsonl")]
    pub file: PathBuf,
    /// How long after the fault every role may take to be right; so long the recording goes on.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub settle_within: Duration,
    /// The node that the clients run on.
    #[arg(long)]
    pub clients_on: Option<String>,
}

/// Records, carries the experiment out, and judges. `asked_to_end` ends it early; Chaos Mesh then takes the fault back at once.
pub async fn judged(
    ground: &Ground,
    cache: &Cache,
    project: &Path,
    args: MeshArgs,
    progress: Progress,
    asked_to_end: impl Future<Output = ()>,
) -> Result<Judged, Error> {
    let MeshArgs {
        experiment,
        file,
        settle_within,
        clients_on,
    } = args;
    let experiment = Experiment::find(project, &experiment)?;
    let client = ground.client();
    experiment.check_installed(&client).await?;
    let targets = experiment.targets(&client).await?;
    let name = experiment.name();
    let clients: Vec<OwnImage> = OwnImage::find("client").into_iter().collect();
    let images = ground.deliver(&clients, cache, project, progress).await?;
    let options = Options {
        scenario: name.clone(),
        file,
        settle_within,
        clients_on,
    };
    let recorder = Recorder::start(ground, &images, options).await?;
    let tell = |phase| {
        for target in &targets {
            recorder.fault(&name, target.clone(), phase);
        }
    };
    let play = async {
        progress.tell(&format!("{name}: applied"));
        tell(Phase::Injected);
        let run = experiment.run(&client, |stage| match stage {
            Stage::Injected => progress.tell(&format!("{name}: injected")),
            Stage::Recovered => tell(Phase::Healed),
        });
        run.await?;
        let goes_on = humantime::format_duration(settle_within);
        progress.tell(&format!("{name}: over; the recording goes on for {goes_on}"));
        drop(tokio::time::timeout(settle_within, std::future::pending::<()>()).await);
        Ok(())
    };
    let played: Result<(), Error> = tokio::select! {
        played = play => played,
        () = asked_to_end => experiment.remove(&client).await.inspect(|()| tell(Phase::Healed)),
    };
    let stopped = recorder.stop().await;
    // What went wrong first is what to tell.
    played?;
    let (file, history) = stopped?;
    Ok(Judged::of(file, history))
}
