//! One seed, from its beginning to its end.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Builder, time::timeout};

use super::{
    faults::Counters,
    flight,
    host::Began,
    story, trouble,
    world::{Event, Sim, World},
};

/// The driver never sleeps longer than this.
const SLEEP_MAX: Duration = Duration::from_secs(5);

/// What came of a seed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    /// The rule that was broken, and how.
    pub(crate) broken: Option<String>,
    pub(crate) span: Duration,
    pub(crate) switches: u64,
    pub(crate) mistaken: u64,
    pub(crate) counters: Counters,
    pub(crate) settled_after: Duration,
    /// The same for the same seed.
    pub(crate) sum: u64,
    pub(crate) lines: u64,
}

/// Runs a seed; `shown`: its trace is printed.
pub(crate) fn run(seed: u64, shown: bool) -> Outcome {
    run_beside(seed, shown, |_| ())
}

/// Runs a seed, and beside it whatever `begin` begins.
pub(crate) fn run_beside(seed: u64, shown: bool, begin: impl FnOnce(&Arc<Sim>)) -> Outcome {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let (sim, outcome) = runtime.block_on(async {
        let sim = Sim::new(seed, shown, Began::now());
        begin(&sim);
        let outcome = drive(&sim, seed).await;
        (sim, outcome)
    });
    sim.end();
    drop(runtime);
    outcome
}

async fn drive(sim: &Arc<Sim>, seed: u64) -> Outcome {
    story::begin(sim);
    let mut before = Duration::ZERO;
    loop {
        let pause = {
            let stuck = sim.standstill.is_reached() && sim.standstill.time_goes_on();
            let mut guard = sim.world();
            let world = &mut *guard;
            if stuck {
                never_waits(world);
            }
            if std::mem::replace(&mut before, world.now) != world.now && sim.standstill.time_goes_on() {
                never_waits(world);
            }
            trouble::sprung(sim, world);
            while let Some(event) = world.agenda.take(world.now) {
                if sim.standstill.step() {
                    never_waits(world);
                    break;
                }
                happen(sim, world, event);
            }
            if world.story.over || world.judge.broken.is_some() {
                return outcome(seed, world);
            }
            let next = world.agenda.next().unwrap_or(world.now + SLEEP_MAX);
            next.saturating_sub(world.now)
        };
        drop(timeout(pause, sim.stirred.notified()).await);
    }
}

fn never_waits(world: &mut World) {
    let at = world.now;
    world.judge.breaks(
        "I7, everything that goes on waits for something",
        format!("the time stands still at {at:?}"),
    );
}

fn outcome(seed: u64, world: &mut World) -> Outcome {
    Outcome {
        seed,
        broken: world.judge.broken.take(),
        span: world.now,
        switches: world.judge.switches,
        mistaken: world.judge.mistaken,
        counters: world.counters.clone(),
        settled_after: world.story.settled_after,
        sum: world.trace.sum(),
        lines: world.trace.lines(),
    }
}

fn happen(sim: &Arc<Sim>, world: &mut World, event: Event) {
    match event {
        Event::Carry(flight) => flight::carry(sim, world, flight),
        Event::Answer(answer) => flight::answer(sim, world, answer),
        Event::Deliver { watch, frame } => world.api.watches.deliver(watch, frame),
        Event::Slices => super::slices::bring_up_to_date(sim, world),
        Event::Story(beat) => story::go_on(sim, world, beat),
    }
}
