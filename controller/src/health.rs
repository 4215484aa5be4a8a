//! Whether the process is alive and ready, for the kubelet and for people.
//!
//! The loops say what they are doing; `/livez` and `/readyz` read it. Nothing is decided from it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use shared::term::Term;

use crate::clock::{Clock, Tick};

/// A loop beats at least every few seconds, also when nothing happens, and every request it waits for ends within ten. Three
/// times that is not load: it is stuck, and only a restart lets another replica lead.
pub const HEARTBEAT_AGE_MAX: Duration = Duration::from_secs(30);

/// What the process does at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// It has not learnt yet who holds the Lease: the API server has not answered.
    Starting,
    /// It follows.
    Following {
        /// Identity of the leader; none when nobody leads at the moment.
        holder: Option<String>,
    },
    /// It leads, and reads what there is.
    Syncing {
        /// Its term.
        term: Term,
    },
    /// It leads, and has read everything.
    Leading {
        /// Its term.
        term: Term,
    },
    /// It has been asked to end.
    Stopping,
}

/// Why a probe of the kubelet fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unhealthy {
    /// The main loop is stuck. The kubelet restarts the container, and another replica leads.
    #[error("the main loop has not come round for {} s, at most {} s are normal", age.as_secs(), HEARTBEAT_AGE_MAX.as_secs())]
    Stuck {
        /// How long ago it last did.
        age: Duration,
    },
    /// There is nothing to do but wait, and to look at the log if it stays so.
    #[error("not ready: {0}")]
    NotReady(Phase),
}

/// What the loops say about themselves; shared by all of them.
#[derive(Debug)]
pub struct Health {
    clock: Arc<dyn Clock>,
    beat: AtomicU64,
    phase: Mutex<Phase>,
}

// === impl Health ===

impl Health {
    /// A process that has just started: alive, and not ready.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let beat = AtomicU64::new(clock.now().as_nanos());
        Self {
            clock,
            beat,
            phase: Mutex::new(Phase::Starting),
        }
    }

    /// The main loop has come round. Whichever loop is in charge calls it: the follower's while following, the reign's while
    /// leading, each at least every few seconds.
    pub fn beat(&self) {
        self.beat.store(self.clock.now().as_nanos(), Ordering::Relaxed);
    }

    /// When the main loop last came round.
    pub fn last_beat(&self) -> Tick {
        Tick::from_nanos(self.beat.load(Ordering::Relaxed))
    }

    /// This replica follows `holder`, as the Lease tells it.
    pub fn follows(&self, holder: Option<&str>) {
        let mut phase = self.phase_mut();
        // Nobody known and nothing heard yet are told apart: only the latter is not ready.
        if holder.is_some() || *phase != Phase::Starting {
            *phase = Phase::Following {
                holder: holder.map(str::to_owned),
            };
        }
    }

    /// This replica leads; its stores are being filled.
    pub fn leads(&self, term: Term) {
        *self.phase_mut() = Phase::Syncing { term };
    }

    /// The leader's stores are full.
    pub fn synced(&self, term: Term) {
        *self.phase_mut() = Phase::Leading { term };
    }

    /// This replica has been asked to end.
    pub fn stops(&self) {
        *self.phase_mut() = Phase::Stopping;
    }

    /// What the process does at present.
    pub fn phase(&self) -> Phase {
        self.phase_mut().clone()
    }

    /// The wall clock's time, for people.
    pub fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Fails only when a restart would help.
    pub fn live(&self) -> Result<(), Unhealthy> {
        let age = self.clock.now().since(self.last_beat());
        if age > HEARTBEAT_AGE_MAX {
            Err(Unhealthy::Stuck { age })
        } else {
            Ok(())
        }
    }

    /// Whether this replica does its part: it follows somebody or could take over, or it leads and has seen everything.
    pub fn ready(&self) -> Result<Phase, Unhealthy> {
        match self.phase() {
            phase @ (Phase::Following { .. } | Phase::Leading { .. }) => Ok(phase),
            phase @ (Phase::Starting | Phase::Syncing { .. } | Phase::Stopping) => Err(Unhealthy::NotReady(phase)),
        }
    }

    fn phase_mut(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Phase ===

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting, the API server has not said yet who holds the lease"),
            Self::Following { holder: Some(holder) } => write!(f, "following {holder}"),
            Self::Following { holder: None } => f.write_str("following, nobody leads at the moment"),
            Self::Syncing { term } => write!(f, "leading under term {term}, still reading routes and pods"),
            Self::Leading { term } => write!(f, "leading under term {term}"),
            Self::Stopping => f.write_str("stopping"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_loop_that_stops_beating_is_not_live_and_one_that_beats_again_is() {
        let clock = Arc::new(ManualClock::default());
        let health = Health::new(Arc::clone(&clock) as Arc<dyn Clock>);
        clock.advance(HEARTBEAT_AGE_MAX);
        assert_eq!(health.live(), Ok(()));
        clock.advance(Duration::from_secs(1));
        assert_eq!(
            health.live(),
            Err(Unhealthy::Stuck {
                age: HEARTBEAT_AGE_MAX + Duration::from_secs(1)
            })
        );
        health.beat();
        assert_eq!(health.live(), Ok(()));
    }

    type Step = fn(&Health);

    #[test]
    fn ready_is_who_follows_somebody_or_leads_with_full_stores() {
        let health = Health::new(Arc::new(ManualClock::default()));
        let steps: [(Step, bool); 8] = [
            (|_| (), false),
            (|health| health.follows(None), false),
            (|health| health.follows(Some("pgsteer-0_0000002a")), true),
            (|health| health.follows(None), true),
            (|health| health.leads(Term(3)), false),
            (|health| health.synced(Term(3)), true),
            (|health| health.follows(None), true),
            (Health::stops, false),
        ];
        for (number, (step, ready)) in steps.into_iter().enumerate() {
            step(&health);
            assert_eq!(health.ready().is_ok(), ready, "step {number}: {}", health.phase());
        }
    }
}
