//! What the simulation can be asked to do: run seeds on all cores, soak, find the planted bugs, replay one seed.

use std::{
    fs,
    path::Path,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use controller::tasks;

use super::{
    faults::{Counters, FAULTS},
    host::HostGate,
    seed::{self, Outcome},
};

/// As many seeds a run of the plain tests takes, unoptimised.
const SEEDS_AT_A_GLANCE: u64 = 16;

/// A planted bug has to be found within so many seeds.
#[cfg(feature = "planted-bugs")]
const SEEDS_TO_FIND: u64 = 2_000;

/// After so many seeds every kind of fault must have happened.
const SEEDS_FOR_EVERY_FAULT: u64 = 500;

/// A soak writes down how far it is after so many seeds.
const SEEDS_A_STRETCH: u64 = 5_000;

const USAGE: &str = "\
simulation                    a few seeds, and whether the same seed is the same story
simulation seeds COUNT        seeds 0 to COUNT
simulation soak COUNT FILE    goes on after the seed that FILE names, until COUNT are done
simulation planted            each planted bug is found (needs the feature planted-bugs)
simulation replay SEED [BUG]  one seed, told line by line";

/// What came of many seeds.
#[derive(Default)]
struct Sum {
    seeds: u64,
    span: Duration,
    switches: u64,
    mistaken: u64,
    settled_after: Duration,
    counters: Counters,
    failed: Option<Outcome>,
}

/// Does what it is asked.
pub(crate) fn execute(args: &[String]) -> ExitCode {
    let words: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    let number = |text: &str| text.parse::<u64>().ok();
    let held = match words.as_slice() {
        [] => glance(),
        ["seeds", count] => number(count).is_some_and(|count| told(&many(0..count, None), true)),
        ["soak", count, file] => number(count).is_some_and(|count| soak(count, Path::new(file))),
        ["planted"] => planted(),
        ["survey", from, to] => survey(number(from).unwrap_or(0)..number(to).unwrap_or(0)),
        ["replay", seed, bug @ ..] => number(seed).is_some_and(|seed| replay(seed, bug.first().copied())),
        _ => {
            // `cargo test WORD` asks every test program for WORD.
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
    };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn glance() -> bool {
    let (first, again) = (seed::run(1, false), seed::run(1, false));
    let same = first.sum == again.sum && first.lines == again.lines;
    if !same {
        println!("seed 1 is not the same twice: {:x} and {:x}", first.sum, again.sum);
    }
    told(&many(0..SEEDS_AT_A_GLANCE, None), false) && same && standstill_is_found()
}

/// Beside a seed, somebody who never waits: with an await that is always ready, and with none at all.
fn standstill_is_found() -> bool {
    let yields = seed::run_beside(1, false, |sim| {
        let gate = HostGate::new(1, None, Arc::clone(&sim.stirred), Arc::clone(&sim.standstill));
        let busy = async {
            loop {
                tokio::task::yield_now().await;
            }
        };
        sim.spawn(tasks::behind(Arc::new(gate), busy));
    });
    // The one that never waits is stopped by a panic, which need not be told.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let looks = seed::run_beside(1, false, |sim| {
        let watched = Arc::clone(sim);
        sim.spawn(async move {
            loop {
                drop(watched.world());
            }
        });
    });
    std::panic::set_hook(told);
    let found = |outcome: &Outcome| outcome.broken.as_ref().is_some_and(|broken| broken.starts_with("I7"));
    let both = found(&yields) && found(&looks);
    if !both {
        println!(
            "somebody who never waits is not found: {:?}, {:?}",
            yields.broken, looks.broken
        );
    }
    both
}

/// Runs seeds on all cores, up to the first that breaks a rule.
fn many(seeds: std::ops::Range<u64>, bug: Option<usize>) -> Sum {
    let (next, stop, sum) = (
        AtomicU64::new(seeds.start),
        AtomicBool::new(false),
        Mutex::new(Sum::default()),
    );
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                plant(bug);
                let mut mine = Sum::default();
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let outcome = seed::run(seed, false);
                    mine.take(outcome);
                    if mine.failed.is_some() {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                sum.lock().unwrap_or_else(PoisonError::into_inner).add(mine);
            });
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Prints what came of it; whether every rule held.
fn told(sum: &Sum, every_fault: bool) -> bool {
    let Sum {
        seeds,
        span,
        switches,
        mistaken,
        settled_after,
        counters,
        failed,
    } = sum;
    if let Some(outcome) = failed {
        tell_failure(outcome, None);
        println!("test result: FAILED. {} passed; 1 failed", seeds.saturating_sub(1));
        return false;
    }
    let mut missing = Vec::new();
    for (fault, text) in FAULTS {
        let count = counters.0[*fault as usize];
        println!("{count:>12}  {text}");
        if count == 0 {
            missing.push(*text);
        }
    }
    println!("{mistaken:>12}  answers under an address that still belonged to another pod");
    println!("{switches:>12}  switches of the primary label");
    println!(
        "{seeds} seeds, {} simulated hours, {} faults; everything came right within {settled_after:?} at the longest",
        span.as_secs() / 3600,
        counters.total(),
    );
    let complete = !every_fault || *seeds < SEEDS_FOR_EVERY_FAULT || missing.is_empty();
    if !complete {
        println!("these never happened: {}", missing.join(", "));
    }
    println!(
        "test result: {}. {seeds} passed; 0 failed",
        if complete { "ok" } else { "FAILED" }
    );
    complete
}

fn tell_failure(outcome: &Outcome, bug: Option<&str>) {
    let Outcome { seed, broken, span, .. } = outcome;
    println!(
        "seed {seed} broke a rule after {span:?}: {}",
        broken.as_deref().unwrap_or_default()
    );
    println!(
        "replay it: cargo test --release --locked -p pgsteer --features planted-bugs --test simulation -- replay {seed} {}",
        bug.unwrap_or_default()
    );
}

/// Runs seeds to the end, and lists those that break a rule.
fn survey(seeds: std::ops::Range<u64>) -> bool {
    let next = AtomicU64::new(seeds.start);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let outcome = seed::run(seed, false);
                    if let Some(broken) = outcome.broken {
                        println!("{seed}: {broken}");
                    }
                }
            });
        }
    });
    true
}

/// Goes on where an earlier soak stopped.
fn soak(count: u64, file: &Path) -> bool {
    let mut done: u64 = fs::read_to_string(file)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    println!("{done} seeds were done before");
    let mut all = Sum::default();
    while done < count {
        let until = (done + SEEDS_A_STRETCH).min(count);
        let sum = many(done..until, None);
        let failed = sum.failed.is_some();
        all.add(sum);
        if failed {
            break;
        }
        done = until;
        if let Err(error) = fs::write(file, format!("{done}\n")) {
            println!("{} cannot be written: {error}", file.display());
            return false;
        }
        println!("{done} of {count} seeds");
    }
    told(&all, true)
}

fn replay(seed: u64, bug: Option<&str>) -> bool {
    if let Some(bug) = bug {
        let index = bugs().iter().position(|name| name == bug);
        if index.is_none() {
            println!("no bug is called {bug}; there are: {}", bugs().join(", "));
            return false;
        }
        plant(index);
    }
    let filter = tracing_subscriber::EnvFilter::new("controller=debug");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stdout)
        .init();
    let outcome = seed::run(seed, true);
    if outcome.broken.is_some() {
        tell_failure(&outcome, bug);
        return false;
    }
    println!(
        "seed {seed} held for {:?}: {} switches, trace {:016x}",
        outcome.span, outcome.switches, outcome.sum
    );
    true
}

#[cfg(feature = "planted-bugs")]
fn bugs() -> Vec<String> {
    shared::planted::BUGS.iter().map(|bug| format!("{bug:?}")).collect()
}

#[cfg(feature = "planted-bugs")]
fn plant(bug: Option<usize>) {
    shared::planted::plant(bug.and_then(|bug| shared::planted::BUGS.get(bug).copied()));
}

#[cfg(feature = "planted-bugs")]
fn planted() -> bool {
    let mut unfound = 0;
    for (index, name) in bugs().iter().enumerate() {
        let sum = many(0..SEEDS_TO_FIND, Some(index));
        plant(None);
        let found = sum.failed.filter(|outcome| {
            // It is the bug that was found only if the same seed holds without it.
            let sound = seed::run(outcome.seed, false);
            sound.broken.is_none() || told_unsound(&sound)
        });
        if let Some(outcome) = found {
            println!("{name}: found by seed {}, after {} seeds", outcome.seed, sum.seeds);
            tell_failure(&outcome, Some(name));
        } else {
            unfound += 1;
            println!("{name}: NOT found in {} seeds", sum.seeds);
        }
    }
    let found = bugs().len() - unfound;
    println!(
        "test result: {}. {found} passed; {unfound} failed",
        if unfound == 0 { "ok" } else { "FAILED" }
    );
    unfound == 0
}

#[cfg(feature = "planted-bugs")]
fn told_unsound(outcome: &Outcome) -> bool {
    println!("without any planted bug:");
    tell_failure(outcome, None);
    false
}

#[cfg(not(feature = "planted-bugs"))]
const fn bugs() -> Vec<String> {
    Vec::new()
}

#[cfg(not(feature = "planted-bugs"))]
const fn plant(_: Option<usize>) {}

#[cfg(not(feature = "planted-bugs"))]
fn planted() -> bool {
    println!("this build has no planted bugs: it needs the feature planted-bugs");
    false
}

// === impl Sum ===

impl Sum {
    fn take(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.span += outcome.span;
        self.switches += outcome.switches;
        self.mistaken += outcome.mistaken;
        self.settled_after = self.settled_after.max(outcome.settled_after);
        self.counters.add(&outcome.counters);
        if outcome.broken.is_some() {
            self.failed.get_or_insert(outcome);
        }
    }

    fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.span += other.span;
        self.switches += other.switches;
        self.mistaken += other.mistaken;
        self.settled_after = self.settled_after.max(other.settled_after);
        self.counters.add(&other.counters);
        self.failed = match (self.failed.take(), other.failed) {
            (Some(one), Some(two)) => Some(if one.seed < two.seed { one } else { two }),
            (one, two) => one.or(two),
        };
    }
}
