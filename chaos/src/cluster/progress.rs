//! One line a step when it begins, with what it takes as a rule, and one when it has ended, with what it took.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Who hears of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// A person at a terminal or in a log: lines on standard error.
    Told,
    /// Nobody: a test.
    Silent,
}

/// A step that is under way. One that fails is dropped; its error is told elsewhere.
#[derive(Debug)]
pub struct Step {
    progress: Progress,
    name: String,
    watch: Stopwatch,
}

impl Progress {
    /// Begins a step that takes about `estimate`.
    pub fn step(self, name: impl Into<String>, estimate: Duration) -> Step {
        let name = name.into();
        self.tell(&format!("{name}: about {} s", estimate.as_secs().max(1)));
        Step {
            progress: self,
            name,
            watch: Stopwatch::start(),
        }
    }

    /// A line of its own.
    pub fn tell(self, line: &str) {
        match self {
            Self::Told => eprintln!("{line}"),
            Self::Silent => {}
        }
    }
}

impl Step {
    /// It has ended well.
    pub fn done(self) {
        self.progress.tell(&format!(
            "{}: done in {:.1} s",
            self.name,
            self.watch.elapsed().as_secs_f64()
        ));
    }
}

/// Measures how long something takes, for people; nothing is decided by it.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Duration);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self(monotonic())
    }

    /// Time since the start.
    pub fn elapsed(self) -> Duration {
        monotonic().saturating_sub(self.0)
    }
}

fn monotonic() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    // The monotonic clock starts at boot and is never negative.
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
