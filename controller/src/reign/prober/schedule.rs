//! When a pod is asked next, and how deep: a pure schedule over what came of the last questions.
//!
//! ```text
//! kept session       pulse every interval           in full every second
//! fresh connection   every second: a knock while the kept session answers, else a login; a login every half minute all the same
//! ```
//!
//! A login costs a hundred times what a pulse does, on both sides, so it is made where only it can tell something: when nothing else
//! answers, when the last fresh connection met anything but an answer, and now and then because a password may have been changed. A hung
//! postmaster, a server that is going down and one that is full show themselves at the door (see [`probe::knock`]).

use std::time::Duration;

use probe::Evidence;

use super::Pace;
use crate::{clock::Tick, host::Chance};

/// A kept session hides a hung postmaster, so a fresh connection is made at least this often.
pub(super) const FRESH_EVERY: Duration = Duration::from_secs(1);

/// A pulse tells the standing alone; positions in the log and timelines are asked for this often.
const FULL_EVERY: Duration = Duration::from_secs(1);

/// A fresh connection logs in at least this often, though a kept session answers: a login that no longer works is told before it is needed.
const LOGIN_EVERY: Duration = Duration::from_secs(30);

/// Of so many intervals the kept session may miss one; one that has been silent for longer does not stand in for a login.
const KEPT_SILENT_INTERVALS: u32 = 2;

/// While a promotion may come any moment, a pulse, the cheapest message that the protocol has, is sent this often.
const HURRIED: Duration = Duration::from_millis(10);

/// Probes of many pods are spread by up to this part of the pause, so that they do not all go out in one instant.
const JITTER_PARTS: u32 = 10;

/// The logins of pods that were first asked at the same moment are spread wider: each one is work.
const LOGIN_JITTER_PARTS: u32 = 2;

/// The shortest pause: a timer only wakes.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// How deep a fresh connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// It logs in and asks in full.
    Login,
    /// It goes as far as the server's request for a proof.
    Knock,
}

/// What is asked on the kept session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Whether what it said still holds.
    Pulse,
    /// Everything.
    Full,
}

/// The kept session, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeptState {
    /// There is none.
    None,
    /// It can be asked.
    Idle,
    /// It has been asked.
    Asking,
}

/// When a pod is asked next.
#[derive(Debug)]
pub(super) struct Schedule {
    interval: Duration,
    fresh_due: Tick,
    /// From when on a knock will not do.
    login_due: Tick,
    full_due: Tick,
    /// When the kept session answered last.
    answered: Option<Tick>,
    /// What the last fresh connection met.
    met: Option<Evidence>,
    /// Fresh connections in a row that met something that is no answer of PostgreSQL.
    unclear: u32,
}

// === impl Schedule ===

impl Schedule {
    /// Everything is due at `now`.
    pub(super) const fn new(interval: Duration, now: Tick) -> Self {
        Self {
            interval,
            fresh_due: now,
            login_due: now,
            full_due: now,
            answered: None,
            met: None,
            unclear: 0,
        }
    }

    /// The kept session ended, which says nothing by itself: a fresh connection decides, now.
    pub(super) fn session_ended(&mut self, now: Tick) {
        self.answered = None;
        self.fresh_due = now;
    }

    /// The kept session, or the login that it began with, has answered.
    pub(super) fn session_answered(&mut self, now: Tick, question: Question) {
        self.answered = Some(now);
        if question == Question::Full {
            self.full_due = now + FULL_EVERY;
        }
    }

    /// Whether a fresh connection is to be made.
    pub(super) fn is_fresh_due(&self, now: Tick) -> bool {
        now >= self.fresh_due
    }

    /// How deep the next fresh connection is to go.
    pub(super) fn depth(&self, now: Tick, pace: Pace) -> Depth {
        let answers = matches!(self.met, Some(Evidence::Writable | Evidence::InRecovery));
        let kept_answers = self
            .answered
            .is_some_and(|at| now.since(at) <= self.interval * KEPT_SILENT_INTERVALS);
        if pace != Pace::Terminating && answers && kept_answers && now < self.login_due {
            Depth::Knock
        } else {
            Depth::Login
        }
    }

    /// A fresh connection has met something.
    pub(super) fn met(&mut self, now: Tick, evidence: Evidence, pace: Pace, chance: &dyn Chance) {
        self.unclear = if evidence == Evidence::Unclear {
            self.unclear.saturating_add(1)
        } else {
            0
        };
        self.met = Some(evidence);
        self.login_due = now + LOGIN_EVERY.saturating_sub(chance.up_to(LOGIN_EVERY / LOGIN_JITTER_PARTS));
        self.fresh_due = now + self.again(evidence, pace, chance);
    }

    /// A knock found the server's door as it should be. If the kept session has ended meanwhile, that is not enough.
    pub(super) fn knocked(&mut self, now: Tick, chance: &dyn Chance) {
        if self.answered.is_some() {
            self.fresh_due = now + spread(FRESH_EVERY, chance);
        }
    }

    /// When to make the next fresh connection. A server that bars us is not to be burdened with ten attempts a second; one
    /// that is down may be back any moment, and one that is being deleted may be gone.
    fn again(&self, evidence: Evidence, pace: Pace, chance: &dyn Chance) -> Duration {
        match evidence {
            Evidence::Writable | Evidence::InRecovery if pace == Pace::Terminating => self.interval,
            Evidence::Writable | Evidence::InRecovery | Evidence::Barred => spread(FRESH_EVERY, chance),
            // Once may be an accident of the moment. What goes on like that is asked less and less often: it may answer at once, and
            // a thousand of its kind would leave no time for the others.
            Evidence::Unclear => {
                let doublings = self.unclear.saturating_sub(1);
                let longest = FRESH_EVERY.max(self.interval);
                let pause = self.interval.saturating_mul(2_u32.saturating_pow(doublings));
                pause.min(longest)
            }
            Evidence::Down | Evidence::Starting | Evidence::Silent => self.interval,
        }
    }

    /// How long nothing happens: until the next question, or until the next fresh connection. `fresh_runs`: one is under way.
    pub(super) fn pause(
        &self,
        now: Tick,
        pace: Pace,
        kept: KeptState,
        fresh_runs: bool,
        chance: &dyn Chance,
    ) -> Duration {
        let fresh_in = if fresh_runs {
            FRESH_EVERY
        } else {
            self.fresh_due.since(now)
        };
        let pause = match kept {
            KeptState::Idle => {
                let interval = match pace {
                    Pace::Hurried => self.interval.min(HURRIED),
                    Pace::Steady | Pace::Terminating => self.interval,
                };
                spread(interval, chance).min(self.full_due.since(now)).min(fresh_in)
            }
            KeptState::None | KeptState::Asking => fresh_in,
        };
        pause.max(PAUSE_MIN)
    }

    /// What the kept session is to be asked.
    pub(super) fn question(&self, now: Tick) -> Question {
        if now >= self.full_due {
            Question::Full
        } else {
            Question::Pulse
        }
    }
}

/// A pause that is not the same for all.
fn spread(pause: Duration, chance: &dyn Chance) -> Duration {
    pause.saturating_sub(chance.up_to(pause / JITTER_PARTS))
}

#[cfg(test)]
mod tests;
