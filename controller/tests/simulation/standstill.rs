//! Notices when things go on and on while the simulated time does not: a loop of the replicas, or of the simulation itself, that never
//! waits for anything. Such a seed is a failure with a name, not a run without an end.
//!
//! Every step of a replica and every look at the world counts; whoever moves the time begins the count anew.

use std::sync::atomic::{AtomicU64, Ordering};

/// So many steps belong to one moment at most. A busy moment has some hundreds.
const STEPS_MAX: u64 = 300_000;

/// The steps since the time last went on.
#[derive(Debug, Default)]
pub(crate) struct Standstill(AtomicU64);

impl Standstill {
    /// One more step; whether there were too many.
    pub(crate) fn step(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) >= STEPS_MAX
    }

    /// One more look at the world.
    ///
    /// # Panics
    ///
    /// When somebody goes on looking who ought to have been stopped at a step: nothing else ends a loop that never waits.
    pub(crate) fn look(&self) {
        let looks = self.0.fetch_add(1, Ordering::Relaxed);
        assert!(looks < 2 * STEPS_MAX, "a loop that never waits");
    }

    /// The time has gone on; whether there had been too many steps before.
    pub(crate) fn time_goes_on(&self) -> bool {
        self.0.swap(0, Ordering::Relaxed) >= STEPS_MAX
    }

    /// Whether there were too many steps.
    pub(crate) fn is_reached(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= STEPS_MAX
    }
}
