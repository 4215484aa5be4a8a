//! The run: cells by turns, a round each, until each has as many as it is to have; then the report.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use sha2::{Digest, Sha256};
use shared::route::PostgresRoute;

use super::cell::{CELLS, Cell, Elected, Pair, Play};
use super::pair::{Ready, Yard};
use super::raw::{Header, Raw, Round, counts, given_up, wanted};
use super::report::Report;
use super::round::{Played, Stage};
use super::succession::Candidates;
use super::verdict::Settings;
use super::{BenchArgs, manifest};
use crate::cluster::{self, Cache, Cluster, Error, HAPROXY, OwnImage, Progress, State};
use crate::fault::Faults;
use crate::ground::Ground;
use crate::host_time::{self, HostTime};
use crate::install::example::{PATRONI, TWO_DEPLOYMENTS};
use crate::install::{Installation, NAMESPACE};
use crate::interrupt::{boot, interrupted};
use crate::unfinished::Unfinished;

/// Three nodes hold the pairs and the replicas apart.
const NODES: u8 = 3;
/// Pairs are installed side by side; for the progress line only.
const PAIRS_ESTIMATE: Duration = Duration::from_secs(45);

/// Plays what is not there yet, on the cluster that is up, or on one of its own, which it takes down again; then reports. Whether every bar
/// holds; in a quick run, whether every cell came to be and its phases add up.
pub async fn run(cache: &Cache, state: &State, args: &BenchArgs, progress: Progress) -> Result<bool, Unfinished> {
    let cells = chosen(args);
    let settings = Settings::of_examples(&args.project)?;
    let directory = directory(args, state);
    let header = Header::of(fingerprint(args)?, args.quick);
    let opened = Raw::open(&directory, header, host_time::unix_seconds());
    let mut raw = opened.map_err(Error::io("write", &directory))?;
    let open: Vec<&Cell> = cells.iter().copied().filter(|cell| is_open(&raw, cell)).collect();
    if open.is_empty() {
        progress.tell("everything that was asked for is there already; nothing is played");
    } else {
        on_a_cluster(cache, state, args, &open, &mut raw, progress).await?;
    }
    let report = Report::of(&raw, &cells, settings);
    for line in report.lines() {
        progress.tell(&line);
    }
    for file in report.write(&directory).map_err(Error::io("write", &directory))? {
        progress.tell(&format!("written: {}", file.display()));
    }
    progress.tell(&format!("raw data: {}", raw.path().display()));
    Ok(if args.quick {
        report.is_complete()
    } else {
        report.passed()
    })
}

async fn on_a_cluster(
    cache: &Cache,
    state: &State,
    args: &BenchArgs,
    cells: &[&Cell],
    raw: &mut Raw,
    progress: Progress,
) -> Result<(), Unfinished> {
    let attached = Cluster::attach(cache, state).await;
    let is_ours = matches!(attached, Err(Error::NotUp { .. }));
    let cluster = match attached {
        Err(Error::NotUp { .. }) => boot(cache, state, NODES, progress).await?,
        other => other?,
    };
    let ground = Ground::from(cluster);
    let played = tokio::select! {
        played = Box::pin(play_all(&ground, cache, args, cells, raw, progress)) => played,
        () = interrupted() => Err(Unfinished::Interrupted),
    };
    drop(ground);
    if is_ours {
        let down = Cluster::down(state).await;
        // The first failure is the one to tell.
        if played.is_ok() {
            down?;
        }
    }
    played
}

fn chosen(args: &BenchArgs) -> Vec<&'static Cell> {
    if !args.cell.is_empty() {
        return args.cell.clone();
    }
    CELLS.iter().filter(|cell| !args.quick || cell.is_quick).collect()
}

fn directory(args: &BenchArgs, state: &State) -> PathBuf {
    let name = if args.quick { "bench-quick" } else { "bench" };
    args.out.clone().unwrap_or_else(|| state.root().join(name))
}

/// What tells one build of the controller from another.
fn fingerprint(args: &BenchArgs) -> Result<String, Error> {
    let program = args.project.join("target/release/pgsteer");
    let content = std::fs::read(&program).map_err(Error::io("read", &program))?;
    let digest = Sha256::digest(content);
    Ok(digest.iter().take(8).fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").ok();
        digits
    }))
}

fn is_open(raw: &Raw, cell: &Cell) -> bool {
    let played = counts(&raw.rounds).get(cell.name).copied().unwrap_or(0);
    // Whatever kept a cell from coming to be in an earlier run may be mended.
    played < wanted(&raw.rounds, cell, raw.header.is_quick) && given_up(raw.fresh(), cell.name).is_none()
}

/// Installs what the cells need, and plays a round of each by turns until none is open.
async fn play_all(
    ground: &Ground,
    cache: &Cache,
    args: &BenchArgs,
    cells: &[&Cell],
    raw: &mut Raw,
    progress: Progress,
) -> Result<(), Unfinished> {
    let embedded = ground.embedded("measurements");
    let cluster = embedded.map_err(|skipped| Unfinished::Usage(skipped.to_string()))?;
    // What a fault left when an earlier run was killed is healed first.
    drop(Faults::new(cluster)?);
    let installation = Installation {
        ground,
        example: TWO_DEPLOYMENTS,
        cache,
        project: &args.project,
        progress,
    };
    let images = &installation.run().await?;
    let yard = Yard {
        ground,
        cache,
        project: &args.project,
        images,
    };
    let pairs: BTreeSet<Pair> = cells.iter().filter_map(|cell| cell.pair()).collect();
    if pairs
        .iter()
        .any(|pair| matches!(pair, Pair::Patroni | Pair::PatroniTuned))
    {
        let promoters = OwnImage::find(PATRONI.image);
        deliver(ground, cache, args, promoters, progress).await?;
    }
    let pairs = install_pairs(&yard, pairs, progress).await;
    let proxies: BTreeSet<&str> = cells.iter().filter_map(|cell| cell.proxy()).collect();
    let no_proxies = install_proxies(&yard, proxies, args, progress)
        .await
        .err()
        .map(|error| format!("the proxies did not come to be: {:#}", anyhow::Error::new(error)));
    let stage = Stage {
        yard,
        cluster,
        pairs,
        no_proxies,
    };
    let candidates = if cells.iter().any(|cell| cell.is_client_go()) {
        Candidates::start(cluster).await
    } else {
        Err("nobody asked for candidates".to_owned())
    };
    play_rounds(&stage, candidates, cells, raw, progress).await
}

/// All pairs, side by side. One that does not come to be says why in each of its rounds; the others are measured all the same.
async fn install_pairs(
    yard: &Yard<'_>,
    pairs: BTreeSet<Pair>,
    progress: Progress,
) -> BTreeMap<Pair, Result<Ready, String>> {
    let step = progress.step(
        format!("install {} pairs, wait until they are sound", pairs.len()),
        PAIRS_ESTIMATE,
    );
    let installing = pairs.into_iter().map(|pair| async move {
        let installed = yard.install(pair).await;
        let told = |error| {
            let error = anyhow::Error::new(error);
            format!("the pair in {} did not come to be: {error:#}", pair.namespace())
        };
        (pair, installed.map_err(told))
    });
    let installed = join_all(installing).await.into_iter().collect();
    step.done();
    installed
}

async fn install_proxies(
    yard: &Yard<'_>,
    proxies: BTreeSet<&str>,
    args: &BenchArgs,
    progress: Progress,
) -> Result<(), Error> {
    if proxies.is_empty() {
        return Ok(());
    }
    deliver(yard.ground, yard.cache, args, Some(HAPROXY), progress).await?;
    for proxy in proxies {
        yard.apply(&manifest::proxy(NAMESPACE, proxy)).await?;
    }
    Ok(())
}

/// A round of each by turns: what changes on the host meanwhile meets all of them.
async fn play_rounds(
    stage: &Stage<'_>,
    mut candidates: Result<Candidates<'_>, String>,
    cells: &[&Cell],
    raw: &mut Raw,
    progress: Progress,
) -> Result<(), Unfinished> {
    while cells.iter().any(|cell| is_open(raw, cell)) {
        for cell in cells {
            if is_open(raw, cell) {
                let number = raw.rounds.iter().filter(|round| round.cell == cell.name).count();
                let began = HostTime::now();
                let played = Box::pin(play(stage, candidates.as_mut(), cell, number)).await;
                let round = round(cell, played, HostTime::now().since(began));
                progress.tell(&told(
                    &round,
                    number + 1,
                    wanted(&raw.rounds, cell, raw.header.is_quick),
                ));
                raw.add(round).map_err(Error::io("write", raw.path()))?;
            }
        }
    }
    Ok(())
}

impl Settings {
    /// As the project's own files install it, on which everything is measured.
    fn of_examples(project: &Path) -> Result<Self, Error> {
        let read = |path: PathBuf| std::fs::read_to_string(&path).map_err(Error::io("read", &path));
        let path = project.join(TWO_DEPLOYMENTS.file(project, "6-route.yaml"));
        let route: PostgresRoute = serde_norway::from_str(&read(path.clone())?).map_err(|error| Error::Malformed {
            path,
            wrong: error.to_string(),
        })?;
        Ok(Self {
            interval: route.spec.probe.interval.0,
            silent_after: route.spec.probe.silent_after.0,
            beaten_gap: route.spec.split_brain.beaten_gap.0,
            ttl: ttl(&read(project.join("deploy/install.yaml"))?),
        })
    }
}

/// The flag of the Deployment, or its default.
fn ttl(manifest: &str) -> Duration {
    const DEFAULT: Duration = Duration::from_secs(5);
    let flag = manifest
        .lines()
        .find_map(|line| line.trim().strip_prefix("- --lease-ttl="));
    flag.and_then(|text| humantime::parse_duration(text).ok())
        .unwrap_or(DEFAULT)
}

async fn deliver(
    ground: &Ground,
    cache: &Cache,
    args: &BenchArgs,
    image: Option<OwnImage>,
    progress: Progress,
) -> Result<(), cluster::Error> {
    let images: Vec<OwnImage> = image.into_iter().collect();
    ground.deliver(&images, cache, &args.project, progress).await.map(drop)
}

async fn play(
    stage: &Stage<'_>,
    candidates: Result<&mut Candidates<'_>, &mut String>,
    cell: &Cell,
    number: usize,
) -> Result<Played, String> {
    match cell.play {
        Play::Switch { pair, cut, door } => stage.switch(pair, cut, door, number).await,
        Play::Freeze { pair } => stage.freeze(pair).await,
        Play::Succession {
            of: Elected::Pgsteer,
            by,
        } => stage.end_leader(by).await,
        Play::Succession {
            of: Elected::ClientGo,
            by,
        } => candidates.map_err(|why| why.clone())?.end_leader(by).await,
    }
}

fn round(cell: &Cell, played: Result<Played, String>, took: Duration) -> Round {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (played, failed) = match played {
        Ok(played) => (Some(played), None),
        Err(why) => (None, Some(why)),
    };
    let lasted = played.as_ref().map(|played| played.lasted).unwrap_or_default();
    Round {
        cell: cell.name.to_owned(),
        ended_unix: host_time::unix_seconds(),
        lasted_millis: millis(lasted),
        took_millis: millis(took),
        withdrawn_before_millis: played.as_ref().and_then(|played| played.withdrawn_before_millis),
        noise_micros: played.as_ref().map(|played| played.noise_micros).unwrap_or_default(),
        load: played.as_ref().map(|played| played.load).unwrap_or_default(),
        phases: played.map(|played| played.phases).unwrap_or_default(),
        failed,
    }
}

fn told(round: &Round, number: usize, of: usize) -> String {
    let phases: Vec<String> = round
        .phases
        .iter()
        .map(|(phase, micros)| format!("{} {}", phase.title(), super::summary::millis(*micros)))
        .collect();
    let what = round.failed.clone().unwrap_or_else(|| phases.join(", "));
    format!("{} {number}/{of}, {} ms: {what}", round.cell, round.took_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bars_are_made_of_what_the_project_installs() {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let settings = Settings::of_examples(&project).expect("the files are there");
        let route: PostgresRoute = serde_json::from_value(serde_json::json!({
            "apiVersion": "pgsteer.io/v1alpha1", "kind": "PostgresRoute", "metadata": {"name": "r"},
            "spec": {
                "podSelector": {"matchLabels": {"app": "db"}},
                "services": {"primary": "rw", "replica": "ro"},
                "connection": {"user": "pgsteer", "passwordSecret": {"name": "probe", "key": "password"}},
            },
        }))
        .expect("a route");
        assert_eq!(
            settings.interval, route.spec.probe.interval.0,
            "the example keeps the defaults"
        );
        assert_eq!(ttl("x\n            - --lease-ttl=7s\n"), Duration::from_secs(7));
    }
}
