//! Keeps libraries' complaints from filling the log while a collector or an API server is away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing::{Event, Level, Metadata, Subscriber, subscriber::Interest};
use tracing_subscriber::layer::{Context, Filter};

use crate::clock::Clock;

/// One complaint of a library is logged in this time, whatever it is about: they complain at every failed attempt.
pub(super) const COMPLAINT_EVERY: Duration = Duration::from_mins(1);

/// What the targets of their events begin with. What the Kubernetes client says, its caller says again, and says more.
const COMPLAINERS: [&str; 2] = ["opentelemetry", "kube_client"];

/// Lets everything through but the complaints, of which it lets one of each library's through a minute.
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

    fn admits(&self, target: &str) -> bool {
        let complainer = COMPLAINERS.iter().position(|complainer| target.starts_with(complainer));
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

impl<S: Subscriber> Filter<S> for Quiet {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::always()
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        *event.metadata().level() > Level::WARN || self.admits(event.metadata().target())
    }
}
