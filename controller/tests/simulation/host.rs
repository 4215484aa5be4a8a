//! The host of one replica: its clock, its chance, and the gate that stops and crashes it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use controller::{
    clock::{Clock, Tick},
    host::Chance,
    tasks::Gate,
};
use jiff::{SignedDuration, Timestamp};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng, seq::SliceRandom as _};
use tokio::{sync::Notify, time::Instant};

use super::standstill::Standstill;

/// The wall clock's time at which every seed begins: 2026-01-01.
const BEGIN: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// The time of the whole simulation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Began(Instant);

impl Began {
    #[expect(clippy::disallowed_methods, reason = "the timers' own clock, which is paused")]
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// A host's clock: it runs a little too fast or too slow, and its wall clock is off by up to an hour.
#[derive(Debug)]
pub(crate) struct HostClock {
    pub(crate) began: Began,
    /// What the host had been up for.
    pub(crate) up: Duration,
    /// In parts of a thousand; 1000 is right.
    pub(crate) rate: u32,
    pub(crate) skew_seconds: AtomicI64,
}

impl Clock for HostClock {
    fn now(&self) -> Tick {
        Tick::default() + self.up + self.began.elapsed() * self.rate / 1000
    }

    fn wall(&self) -> Timestamp {
        wall(self.began.elapsed()) + SignedDuration::from_secs(self.skew_seconds.load(Ordering::Relaxed))
    }
}

/// The right time, `at` into the simulation.
pub(crate) fn wall(at: Duration) -> Timestamp {
    BEGIN + at
}

/// A host's chance.
#[derive(Debug)]
pub(crate) struct HostChance(Mutex<SmallRng>);

impl HostChance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(SmallRng::seed_from_u64(seed)))
    }
}

impl Chance for HostChance {
    fn up_to(&self, limit: Duration) -> Duration {
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rng.random_range(Duration::ZERO..=limit)
    }
}

/// What the gate does when so many polls have gone by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtPoll {
    Crash,
    Pause,
}

/// Stops all tasks of a replica, at once.
#[derive(Debug)]
pub(crate) struct HostGate {
    state: Mutex<GateState>,
    /// Tells the simulation that a trap went off.
    sprung: Arc<Notify>,
    standstill: Arc<Standstill>,
}

#[derive(Debug)]
struct GateState {
    rng: SmallRng,
    open: bool,
    dead: bool,
    /// One poll in so many is put off, so that tasks overtake each other; none: never.
    put_off: Option<u32>,
    parked: Vec<Waker>,
    trap: Option<(u32, AtPoll)>,
    sprung: Option<AtPoll>,
}

impl HostGate {
    pub(crate) fn new(seed: u64, put_off: Option<u32>, sprung: Arc<Notify>, standstill: Arc<Standstill>) -> Self {
        Self {
            state: Mutex::new(GateState {
                rng: SmallRng::seed_from_u64(seed),
                open: true,
                dead: false,
                put_off,
                parked: Vec::new(),
                trap: None,
                sprung: None,
            }),
            sprung,
            standstill,
        }
    }

    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the replica runs.
    pub(crate) fn is_open(&self) -> bool {
        self.state().open
    }

    pub(crate) fn close(&self) {
        self.state().open = false;
    }

    /// Nothing of it ever runs again.
    pub(crate) fn kill(&self) {
        let mut state = self.state();
        (state.open, state.dead) = (false, true);
        state.parked.clear();
    }

    /// Goes on; who runs first is left to chance.
    pub(crate) fn open(&self) {
        let mut state = self.state();
        if state.dead {
            return;
        }
        state.open = true;
        let mut parked = std::mem::take(&mut state.parked);
        parked.shuffle(&mut state.rng);
        drop(state);
        parked.into_iter().for_each(Waker::wake);
    }

    /// Goes off after so many polls from now.
    pub(crate) fn set_trap(&self, polls: u32, then: AtPoll) {
        self.state().trap = Some((polls, then));
    }

    /// The trap that went off, once.
    pub(crate) fn take_sprung(&self) -> Option<AtPoll> {
        self.state().sprung.take()
    }

    pub(crate) fn disarm(&self) {
        self.state().trap = None;
    }
}

impl Gate for HostGate {
    fn poll_open(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.standstill.step() {
            // Nobody goes on, so that whoever moves the time can look.
            self.sprung.notify_one();
            return Poll::Pending;
        }
        let mut state = self.state();
        if state.open
            && let Some((left, then)) = state.trap
        {
            if left == 0 {
                (state.trap, state.sprung, state.open) = (None, Some(then), false);
                self.sprung.notify_one();
            } else {
                state.trap = Some((left - 1, then));
            }
        }
        if !state.open {
            if !state.dead {
                state.parked.push(cx.waker().clone());
            }
            return Poll::Pending;
        }
        if let Some(every) = state.put_off
            && state.rng.random_ratio(1, every)
        {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}
