//! Keeps libraries' complaints from filling the log while a collector or an API server is away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing::{Level, Metadata};

use crate::clock::Clock;

/// One complaint of a library is logged in this time, whatever it is about: they complain at every failed attempt.
pub(super) const COMPLAINT_EVERY: Duration = Duration::from_mins(1);

/// What the targets of their events begin with. What the Kubernetes client says, its caller says again, and says more.
const COMPLAINERS: [&str; 2] = ["opentelemetry", "kube_client"];

/// Lets everything through but the complaints, of which it lets one of each library's through a minute.
///
/// It is asked when a line is written. A filter of the layer would be the place for it, but tracing-subscriber's own
/// assertions fail when a filter turns down an event that it had let through by its metadata.
#[derive(Debug)]
pub(super) struct Quiet {
    clock: Arc<dyn Clock>,
    /// For each complainer the tick before which no complaint passes.
    closed_until: [AtomicU64; COMPLAINERS.len()],
}

impl Quiet {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            closed_until: Default::default(),
        }
    }

    /// Whether to log this event.
    pub(super) fn admits(&self, event: &Metadata<'_>) -> bool {
        if *event.level() > Level::WARN {
            return true;
        }
        let complainer = COMPLAINERS
            .iter()
            .position(|complainer| event.target().starts_with(complainer));
        let Some(gate) = complainer.and_then(|number| self.closed_until.get(number)) else {
            return true;
        };
        let (now, closed_until) = (self.clock.now(), gate.load(Ordering::Relaxed));
        let next = (now + COMPLAINT_EVERY).as_nanos();
        // Of two at once, the one that closes the gate has passed it.
        now.as_nanos() >= closed_until
            && gate
                .compare_exchange(closed_until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}
