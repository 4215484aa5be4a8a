//! `chaos list` and `chaos run`: which scenarios are meant, on which cluster, and what is told of them.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Scenario;
use super::driver::Driver;
use super::outcome::Outcome;
use super::played::{Played, summary};
use super::run::{ROUNDS_A_RECORDING, default_reports, random_name};
use super::shard::Shard;
use crate::cluster::{self, Cache, Cluster, NODES_MAX, Progress, State, Target, TargetArgs};
use crate::ground::{Ground, Guest};
use crate::host_time::HostTime;
use crate::install::example::RoutingArgs;
use crate::interrupt::{boot, interrupted};
use crate::mesh::{self, Experiment};
use crate::record;
use crate::unfinished::Unfinished;

/// What `chaos run` is asked to do.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct RunArgs {
    /// The scenarios, by name; `chaos list` shows them. With `--driver chaos-mesh` the experiments of deploy/chaos-mesh.
    #[arg(required_unless_present_any = ["all", "random"], conflicts_with_all = ["all", "random"])]
    pub names: Vec<String>,
    /// Every one of them.
    #[arg(long)]
    pub all: bool,
    /// Faults drawn at random.
    #[arg(long, conflicts_with_all = ["all", "driver"])]
    pub random: bool,
    /// Who brings the faults about.
    #[arg(long, value_enum, default_value_t)]
    pub driver: Chosen,
    /// A cluster of your own, in which everything is installed: for `--driver chaos-mesh` alone.
    #[command(flatten)]
    pub target: TargetArgs,
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
    #[arg(long, conflicts_with = "driver")]
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
    /// How the pair is routed.
    #[command(flatten)]
    pub routing: RoutingArgs,
    /// This project's folder.
    #[arg(long, default_value = ".")]
    pub project: PathBuf,
}

/// Who brings the faults about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Chosen {
    /// This program, on the embedded cluster.
    #[default]
    Embedded,
    /// Chaos Mesh, on a cluster that runs it: its experiments in deploy/chaos-mesh.
    ChaosMesh,
}

/// The lines of `chaos list`.
pub fn list() -> Vec<String> {
    Scenario::all()
        .map(|scenario| format!("{:31} {}", scenario.name, scenario.about))
        .collect()
}

/// Plays what was asked for: on a cluster of the user's own, on the embedded one that is up, or on one of its own. Whether everything held.
pub async fn run(
    cache: &Cache,
    state: &State,
    target: Target,
    args: &RunArgs,
    progress: Progress,
) -> Result<bool, Unfinished> {
    let chosen = chosen(args)?;
    let (ground, is_ours) = match target {
        Target::Yours(_) if args.driver == Chosen::Embedded => return Err(not_on_yours()),
        Target::Yours(yours) => (Ground::from(Guest::open(yours, cache, progress).await?), false),
        Target::Embedded => match Cluster::attach(cache, state).await {
            Err(cluster::Error::NotUp { .. }) => (Ground::from(boot(cache, state, args.nodes, progress).await?), true),
            attached => (Ground::from(attached?), false),
        },
    };
    let is_left = !is_ours || args.keep;
    let outcome = tokio::select! {
        outcome = play(&ground, cache, state, args, &chosen, is_left, progress) => outcome,
        // What the embedded cluster suffers is healed when the scenario is dropped; Chaos Mesh has to be told.
        () = interrupted() => {
            remove(&ground, &chosen).await;
            Err(Unfinished::Interrupted)
        }
    };
    if !is_left {
        drop(ground);
        let down = Cluster::down(state).await;
        // The first failure is the one to tell.
        if outcome.is_ok() {
            down?;
        }
    }
    outcome
}

fn not_on_yours() -> Unfinished {
    Unfinished::Usage(
        "scenarios strike processes, nodes and the control plane from the host: they are played on the embedded cluster alone. \
         On a cluster of your own: `chaos run --driver chaos-mesh`, `chaos demo`, or `chaos record` while you do what you like"
            .to_owned(),
    )
}

/// What was interrupted leaves nothing behind.
async fn remove(ground: &Ground, chosen: &[Item]) {
    for item in chosen {
        if let Item::Experiment(experiment) = item
            && let Err(error) = experiment.remove(&ground.client()).await
        {
            tracing::error!(%error, experiment = experiment.name(), "an experiment was left behind");
        }
    }
    record::remove_clients(&ground.client()).await;
}

async fn play(
    ground: &Ground,
    cache: &Cache,
    state: &State,
    args: &RunArgs,
    chosen: &[Item],
    is_left: bool,
    progress: Progress,
) -> Result<bool, Unfinished> {
    let reports = args.reports.clone().unwrap_or_else(|| default_reports(state.root()));
    let mut played = Played::open(&reports, args.resume)?;
    let mut driver = match args.driver {
        Chosen::Embedded => {
            Driver::embedded(ground, cache, &args.project, &reports, progress, args.routing.pair()).await?
        }
        Chosen::ChaosMesh => Driver::chaos_mesh(ground, cache, &args.project, &reports, progress).await?,
    };
    if args.unconditional {
        driver.without_preconditions().await?;
    }
    let began = HostTime::now();
    let tell = |line: &str| {
        let since = HostTime::now().millis_since(began);
        print_line(&format!(
            "{:>9.3}  {line}",
            Duration::from_millis(since.unsigned_abs()).as_secs_f64()
        ));
    };
    let (mut unplayed, mut first): (Option<Unfinished>, Option<Unfinished>) = (None, None);
    for item in chosen {
        if played.kept.iter().any(|one| one.name == item.name()) {
            continue;
        }
        print_line(&format!("\n{}", item.title()));
        // One that the environment did not let be played does not keep the others from it; a broken environment does.
        let outcome: Outcome = match (driver.play(item, args.rounds.into(), &tell).await, unplayed.take()) {
            (Ok(outcome), earlier) => {
                first = first.or(earlier);
                outcome
            }
            (Err(error), None) => {
                print_line(&format!("not played: {}", told(&error)));
                unplayed = Some(error);
                continue;
            }
            (Err(error), Some(_)) => return Err(error),
        };
        for line in outcome.lines() {
            print_line(&line);
        }
        played.keep(outcome.kept())?;
    }
    for line in summary(&played.kept) {
        print_line(&line);
    }
    if is_left {
        driver.put_the_pair_back(&tell).await?;
    }
    match first.or(unplayed) {
        Some(error) => Err(error),
        None => Ok(played.kept.iter().all(|one| one.passed)),
    }
}

/// Something to be played into recordings of its own.
#[derive(Debug)]
pub(super) enum Item {
    Scenario(&'static Scenario),
    /// Random faults of these numbers.
    Random {
        seed: u64,
        numbers: Range<u32>,
    },
    /// An experiment of Chaos Mesh.
    Experiment(Box<Experiment>),
}

impl Item {
    fn name(&self) -> String {
        match self {
            Self::Scenario(scenario) => scenario.name.to_owned(),
            Self::Random { seed, numbers } => random_name(*seed, numbers),
            Self::Experiment(experiment) => experiment.name(),
        }
    }

    /// What a person is told before it is played.
    fn title(&self) -> String {
        match self {
            Self::Scenario(scenario) => format!("{}: {}", scenario.name, scenario.about),
            Self::Random { seed, numbers } => {
                format!("random faults {} to {} of seed {seed}", numbers.start + 1, numbers.end)
            }
            Self::Experiment(experiment) => experiment.name(),
        }
    }
}

/// What was asked for, in the order of the list or of the asking.
fn chosen(args: &RunArgs) -> Result<Vec<Item>, Unfinished> {
    let asked: Vec<Item> = match args.driver {
        _ if args.random => random(args),
        Chosen::Embedded if args.all => Scenario::all().map(Item::Scenario).collect(),
        Chosen::Embedded => args.names.iter().map(scenario).collect::<Result<_, _>>()?,
        Chosen::ChaosMesh => experiments(args)?,
    };
    let dealt = asked
        .into_iter()
        .enumerate()
        .filter(|(index, _)| args.shard.takes(*index));
    Ok(dealt.map(|(_, item)| item).collect())
}

fn random(args: &RunArgs) -> Vec<Item> {
    let step = u32::try_from(ROUNDS_A_RECORDING).unwrap_or(1);
    let starts = (0..args.faults).step_by(ROUNDS_A_RECORDING);
    let numbers = starts.map(|start| start..(start + step).min(args.faults));
    let seed = args.seed;
    numbers.map(|numbers| Item::Random { seed, numbers }).collect()
}

fn scenario(name: &String) -> Result<Item, Unfinished> {
    let found = Scenario::find(name);
    found
        .map(Item::Scenario)
        .ok_or_else(|| Unfinished::Usage(format!("no scenario is called {name}; `chaos list` shows them")))
}

fn experiments(args: &RunArgs) -> Result<Vec<Item>, Unfinished> {
    let names = if args.all {
        mesh::experiments(&args.project)?
    } else {
        args.names.clone()
    };
    let find = |name: &String| match Experiment::find(&args.project, name) {
        Ok(experiment) => Ok(Item::Experiment(Box::new(experiment))),
        Err(error) => Err(Unfinished::Usage(error.to_string())),
    };
    names.iter().map(find).collect()
}

/// An error with all its causes.
fn told(error: &Unfinished) -> String {
    let mut told = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        told.push_str(": ");
        told.push_str(&cause.to_string());
        source = cause.source();
    }
    told
}

#[expect(clippy::print_stdout, reason = "the answer of a command, while it runs")]
fn print_line(line: &str) {
    println!("{line}");
}
