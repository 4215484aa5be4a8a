//! When a Lease may be taken: a pure rule over what was seen, by the local clock alone.
//!
//! ```text
//! holder, acquireTime, renewTime or transitions changed  -> the count starts again
//! unchanged for max(own ttl, the Lease's duration)        -> may be taken
//! holder empty                                            -> may be taken at once
//! no such Lease                                           -> may be created at once, and see below
//! ```
//!
//! A Lease that was deleted had a holder, who may not know yet and reigns for up to a ttl. So whoever makes the Lease anew holds
//! it for a ttl *on probation*, renewing it, before he reigns; if he goes meanwhile he does not release it. To wait first and
//! make it then would not do: a Lease that is made and deleted again between two looks goes unnoticed.
//!
//! The times *in* the Lease are marks that change, and never compared with a clock: the holder's wall clock may be an hour
//! off. What the election library compares is what [`Expiry::shown`] puts there.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use shared::term::Term;

use super::settings::TTL_MAX;
use crate::clock::Tick;

/// A `renewTime` that reads as renewed this moment, on any wall clock: the year 9000.
const FRESH: Timestamp = Timestamp::constant(221_845_392_000, 0);

/// A `renewTime` that reads as long expired, on any wall clock: the year 1970.
const STALE: Timestamp = Timestamp::constant(0, 0);

/// The duration that goes with them. The Lease's own could be so long that even 1970 has not expired.
const SHOWN_SECONDS: i32 = 1;

/// What has been seen of one Lease, and since when.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq, Eq, Hash))] // a model's states are copied and compared
pub(super) struct Expiry {
    me: String,
    ttl: Duration,
    seen: Seen,
    highest: Term,
    /// The Lease object that was seen last, and from when on its holder may reign if it is us.
    object: Option<(Option<String>, Tick)>,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq, Eq, Hash))]
enum Seen {
    /// Nothing yet.
    Nothing,
    /// The API server said that there is no such Lease.
    Missing { since: Tick },
    /// The Lease has looked like this since then.
    Lease {
        record: Record,
        span: Duration,
        since: Tick,
    },
}

/// The part of a Lease that changes when somebody takes, renews or releases it.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Clone, Hash))]
struct Record {
    uid: Option<String>,
    holder: Option<String>,
    acquired: Option<Timestamp>,
    renewed: Option<Timestamp>,
    transitions: Option<i32>,
}

// === impl Expiry ===

impl Expiry {
    /// Nothing seen yet, by a candidate of this identity and ttl.
    pub(super) const fn new(me: String, ttl: Duration) -> Self {
        Self {
            me,
            ttl,
            seen: Seen::Nothing,
            highest: Term(0),
            object: None,
        }
    }

    /// Takes note of the Lease as it is at `now`. An answer that is older than the last one only makes us wait longer.
    pub(super) fn observe(&mut self, lease: &Lease, now: Tick) {
        let record = Record::of(lease);
        self.highest = self.highest.max(record.term());
        if self.object.as_ref().is_none_or(|(uid, _)| *uid != record.uid) {
            // Nobody else has our identity: a Lease that names us when we first see it was made by us.
            let probation = if record.holder.as_ref() == Some(&self.me) {
                self.ttl
            } else {
                Duration::ZERO
            };
            self.object = Some((record.uid.clone(), now + probation));
        }
        let since = match &self.seen {
            Seen::Lease {
                record: before, since, ..
            } if *before == record => *since,
            Seen::Lease { .. } | Seen::Missing { .. } | Seen::Nothing => now,
        };
        let seconds = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.lease_duration_seconds)
            .unwrap_or(0);
        // The holder may have a longer ttl than we have. Nobody has one above TTL_MAX: more is a slip of somebody's hand.
        let span = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).clamp(self.ttl, TTL_MAX.max(self.ttl));
        self.seen = Seen::Lease { record, span, since };
    }

    /// Takes note that there is no Lease at `now`.
    pub(super) fn observe_missing(&mut self, now: Tick) {
        match self.seen {
            Seen::Missing { .. } => (),
            Seen::Lease { .. } | Seen::Nothing => self.seen = Seen::Missing { since: now },
        }
    }

    /// Until when we hold a Lease without reigning, if we do at `now`.
    pub(super) fn probation(&self, now: Tick) -> Option<Tick> {
        let until = self.object.as_ref().map(|(_, until)| *until)?;
        (self.holder() == Some(&self.me) && now < until).then_some(until)
    }

    /// From when on the Lease may be taken, or created, if nothing changes; `None` before anything was seen.
    pub(super) fn takeable_at(&self) -> Option<Tick> {
        match &self.seen {
            Seen::Nothing => None,
            Seen::Missing { since } => Some(*since),
            Seen::Lease { record, since, .. } if record.holder.is_none() => Some(*since),
            Seen::Lease { span, since, .. } => Some(*since + *span),
        }
    }

    /// Whether the Lease may be taken, or created, at `now`.
    pub(super) fn is_takeable(&self, now: Tick) -> bool {
        self.takeable_at().is_some_and(|at| at <= now)
    }

    /// Who held the Lease when it was seen last.
    pub(super) fn holder(&self) -> Option<&str> {
        match &self.seen {
            Seen::Nothing | Seen::Missing { .. } => None,
            Seen::Lease { record, .. } => record.holder.as_deref(),
        }
    }

    /// The highest term ever seen by this process. A Lease that was deleted starts again from here, not from zero.
    pub(super) const fn highest(&self) -> Term {
        self.highest
    }

    /// The Lease as the election library is to see it at `now`: every field that it needs is there, and its comparison of
    /// wall clocks comes out as this rule does. Somebody who only means to `contend` may find it expired; whoever renews a
    /// reign of his own must find the Lease his own, or lost.
    pub(super) fn shown(&self, mut lease: Lease, contend: bool, now: Tick) -> Lease {
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        let renewed = if contend && self.is_takeable(now) { STALE } else { FRESH };
        spec.holder_identity.get_or_insert_default();
        spec.acquire_time.get_or_insert(MicroTime(STALE));
        spec.renew_time = Some(MicroTime(renewed));
        spec.lease_duration_seconds = Some(SHOWN_SECONDS);
        // The library adds one; the term that is really written is decided beside it, see `cas`.
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).clamp(0, i32::MAX - 1));
        lease
    }
}

// === impl Record ===

impl Record {
    fn of(lease: &Lease) -> Self {
        let LeaseSpec {
            acquire_time,
            holder_identity,
            lease_transitions,
            renew_time,
            ..
        } = lease.spec.clone().unwrap_or_default();
        Self {
            uid: lease.metadata.uid.clone(),
            holder: holder_identity.filter(|holder| !holder.is_empty()),
            acquired: acquire_time.map(|time| time.0),
            renewed: renew_time.map(|time| time.0),
            transitions: lease_transitions,
        }
    }

    fn term(&self) -> Term {
        Term(
            self.transitions
                .and_then(|transitions| u32::try_from(transitions).ok())
                .unwrap_or(0),
        )
    }
}

#[cfg(test)]
mod tests;
