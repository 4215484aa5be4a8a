//! The one place where leadership is published and taken back.
//!
//! Every change goes through the watch channel's lock and one of the pure rules of [`super::leadership`]. The elector, the
//! timer and the handle all use it, so a reign can be ended although the elector is stuck in a request.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use shared::term::Term;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::leadership::{Extension, Leadership, Reign};
use crate::clock::{Clock, Tick};

/// The timer never sleeps shorter than this: a clock that a test holds still must not make it spin.
const WAKE_MIN: Duration = Duration::from_millis(1);

/// Leadership as published, and the moment before which this process does not contend.
#[derive(Debug)]
pub(super) struct State {
    clock: Arc<dyn Clock>,
    leadership: watch::Sender<Leadership>,
    not_before: AtomicU64,
    /// A reign has begun.
    begun: Notify,
}

// === impl State ===

impl State {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            leadership: watch::Sender::new(Leadership::default()),
            not_before: AtomicU64::new(0),
            begun: Notify::new(),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    /// The reign that stands at this moment.
    pub(super) fn reign(&self) -> Option<Reign> {
        let now = self.clock.now();
        self.leadership
            .borrow()
            .reign()
            .filter(|reign| reign.stands_at(now))
            .cloned()
    }

    /// Leadership as published at this moment.
    pub(super) fn published(&self) -> Leadership {
        self.leadership.borrow().clone()
    }

    /// The moment before which this process does not contend.
    pub(super) fn not_before(&self) -> Tick {
        Tick::from_nanos(self.not_before.load(Ordering::SeqCst))
    }

    /// Publishes a new reign, unless its time has run out already or this process is to stay away.
    pub(super) fn begin(&self, term: Term, holder: &str, number: u64, until: Tick) -> bool {
        self.leadership.send_if_modified(|leadership| {
            // Under the lock, as in `end_reign`: whoever steps down meets this reign, or this reign meets its pause.
            let now = self.clock.now();
            let admitted = now < until && now >= self.not_before();
            if admitted {
                let lost = CancellationToken::new();
                leadership.begin(Reign {
                    term,
                    holder: holder.to_owned(),
                    until,
                    began: now,
                    number,
                    lost,
                });
                self.begun.notify_one();
                info!(%term, reign = number, holder, "leadership won");
            }
            admitted
        })
    }

    /// The Lease is still ours. If its term is not the one that we reign under, it was made anew or edited: that ends the reign.
    /// False when it is over, and the next attempt is to begin another.
    pub(super) fn prolong(&self, reign: &Reign, term: Term, until: Tick) -> bool {
        if term != reign.term {
            self.follow(None);
            return false;
        }
        self.extend(reign.number, until) == Extension::Extended
    }

    /// Prolongs reign `number`, in silence.
    pub(super) fn extend(&self, number: u64, until: Tick) -> Extension {
        let mut extension = Extension::TooLate;
        self.leadership.send_if_modified(|leadership| {
            extension = leadership.extend(number, until, self.clock.now());
            false
        });
        extension
    }

    /// Prolongs reign `number` under a higher term.
    pub(super) fn raise(&self, number: u64, term: Term, until: Tick) -> Extension {
        let mut extension = Extension::TooLate;
        self.leadership.send_if_modified(|leadership| {
            extension = leadership.raise(number, term, until, self.clock.now());
            extension == Extension::Extended
        });
        extension
    }

    /// Ends the reign, if there is one, and names the holder that the Lease names.
    pub(super) fn follow(&self, holder: Option<String>) {
        self.leadership.send_if_modified(|leadership| {
            if let Some(Reign { term, number, .. }) = leadership.reign() {
                warn!(%term, reign = number, holder = holder.as_deref(), "leadership lost: the lease is not ours");
            }
            leadership.end(holder)
        });
    }

    /// Ends the reign, if there is one, and keeps this process from beginning another for `pause`.
    pub(super) fn end_reign(&self, pause: Duration) {
        self.leadership.send_if_modified(|leadership| {
            self.not_before
                .fetch_max((self.clock.now() + pause).as_nanos(), Ordering::SeqCst);
            let reign = leadership.reign().map(|reign| (reign.term, reign.number));
            if let Some((term, number)) = reign {
                info!(%term, reign = number, "leadership given up");
                leadership.end(None);
            }
            reign.is_some()
        });
    }

    /// Ends each reign at the tick at which its time runs out, whatever the elector is doing. Never returns.
    pub(super) async fn keep_time(&self) -> Infallible {
        loop {
            let until = self.leadership.borrow().reign().map(|reign| reign.until);
            match until {
                None => self.begun.notified().await,
                Some(until) => {
                    // A renewal moves `until` in silence; then this wakes too early, and looks again.
                    let left = until.since(self.clock.now()).max(WAKE_MIN);
                    drop(timeout(left, self.begun.notified()).await);
                    self.expire();
                }
            }
        }
    }

    fn expire(&self) {
        self.leadership.send_if_modified(|leadership| {
            let reign = leadership.reign().map(|reign| (reign.term, reign.number));
            let expired = leadership.expire(self.clock.now());
            if let (true, Some((term, number))) = (expired, reign) {
                warn!(%term, reign = number, "leadership lost: the lease was not renewed in time");
            }
            expired
        });
    }
}
