//! `chaos list` and `chaos run`: which scenarios are meant, on which cluster, and what is told of them.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::outcome::{Kept, Outcome};
use super::run::{ROUNDS_A_RECORDING, Runner, default_reports, random_name};
use super::{ALL, Scenario};
use crate::cluster::{self, Cache, Cluster, NODES_MAX, Progress, State};
use crate::ground::Ground;
use crate::host_time::HostTime;
use crate::install;
use crate::interrupt::interrupted;

/// What `chaos run` is asked to do.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct RunArgs {
    /// The scenarios, by name; `chaos list` shows them.
    #[arg(value_parser = known, required_unless_present_any = ["all", "random"], conflicts_with_all = ["all", "random"])]
    pub scenarios: Vec<&'static Scenario>,
    /// Every scenario.
    #[arg(long)]
    pub all: bool,
    /// Faults drawn at random.
    #[arg(long, conflicts_with = "all")]
    pub random: bool,
    /// What the random faults are drawn from: the same seed gives the same faults.
    #[arg(long, default_value_t = 1, requires = "random")]
    pub seed: u64,
    /// How many random faults.
    #[arg(long, default_value_t = 200, requires = "random", value_parser = clap::value_parser!(u32).range(1..))]
    pub faults: u32,
    /// Only this part of them, such as 1/2: two hosts share the work.
    #[arg(long, env = "SHARD", value_name = "N/OF", default_value = "1/1")]
    pub shard: Shard,
    /// How often each is played.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
    /// With controllers that leave the preconditions out of their writes, and without the admission policy: shows that leader-frozen can
    /// fail. They stay so until pgsteer is installed again.
    #[arg(long)]
    pub unconditional: bool,
    /// Go on where an earlier run with the same reports was ended: what it has played is not played again.
    #[arg(long)]
    pub resume: bool,
    /// Where the histories and the reports go. Default: `reports` beside the cluster's state.
    #[arg(long, value_name = "DIR")]
    pub reports: Option<PathBuf>,
    /// How many nodes, where no cluster is up.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=i64::from(NODES_MAX)))]
    pub nodes: u8,
    /// Leave the cluster running that was booted for this.
    #[arg(long)]
    pub keep: bool,
    /// This project's folder.
    #[arg(long, default_value = ".")]
    pub project: PathBuf,
}

/// One of so many equal parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 1.
    number: usize,
    of: usize,
}

/// It is no part.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no part of a whole; 1/2 and 2/2 are")]
pub struct BadShard(String);

impl FromStr for Shard {
    type Err = BadShard;

    fn from_str(text: &str) -> Result<Self, BadShard> {
        let bad = || BadShard(text.to_owned());
        let (number, of) = text.split_once('/').ok_or_else(bad)?;
        let parse = |part: &str| part.parse::<usize>().map_err(|_not_a_number| bad());
        let shard = Self {
            number: parse(number)?,
            of: parse(of)?,
        };
        if (1..=shard.of).contains(&shard.number) {
            Ok(shard)
        } else {
            Err(bad())
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl Shard {
    /// Whether the scenario at this place of the list is of this part. Neighbours are alike, so they are dealt out.
    fn takes(self, index: usize) -> bool {
        index % self.of == self.number - 1
    }
}

fn known(name: &str) -> Result<&'static Scenario, String> {
    Scenario::find(name).ok_or_else(|| "no such scenario; `chaos list` shows them".to_owned())
}

/// Why a run did not come to its verdicts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster or the host failed; nothing is known of pgsteer.
    #[error(transparent)]
    Environment(#[from] cluster::Error),
    /// What was installed does not work.
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

/// The lines of `chaos list`.
pub fn list() -> Vec<String> {
    ALL.iter()
        .map(|scenario| format!("{:26} {}", scenario.name, scenario.about))
        .collect()
}

/// Plays what was asked for, on the cluster that is up or on one of its own. Whether everything held.
pub async fn run(cache: &Cache, state: &State, args: &RunArgs, progress: Progress) -> Result<bool, Error> {
    let attached = match Cluster::attach(cache, state).await {
        Err(cluster::Error::NotUp { .. }) => None,
        attached => Some(attached?),
    };
    let was_up = attached.is_some();
    let cluster = if let Some(cluster) = attached {
        cluster
    } else {
        tokio::select! {
            booted = Cluster::up(cache, state, args.nodes, progress) => booted?,
            () = interrupted() => {
                Cluster::down(state).await?;
                return Err(Error::Interrupted);
            }
        }
    };
    let ground = Ground::from(cluster);
    let outcome = tokio::select! {
        outcome = play(&ground, cache, state, args, progress) => outcome,
        // What is injected is healed when the scenario is dropped.
        () = interrupted() => Err(Error::Interrupted),
    };
    if !was_up && !args.keep {
        drop(ground);
        let down = Cluster::down(state).await;
        // The first failure is the one to tell.
        if outcome.is_ok() {
            down?;
        }
    }
    outcome
}

async fn play(
    ground: &Ground,
    cache: &Cache,
    state: &State,
    args: &RunArgs,
    progress: Progress,
) -> Result<bool, Error> {
    let reports = args.reports.clone().unwrap_or_else(|| default_reports(state.root()));
    let ledger = Ledger::open(&reports, args.resume)?;
    let chosen = chosen(args);
    let runner = Runner::prepare(ground, cache, &args.project, &reports, progress).await?;
    if args.unconditional {
        runner.without_preconditions().await?;
    }
    let began = HostTime::now();
    let tell = |line: &str| {
        let since = HostTime::now().millis_since(began);
        print_line(&format!(
            "{:>9.3}  {line}",
            Duration::from_millis(since.unsigned_abs()).as_secs_f64()
        ));
    };
    let mut kept = ledger.kept.clone();
    let (mut unplayed, mut first): (Option<cluster::Error>, Option<cluster::Error>) = (None, None);
    for item in chosen {
        if kept.iter().any(|one| one.name == item.name(args)) {
            continue;
        }
        let played = match &item {
            Item::Scenario(scenario) => {
                print_line(&format!("\n{}: {}", scenario.name, scenario.about));
                runner.play(scenario, args.rounds.into(), &tell).await
            }
            Item::Random(numbers) => {
                print_line(&format!(
                    "\nrandom faults {} to {} of seed {}",
                    numbers.start + 1,
                    numbers.end,
                    args.seed
                ));
                runner.play_random(args.seed, numbers.clone(), &tell).await
            }
        };
        // One that the environment did not let be played does not keep the others from it; a broken environment does.
        let outcome: Outcome = match (played, unplayed.take()) {
            (Ok(outcome), earlier) => {
                first = first.or(earlier);
                outcome
            }
            (Err(error), None) => {
                print_line(&format!("not played: {}", told(&error)));
                unplayed = Some(error);
                continue;
            }
            (Err(error), Some(_)) => return Err(error.into()),
        };
        for line in outcome.lines() {
            print_line(&line);
        }
        ledger.keep(&outcome.kept())?;
        kept.push(outcome.kept());
    }
    for line in summary(&kept) {
        print_line(&line);
    }
    match first.or(unplayed) {
        Some(error) => Err(error.into()),
        None => Ok(kept.iter().all(|one| one.passed)),
    }
}

/// Something to be played into recordings of its own.
enum Item {
    Scenario(&'static Scenario),
    /// Random faults of these numbers.
    Random(Range<u32>),
}

impl Item {
    fn name(&self, args: &RunArgs) -> String {
        match self {
            Self::Scenario(scenario) => scenario.name.to_owned(),
            Self::Random(numbers) => random_name(args.seed, numbers),
        }
    }
}

/// What was asked for, in the order of the list or of the asking.
fn chosen(args: &RunArgs) -> Vec<Item> {
    let asked: Vec<Item> = if args.random {
        let step = u32::try_from(ROUNDS_A_RECORDING).unwrap_or(1);
        let starts = (0..args.faults).step_by(ROUNDS_A_RECORDING);
        starts
            .map(|start| Item::Random(start..(start + step).min(args.faults)))
            .collect()
    } else if args.all {
        ALL.iter().map(Item::Scenario).collect()
    } else {
        args.scenarios.iter().copied().map(Item::Scenario).collect()
    };
    let dealt = asked
        .into_iter()
        .enumerate()
        .filter(|(index, _)| args.shard.takes(*index));
    dealt.map(|(_, item)| item).collect()
}

/// An error with all its causes.
fn told(error: &cluster::Error) -> String {
    let mut told = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        told.push_str(": ");
        told.push_str(&cause.to_string());
        source = cause.source();
    }
    told
}

fn summary(kept: &[Kept]) -> Vec<String> {
    let failed: Vec<&str> = kept
        .iter()
        .filter(|one| !one.passed)
        .map(|one| one.name.as_str())
        .collect();
    let took: u64 = kept.iter().map(|one| one.millis).sum();
    let held = kept.len() - failed.len();
    let seconds = Duration::from_millis(took).as_secs();
    let mut lines = vec![format!(
        "\n{held} of {} scenarios held, in {} min {} s",
        kept.len(),
        seconds / 60,
        seconds % 60
    )];
    if !failed.is_empty() {
        lines.push(format!("FAIL: {}", failed.join(", ")));
    }
    lines
}

/// What a run has played, on disk.
struct Ledger {
    path: PathBuf,
    kept: Vec<Kept>,
}

impl Ledger {
    fn open(reports: &Path, resume: bool) -> Result<Self, cluster::Error> {
        let path = reports.join("played.jsonl");
        std::fs::create_dir_all(reports).map_err(cluster::Error::io("make the directory", reports))?;
        if !resume {
            std::fs::write(&path, "").map_err(cluster::Error::io("write", &path))?;
        }
        let content = std::fs::read_to_string(&path).unwrap_or_default();
        // A line that was cut off is of a scenario that is played again.
        let kept = content.lines().filter_map(|line| serde_json::from_str(line).ok());
        Ok(Self {
            kept: kept.collect(),
            path,
        })
    }

    fn keep(&self, kept: &Kept) -> Result<(), cluster::Error> {
        let append = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            writeln!(file, "{}", serde_json::json!(kept))
        };
        append().map_err(cluster::Error::io("write", &self.path))
    }
}

#[expect(clippy::print_stdout, reason = "the answer of a command, while it runs")]
fn print_line(line: &str) {
    println!("{line}");
}
