//! Ends a process whose event loop does not turn any more, so that the Lease moves and the kubelet starts it anew.
//!
//! A loop that is stuck while the elector beside it goes on renewing would lead for ever and do nothing; one that is stuck with the whole
//! runtime would stay until the kubelet's liveness probe gives up on it. So a thread of its own looks, which needs no runtime.

use std::{sync::Arc, thread, time::Duration};

use tracing::error;

use crate::{
    clock::{Clock, Tick},
    health::Health,
};

/// A loop beats every two seconds, and waits for nothing longer than ten. Twice that is not load, it is stuck; the kubelet's probe, which
/// reads the same beat, would take a minute.
pub const STUCK_MAX: Duration = Duration::from_secs(20);

/// The status of a process that was ended here: a defect of its own (`EX_SOFTWARE`).
pub const EXIT_STUCK: i32 = 70;

/// How often the thread looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long the last word in the log may hold up the end: the log may be what everything is stuck at.
const LAST_WORD_MAX: Duration = Duration::from_secs(1);

/// For how long the loop has been seen not to turn.
///
/// Only time that the thread itself has seen pass counts. A process that was stopped and continued, or a machine that was suspended, has
/// not been stuck: the loop could not turn because nothing could.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stuck {
    beat: Tick,
    looked: Tick,
    seen: Duration,
}

// === impl Stuck ===

impl Stuck {
    const fn new(beat: Tick, now: Tick) -> Self {
        Self {
            beat,
            looked: now,
            seen: Duration::ZERO,
        }
    }

    /// Looks again, `every` so often at best: for how long the loop has not turned.
    fn look(&mut self, beat: Tick, now: Tick, every: Duration) -> Duration {
        let passed = now.since(self.looked).min(every * 2);
        self.seen = if beat == self.beat {
            self.seen + passed
        } else {
            Duration::ZERO
        };
        self.beat = beat;
        self.looked = now;
        self.seen
    }
}

/// Starts the thread. It ends the process with [`EXIT_STUCK`] once the loop has not turned for `limit`.
pub fn start(health: Arc<Health>, clock: Arc<dyn Clock>, limit: Duration) -> std::io::Result<()> {
    let every = LOOK_EVERY.min(limit / 4);
    let watch = move || {
        let mut stuck = Stuck::new(health.last_beat(), clock.now());
        loop {
            thread::park_timeout(every);
            let seen = stuck.look(health.last_beat(), clock.now(), every);
            if seen > limit {
                end(seen, limit);
            }
        }
    };
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(watch)
        .map(drop)
}

#[expect(clippy::exit, reason = "nothing that could end in order turns any more")]
fn end(seen: Duration, limit: Duration) -> ! {
    let word = move || {
        error!(
            ?seen,
            ?limit,
            "the event loop does not turn: the process ends, so that another replica leads"
        );
    };
    if let Ok(word) = thread::Builder::new().spawn(word) {
        // Without waiting for ever: the word may be what cannot be said.
        for _ in 0..10 {
            if word.is_finished() {
                break;
            }
            thread::park_timeout(LAST_WORD_MAX / 10);
        }
    }
    std::process::exit(EXIT_STUCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(1);

    fn second(count: u64) -> Tick {
        Tick::from_nanos(count * 1_000_000_000)
    }

    #[test]
    fn a_loop_that_stands_still_is_stuck_for_as_long_as_that_was_seen() {
        let mut stuck = Stuck::new(second(0), second(0));
        let seen: Vec<_> = (1..=3)
            .map(|now| stuck.look(second(0), second(now), EVERY).as_secs())
            .collect();
        assert_eq!(seen, [1, 2, 3]);
        assert_eq!(stuck.look(second(3), second(4), EVERY), Duration::ZERO, "it turned");
        assert_eq!(stuck.look(second(3), second(5), EVERY), EVERY);
    }

    #[test]
    fn a_process_that_was_stopped_for_an_hour_has_not_been_stuck() {
        let mut stuck = Stuck::new(second(0), second(0));
        assert_eq!(stuck.look(second(0), second(3_600), EVERY), EVERY * 2);
        assert_eq!(stuck.look(second(3_600), second(3_601), EVERY), Duration::ZERO);
    }
}
