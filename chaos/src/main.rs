//! `chaos`: the embedded cluster and what is done to it. Exit statuses: 0 held, 1 a rule was broken or a bar missed, 2 usage,
//! 3 the environment failed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chaos::bench::{self, BenchArgs, BenchClientArgs, BenchRivalArgs};
use chaos::cluster::{
    self, Cache, Cluster, ComponentState, OWN_IMAGES, OwnImage, Part, Progress, Refusal, State, Target, TargetArgs,
};
use chaos::demo;
use chaos::ground::{Ground, Guest};
use chaos::install::example::{ExampleArgs, RoutingArgs, TWO_DEPLOYMENTS, what_next};
use chaos::install::{Example, Installation};
use chaos::judge::{self, Judged, RecordArgs};
use chaos::scenario;
use chaos::textbook::{self, TextbookArgs};
use chaos::unfinished::Unfinished;
use chaos::workload::{self, WorkloadArgs};
use clap::{Parser, Subcommand};

/// An embedded Kubernetes cluster for pgsteer, and the faults that it can suffer.
#[derive(Debug, Parser)]
#[command(name = "chaos", version)]
struct Arguments {
    /// Where built things are kept. Default: pgsteer in the user's cache directory.
    #[arg(long, global = true, env = "PGSTEER_CACHE")]
    cache: Option<PathBuf>,
    /// Where the running cluster lives. Default: state in the cache.
    #[arg(long, global = true, env = "PGSTEER_STATE")]
    state: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the pinned Kubernetes programs (about 9 minutes the first time, nothing to do after that).
    Build {
        /// Only etcd, the API server, kubectl and helm: enough for `--nodes 0` and the tests.
        #[arg(long)]
        control_plane: bool,
        /// Only Jaeger, for the test that reads traces back.
        #[arg(long, conflicts_with = "control_plane")]
        jaeger: bool,
    },
    /// Boot a cluster and leave it running.
    Up {
        /// How many nodes; 0 is etcd and the API server alone, on loopback, without root.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=i64::from(cluster::NODES_MAX)))]
        nodes: u8,
    },
    /// End exactly what `up` started, also after a crash.
    Down,
    /// Show the cluster's components.
    Status,
    /// Run a command inside the cluster's network, with KUBECONFIG set and kubectl, helm and ctr on the PATH.
    Exec {
        /// On this node (n1, n2, …), with the node's files, instead of beside the control plane.
        #[arg(long)]
        node: Option<String>,
        /// The command.
        #[arg(last = true, required = true)]
        words: Vec<String>,
    },
    /// Write this project's images as OCI archives, where the cache does not hold them yet, and print where they are.
    Images {
        /// Which: controller, client, postgres, promoters. Default: all. Their programs have been built before, by `cargo build --release`.
        #[arg(value_parser = OwnImage::parse)]
        images: Vec<OwnImage>,
        /// This project's folder.
        #[arg(long, default_value = ".")]
        project: PathBuf,
    },
    /// Install pgsteer and an example into the running cluster, and wait until the route is Settled.
    Install {
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        args: ExampleArgs,
        /// This project's folder.
        #[arg(long, default_value = ".")]
        project: PathBuf,
    },
    /// Remove what `install`, or a kept `demo`, made in a cluster of your own.
    Uninstall {
        #[command(flatten)]
        target: TargetArgs,
        /// This project's folder.
        #[arg(long, default_value = ".")]
        project: PathBuf,
    },
    /// Boot, install, kill the primary, delete the leader, promote: show that both names follow, and take the cluster down again.
    ///
    /// On a cluster of your own nothing is booted, what was installed is removed, and faults of the kernel are skipped by name.
    Demo {
        #[command(flatten)]
        target: TargetArgs,
        /// How many nodes.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=i64::from(cluster::NODES_MAX)))]
        nodes: u8,
        /// Leave the cluster running.
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        routing: RoutingArgs,
        /// This project's folder.
        #[arg(long, default_value = ".")]
        project: PathBuf,
    },
    /// Record what happens in a cluster in which everything is installed, whatever you do to it meanwhile, and judge it.
    Record {
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        args: RecordArgs,
        /// This project's folder.
        #[arg(long, default_value = ".")]
        project: PathBuf,
    },
    /// Run the controller that everybody writes first in place of pgsteer; with a sabotage, see whether the judge catches it.
    Textbook {
        #[command(flatten)]
        args: TextbookArgs,
        /// This project's folder.
        #[arg(long, default_value = ".")]
        project: PathBuf,
    },
    /// Judge a saved history.
    Judge {
        /// The file.
        file: PathBuf,
    },
    /// Write the HTML report of a saved history.
    Report {
        /// The history.
        file: PathBuf,
        /// The report. Default: beside the history, with the ending html.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// List the scenarios.
    List,
    /// Play scenarios: faults under load, a judge that shares no code with the controller, and a report each.
    ///
    /// On the cluster that is up, or on one that is booted for it and taken down again.
    Run(scenario::RunArgs),
    /// Measure pgsteer beside what people use today: phases, bars, ratios. Ended, it goes on where it was.
    Bench(BenchArgs),
    /// Be the client of a measurement, in a pod.
    #[command(hide = true)]
    BenchClient(BenchClientArgs),
    /// Be a rival in a measurement, in a pod.
    #[command(hide = true)]
    BenchRival(BenchRivalArgs),
    /// Be a client of the database, in a pod: a line of JSON an answer.
    Workload(WorkloadArgs),
    /// Give images (OCI archives) to every node.
    Load {
        /// The archives.
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
}

/// A rule was broken, or a bar missed.
const BROKEN: u8 = 1;

/// The command line names no cluster that may be worked on.
const USAGE: u8 = 2;

/// The environment failed; nothing is known of pgsteer.
const ENVIRONMENT_FAILED: u8 = 3;

/// Two cores unpack 100 MB on three nodes in about this time; only for the progress line.
const LOAD_ESTIMATE: Duration = Duration::from_secs(5);

/// Why a command did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Environment(#[from] cluster::Error),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { cache, state, command } = Arguments::parse();
    let (default_cache, default_state) = cluster::from_environment();
    let cache = cache.map_or(default_cache, |given| Cache::choose(Some(given), None, None));
    let state = state.map_or(default_state, |given| State::choose(Some(given), &cache));
    Box::pin(run(&cache, &state, command)).await.unwrap_or_else(|failure| {
        let status = match &failure {
            Failure::Refused(_) => USAGE,
            Failure::Environment(_) => ENVIRONMENT_FAILED,
        };
        failed(failure, status)
    })
}

async fn run(cache: &Cache, state: &State, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Build { control_plane, jaeger } => {
            cluster::build(cache, part(control_plane, jaeger), Progress::Told).await?;
        }
        Command::Up { nodes } => up(cache, state, nodes).await?,
        Command::Down => Cluster::down(state).await?,
        Command::Status => {
            print_lines(
                Cluster::attach(cache, state)
                    .await?
                    .components()?
                    .iter()
                    .map(component_line),
            );
        }
        Command::Exec { node, words } => {
            let mut command = Cluster::attach(cache, state).await?.command(node.as_deref(), &words)?;
            return Ok(exec(&mut command)?);
        }
        Command::Images { images, project } => {
            let images = if images.is_empty() { OWN_IMAGES.to_vec() } else { images };
            let archives = cluster::write_own_images(cache, &project, &images, Progress::Told).await?;
            print_lines(archives.into_iter().map(|archive| archive.path.display().to_string()));
        }
        Command::Install { target, args, project } => {
            return Ok(install(cache, state, target.resolve()?, args.chosen(), &project).await?);
        }
        Command::Uninstall { target, project } => uninstall(cache, target.resolve()?, &project).await?,
        Command::Demo {
            target,
            nodes,
            keep,
            routing,
            project,
        } => {
            let target = target.resolve()?;
            let options = demo::Options {
                target,
                example: routing.pair(),
                nodes,
                keep,
                project,
            };
            return Ok(play_demo(cache, state, &options).await?);
        }
        Command::Record { target, args, project } => {
            return Ok(record(cache, state, target.resolve()?, args, &project).await?);
        }
        Command::Textbook { args, project } => return Ok(Box::pin(play_textbook(cache, state, args, &project)).await?),
        Command::Judge { file } => return Ok(on_saved(&file, told)),
        Command::Report { file, out } => return Ok(on_saved(&file, |judged| reported(judged, out))),
        Command::List => print_lines(scenario::list()),
        Command::Run(args) => {
            let target = args.target.clone().resolve()?;
            let played = scenario::run(cache, state, target, &args, Progress::Told);
            return Ok(ended(Box::pin(played).await)?);
        }
        Command::Bench(args) => {
            let measured = bench::run(cache, state, &args, Progress::Told);
            return Ok(ended(Box::pin(measured).await)?);
        }
        Command::BenchClient(args) => return Ok(in_pod(bench::run_client(args).await)),
        Command::BenchRival(args) => return Ok(in_pod(Box::pin(bench::run_rival(args)).await)),
        Command::Workload(args) => return Ok(in_pod(Box::pin(workload::run(args)).await)),
        Command::Load { archives } => load(&Cluster::attach(cache, state).await?, &archives).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What runs in a pod of its own fails by its surroundings alone.
fn in_pod(ended: Result<(), workload::BadStart>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error, ENVIRONMENT_FAILED),
    }
}

const fn part(control_plane: bool, jaeger: bool) -> Part {
    match (control_plane, jaeger) {
        (true, _) => Part::ControlPlane,
        (_, true) => Part::Jaeger,
        (false, false) => Part::All,
    }
}

async fn up(cache: &Cache, state: &State, nodes: u8) -> Result<(), cluster::Error> {
    let cluster = Cluster::up(cache, state, nodes, Progress::Told).await?;
    print_lines([
        "try: chaos exec -- kubectl get nodes".to_owned(),
        format!("audit log: {}", cluster.audit_log().display()),
    ]);
    Ok(())
}

/// The image that the recorder's clients run.
fn clients() -> Vec<OwnImage> {
    OwnImage::find("client").into_iter().collect()
}

async fn record(
    cache: &Cache,
    state: &State,
    target: Target,
    args: RecordArgs,
    project: &std::path::Path,
) -> Result<ExitCode, cluster::Error> {
    let ground = attach(cache, state, target).await?;
    let images = ground.deliver(&clients(), cache, project, Progress::Told).await?;
    let judged = Box::pin(judge::record(
        &ground,
        &images,
        args,
        Progress::Told,
        chaos::interrupt::interrupted(),
    ))
    .await?;
    Ok(reported(&judged, None))
}

async fn play_textbook(
    cache: &Cache,
    state: &State,
    args: TextbookArgs,
    project: &std::path::Path,
) -> Result<ExitCode, cluster::Error> {
    let ground = attach(cache, state, Target::Embedded).await?;
    if args.sabotage.is_empty() {
        textbook::run(&ground, chaos::interrupt::interrupted()).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let images = ground.deliver(&clients(), cache, project, Progress::Told).await?;
    let installation = Installation {
        ground: &ground,
        cache,
        project,
        progress: Progress::Told,
        example: TWO_DEPLOYMENTS,
    };
    let TextbookArgs { sabotage, reports } = args;
    let reports = reports.unwrap_or_else(|| scenario::default_reports(state.root()));
    let caught = Box::pin(textbook::catch_all(&installation, &images, &sabotage, &reports)).await;
    ended(caught.map_err(Unfinished::from))
}

/// What is done with a saved history.
fn on_saved(file: &std::path::Path, work: impl FnOnce(&Judged) -> ExitCode) -> ExitCode {
    match Judged::read(file) {
        Ok(judged) => work(&judged),
        Err(error) => failed(error, ENVIRONMENT_FAILED),
    }
}

/// Prints what was made of a history.
fn told(judged: &Judged) -> ExitCode {
    print_lines(judged.lines());
    if judged.verdict.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(BROKEN)
    }
}

/// The same, and writes the report.
fn reported(judged: &Judged, out: Option<PathBuf>) -> ExitCode {
    let status = told(judged);
    match judged.report(out) {
        Ok(path) => {
            print_lines([
                format!("history: {}", judged.file.display()),
                format!("report:  {}", path.display()),
            ]);
            status
        }
        Err(error) => failed(error, ENVIRONMENT_FAILED),
    }
}

async fn load(cluster: &Cluster, archives: &[PathBuf]) -> Result<(), cluster::Error> {
    let step = Progress::Told.step("load the images", LOAD_ESTIMATE);
    let loaded = cluster.load(archives).await?;
    step.done();
    print_lines(
        loaded
            .into_iter()
            .map(|archive| format!("{} {}", archive.name, archive.digest)),
    );
    Ok(())
}

fn component_line(one: &ComponentState) -> String {
    let word = if one.is_alive { "runs" } else { "ended" };
    format!("{:28} {word:6} {}", one.name, one.log.display())
}

async fn play_demo(cache: &Cache, state: &State, options: &demo::Options) -> Result<ExitCode, cluster::Error> {
    let verdict = match Box::pin(demo::run(cache, state, options, Progress::Told)).await {
        Ok(verdict) => verdict,
        Err(unfinished) => return ended(Err(unfinished)),
    };
    match verdict.judged.report(None) {
        Ok(report) => print_lines([format!("report: {}", report.display())]),
        Err(error) => return Ok(failed(error, ENVIRONMENT_FAILED)),
    }
    print_lines(verdict.lines());
    ended(Ok(verdict.passed()))
}

/// The exit status of a command that plays and judges; the environment's failures are told by [`main`].
fn ended(held: Result<bool, Unfinished>) -> Result<ExitCode, cluster::Error> {
    match held {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::from(BROKEN)),
        Err(Unfinished::Environment(error)) => Err(error),
        Err(error @ Unfinished::Missed { .. }) => Ok(failed(error, BROKEN)),
        Err(error @ Unfinished::Usage(_)) => Ok(failed(error, USAGE)),
        Err(error @ (Unfinished::Experiment(_) | Unfinished::Interrupted)) => Ok(failed(error, ENVIRONMENT_FAILED)),
    }
}

async fn uninstall(cache: &Cache, target: Target, project: &std::path::Path) -> Result<(), cluster::Error> {
    match target {
        Target::Embedded => print_lines(["`chaos down` ends the embedded cluster with everything in it".to_owned()]),
        Target::Yours(yours) => {
            let ground = Ground::from(Guest::open(yours, cache, Progress::Told).await?);
            ground.remove(project, Progress::Told).await?;
        }
    }
    Ok(())
}

/// The cluster that a command works on; it runs already.
async fn attach(cache: &Cache, state: &State, target: Target) -> Result<Ground, cluster::Error> {
    Ok(match target {
        Target::Embedded => Ground::from(Cluster::attach(cache, state).await?),
        Target::Yours(yours) => Ground::from(Guest::open(yours, cache, Progress::Told).await?),
    })
}

async fn install(
    cache: &Cache,
    state: &State,
    target: Target,
    example: Example,
    project: &std::path::Path,
) -> Result<ExitCode, cluster::Error> {
    let what_next = match what_next(example, &target) {
        Ok(told) => told,
        Err(error) => return Ok(failed(error, USAGE)),
    };
    let ground = attach(cache, state, target).await?;
    let installation = Installation {
        ground: &ground,
        example,
        cache,
        project,
        progress: Progress::Told,
    };
    let installed = installation.run().await;
    if installed.is_ok() {
        print_lines(what_next.lines().map(str::to_owned));
    }
    ended(installed.map(|_| true).map_err(Unfinished::from))
}

/// Tells an error with all its causes.
fn failed(error: impl Into<anyhow::Error>, status: u8) -> ExitCode {
    eprintln!("chaos: {:#}", error.into());
    ExitCode::from(status)
}

/// Becomes the command, so that signals and the exit status are its own. Returns only when that failed.
fn exec(command: &mut std::process::Command) -> Result<ExitCode, cluster::Error> {
    use std::os::unix::process::CommandExt;
    let source = command.exec();
    Err(cluster::Error::NoSuchProgram {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn print_lines(lines: impl IntoIterator<Item = String>) {
    for line in lines {
        println!("{line}");
    }
}
