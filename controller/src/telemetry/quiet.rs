//! Keeps OpenTelemetry's own complaints from filling the log while a collector is away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing::{Event, Metadata, Subscriber, subscriber::Interest};
use tracing_subscriber::layer::{Context, Filter};

use crate::clock::{Clock, Tick};

/// One complaint of OpenTelemetry's is logged in this time, whatever it is about: it complains at every failed export.
pub(super) const COMPLAINT_EVERY: Duration = Duration::from_mins(1);

/// What its crates call themselves begins with this.
const COMPLAINER: &str = "opentelemetry";

/// Lets everything through but OpenTelemetry's complaints, of which it lets one a minute.
#[derive(Debug)]
pub(super) struct Quiet {
    clock: Arc<dyn Clock>,
    /// The tick before which no complaint passes.
    closed_until: AtomicU64,
}

impl Quiet {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            closed_until: AtomicU64::new(0),
        }
    }

    fn admits(&self, now: Tick) -> bool {
        let closed_until = self.closed_until.load(Ordering::Relaxed);
        let next = (now + COMPLAINT_EVERY).as_nanos();
        // Of two at once, the one that closes the gate has passed it.
        now.as_nanos() >= closed_until
            && self
                .closed_until
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
        !event.metadata().target().starts_with(COMPLAINER) || self.admits(self.clock.now())
    }
}
