//! An experiment under the judge's eyes: recorded from before it begins until everything has had its time to be right again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Error, Experiment, PODS_ARE_STRUCK, Stage, check_installed};
use crate::cluster::{Cache, OwnImage, Progress};
use crate::ground::{Ground, Images};
use crate::history::Phase;
use crate::judge::Judged;
use crate::record::{Options, Recorder};
use crate::wait::pass;

/// How long after the fault every role may take to be right, and the recording goes on.
const SETTLE_WITHIN: Duration = Duration::from_mins(1);

/// Chaos Mesh on a cluster in which everything is installed.
#[derive(Debug)]
pub struct ChaosMesh<'a> {
    ground: &'a Ground,
    images: Images,
}

impl<'a> ChaosMesh<'a> {
    /// Looks whether it is there, and puts the clients' image where the nodes find it.
    pub async fn prepare(ground: &'a Ground, cache: &Cache, project: &Path, progress: Progress) -> Result<Self, Error> {
        check_installed(&ground.client(), PODS_ARE_STRUCK).await?;
        let clients: Vec<OwnImage> = OwnImage::find("client").into_iter().collect();
        let images = ground.deliver(&clients, cache, project, progress).await?;
        Ok(Self { ground, images })
    }

    /// Records into this file, carries the experiment out, and judges. `tell` hears of its stages.
    pub async fn judged(&self, experiment: &Experiment, file: PathBuf, tell: impl Fn(&str)) -> Result<Judged, Error> {
        let client = self.ground.client();
        check_installed(&client, &experiment.resource.plural).await?;
        let targets = experiment.targets(&client).await?;
        let name = experiment.name();
        let options = Options {
            scenario: name.clone(),
            file,
            settle_within: SETTLE_WITHIN,
            clients_on: None,
        };
        let recorder = Recorder::start(self.ground, &self.images, options).await?;
        let strikes = |phase| {
            for target in &targets {
                recorder.fault(&name, target.clone(), phase);
            }
        };
        tell("applied");
        strikes(Phase::Injected);
        let run = experiment.run(&client, |stage| match stage {
            Stage::Injected => tell("injected"),
            Stage::Recovered => strikes(Phase::Healed),
        });
        let played = run.await;
        if played.is_ok() {
            tell(&format!(
                "over; the recording goes on for {}",
                humantime::format_duration(SETTLE_WITHIN)
            ));
            pass(SETTLE_WITHIN).await;
        }
        let stopped = recorder.stop().await;
        // What went wrong first is what to tell.
        played?;
        let (file, history) = stopped?;
        Ok(Judged::of(file, history))
    }
}
