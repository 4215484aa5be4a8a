//! Runs scenarios: one cluster, one installation, and a reset of the pair between two of them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::act::{Act, Fault};
use super::expect::{Expect, Seen};
use super::outcome::Outcome;
use super::stage::{Failure, Stage, Tell};
use super::wait::Roles;
use super::{CLONED_WITHIN, Scenario, controllers, logs, random, reset};
use crate::cluster::{self, Cache, Cluster, OwnImage, Progress};
use crate::console::Keys;
use crate::fault::{self, Faults};
use crate::ground::{Ground, Images};
use crate::history::{Event, Happening, History};
use crate::host_time::HostTime;
use crate::install::example::TWO_DEPLOYMENTS;
use crate::install::{Example, Installation, NAMESPACE, PODS};
use crate::judge::Judged;
use crate::oracle::Finding;
use crate::record::{self, Recorder};

/// Rounds that are recorded in one file: more would make it too large to be looked at.
pub(super) const ROUNDS_A_RECORDING: usize = 10;
/// After every role is right nothing changes any more, for as long as this is looked at.
const STEADY: Duration = Duration::from_secs(2);

/// What a run stands on.
#[derive(Debug)]
pub struct Runner<'a> {
    ground: &'a Ground,
    cluster: &'a Cluster,
    installation: Installation<'a>,
    images: Images,
    reports: &'a Path,
    /// The pair of two Deployments, routed as it was asked for.
    pair: Example,
}

/// What is played into one recording.
struct Program {
    /// The name of its files.
    file: String,
    rounds: Vec<Vec<Act>>,
    /// How many rounds there were before these.
    before: usize,
    expects: &'static [Expect],
    settle_within: Duration,
}

/// One round, as it was played.
struct Played {
    roles: Roles,
    ended: HostTime,
}

impl<'a> Runner<'a> {
    /// Installs everything into a running cluster. What a run that died left injected is healed first.
    pub async fn prepare(
        ground: &'a Ground,
        cache: &'a Cache,
        project: &'a Path,
        reports: &'a Path,
        progress: Progress,
        example: Example,
    ) -> Result<Self, crate::install::Error> {
        let unembedded = |skipped: crate::ground::Skipped| cluster::Error::NoSuch {
            what: "the embedded cluster".to_owned(),
            hint: skipped.to_string(),
        };
        let cluster = ground.embedded("scenarios").map_err(unembedded)?;
        drop(Faults::new(cluster)?);
        let installation = Installation {
            ground,
            example,
            cache,
            project,
            progress,
        };
        let images = installation.run().await?;
        Ok(Self {
            ground,
            cluster,
            installation,
            images,
            reports,
            pair: example,
        })
    }

    /// Lets the controllers run without the preconditions of their writes from now on: a scenario that is about them has to fail.
    pub async fn without_preconditions(&self) -> Result<(), cluster::Error> {
        controllers::without_preconditions(&self.installation, self.cluster).await
    }

    /// Plays one scenario so often, and judges what was recorded.
    ///
    /// # Errors
    /// The environment failed; nothing is known of pgsteer. Whatever pgsteer does is in the outcome.
    pub async fn play(
        &mut self,
        scenario: &Scenario,
        rounds: usize,
        tell: Tell<'_>,
    ) -> Result<Outcome, cluster::Error> {
        let began = HostTime::now();
        let mut outcome = Outcome::new(scenario.name);
        if let Err(failure) = self.put_in_place(scenario.example(), tell).await {
            missed(failure, &mut outcome)?;
            return Ok(outcome);
        }
        let wrong_clock = scenario
            .acts
            .iter()
            .any(|act| matches!(act, Act::Fault(Fault::Skew(..))));
        if wrong_clock {
            controllers::with_settable_clocks(&self.installation, self.cluster).await?;
        }
        let mut before = 0;
        while before < rounds && outcome.failure.is_none() {
            let now = (rounds - before).min(ROUNDS_A_RECORDING);
            let file = match before {
                0 => scenario.name.to_owned(),
                _ => format!("{}-{}", scenario.name, before + 1),
            };
            let program = Program {
                file,
                rounds: vec![scenario.acts.to_vec(); now],
                before,
                expects: scenario.expects,
                settle_within: scenario.settle_within,
            };
            self.record(&program, &mut outcome, tell).await?;
            before += now;
        }
        if wrong_clock {
            controllers::as_installed(&self.installation).await?;
        }
        outcome.took = HostTime::now().since(began);
        Ok(outcome)
    }

    /// Plays the faults of these numbers that a seed gives, into one recording, and judges it.
    pub async fn play_random(
        &mut self,
        seed: u64,
        numbers: Range<u32>,
        tell: Tell<'_>,
    ) -> Result<Outcome, cluster::Error> {
        let began = HostTime::now();
        let name = random_name(seed, &numbers);
        let mut outcome = Outcome::new(&name);
        if let Err(failure) = self.put_in_place(TWO_DEPLOYMENTS, tell).await {
            missed(failure, &mut outcome)?;
            return Ok(outcome);
        }
        let program = Program {
            file: name,
            before: usize::try_from(numbers.start).unwrap_or_default(),
            rounds: numbers.map(|number| random::draw(seed, number)).collect(),
            expects: &[],
            settle_within: CLONED_WITHIN,
        };
        self.record(&program, &mut outcome, tell).await?;
        outcome.took = HostTime::now().since(began);
        Ok(outcome)
    }

    /// Sees to it that this example is where the recorder looks.
    async fn put_in_place(&mut self, example: Example, tell: Tell<'_>) -> Result<(), Failure> {
        let example = if example == TWO_DEPLOYMENTS {
            self.pair
        } else {
            example.in_place()
        };
        if self.installation.example == example {
            return Ok(());
        }
        let before = self.installation.example.directory;
        tell(&format!("{before} gives way to {}", example.directory));
        let Installation {
            cache,
            project,
            progress,
            ..
        } = self.installation;
        let needed: Vec<OwnImage> = OwnImage::find(example.image).into_iter().collect();
        self.ground.deliver(&needed, cache, project, progress).await?;
        self.installation.example = example;
        reset::anew(&self.installation, self.cluster, &self.images).await
    }

    /// Puts the pair back where a promoter has taken its place, for whoever uses the cluster next.
    pub async fn put_the_pair_back(&mut self, tell: Tell<'_>) -> Result<(), cluster::Error> {
        match self.put_in_place(TWO_DEPLOYMENTS, tell).await {
            Ok(()) => Ok(()),
            Err(Failure::Environment(error)) => Err(error),
            Err(Failure::Missed(missing)) => Err(cluster::Error::timed_out(missing, &[])),
        }
    }

    /// Plays some rounds into one recording, and judges it.
    async fn record(&self, program: &Program, outcome: &mut Outcome, tell: Tell<'_>) -> Result<(), cluster::Error> {
        if let Err(failure) = reset::reset(&self.installation, self.cluster, &self.images, tell).await {
            return missed(failure, outcome);
        }
        tell("the pair is sound; recording");
        let options = record::Options {
            scenario: program.file.clone(),
            file: self.reports.join(format!("{}.jsonl", program.file)),
            settle_within: program.settle_within,
            clients_on: self.free_node().await?,
        };
        let recorder = Recorder::start(self.ground, &self.images, options).await?;
        let keys = Keys::read(&self.ground.client()).await?;
        let mut played = Vec::new();
        for (index, acts) in program.rounds.iter().enumerate() {
            if program.rounds.len() > 1 {
                tell(&format!("round {}", program.before + index + 1));
            }
            match self.round(acts, program.settle_within, &keys, &recorder, tell).await {
                Ok(round) => played.push(round),
                Err(failure) => {
                    missed(failure, outcome)?;
                    break;
                }
            }
        }
        let (file, history) = recorder.stop().await?;
        let judged = Judged::of(file, history);
        let own: Vec<Vec<Finding>> = played
            .iter()
            .map(|round| check(program.expects, round, &judged.history))
            .collect();
        if program.expects.contains(&Expect::LateRequestsRefused) {
            let late = outcome.late.get_or_insert_default();
            for round in &played {
                let requests = seen(round, &judged.history).late_requests();
                late.add(&requests.iter().map(|write| write.code).collect::<Vec<u16>>());
            }
        }
        outcome.add(&judged, own)?;
        if !outcome.passed() {
            let logs = judged.file.with_extension("log");
            match logs::keep(&self.ground.client(), &logs).await {
                Ok(()) => outcome.reports.push(logs),
                Err(error) => tell(&format!("the logs cannot be had: {error}")),
            }
        }
        Ok(())
    }

    async fn round(
        &self,
        acts: &[Act],
        settle_within: Duration,
        keys: &Keys,
        recorder: &Recorder<'_>,
        tell: Tell<'_>,
    ) -> Result<Played, Failure> {
        let mut stage = Stage::set(self.ground, self.cluster, keys, recorder, tell).await?;
        stage.play(acts).await?;
        stage.until_right(settle_within).await?;
        crate::wait::pass(STEADY).await;
        Ok(Played {
            roles: stage.roles,
            ended: HostTime::now(),
        })
    }

    /// A node without a server, for the clients: what strikes a server's node shall not strike them.
    async fn free_node(&self) -> Result<Option<String>, cluster::Error> {
        let servers = fault::pods(&self.ground.client(), NAMESPACE, PODS).await?;
        let nodes = self.cluster.nodes();
        Ok(nodes
            .into_iter()
            .find(|node| servers.iter().all(|server| server.node != *node)))
    }
}

/// A scenario that did not come to its end is a finding about pgsteer; a broken environment is none.
fn missed(failure: Failure, outcome: &mut Outcome) -> Result<(), cluster::Error> {
    match failure {
        Failure::Environment(error) => Err(error),
        failure @ Failure::Missed(_) => {
            outcome.failure = Some(format!("{:#}", anyhow::Error::from(failure)));
            Ok(())
        }
    }
}

/// The scenario's own expectations of one round.
fn check(expects: &[Expect], round: &Played, history: &History) -> Vec<Finding> {
    let seen = seen(round, history);
    expects.iter().map(|expect| expect.check(&seen)).collect()
}

/// What was recorded of one round.
fn seen<'a>(round: &'a Played, history: &'a History) -> Seen<'a> {
    let until = history.events.partition_point(|event| event.at <= round.ended);
    let mut rows = history
        .events
        .iter()
        .rev()
        .filter_map(|event: &Event| match &event.what {
            Happening::Rows(rows) => Some(rows),
            _ => None,
        });
    Seen {
        roles: &round.roles,
        events: &history.events[..until],
        rows: rows.next(),
    }
}

/// How a recording of random faults is called.
pub(super) fn random_name(seed: u64, numbers: &Range<u32>) -> String {
    format!("random-{seed}-{}", numbers.start + 1)
}

/// Where reports go when nobody says where.
pub fn default_reports(state: &Path) -> PathBuf {
    state.join("reports")
}
