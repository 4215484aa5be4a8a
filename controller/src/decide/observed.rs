//! The whole input of a decision.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use shared::{
    ledger::{DataIdentity, Mark, PostgresLedgerSpec},
    role::Role,
    route::{PostgresRouteSpec, SplitBrainPolicy},
    term::Term,
};

use super::listing::SlicesView;
use crate::{
    clock::Tick,
    sighting::Sightings,
    stamp::{Holder, StampState},
};

/// One pod of a route. The uid is part of it: a pod of the same name may be another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey {
    /// The pod's name.
    pub name: String,
    /// The pod's uid.
    pub uid: String,
}

/// What the role label says now; a hand edit can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelState {
    /// There is none.
    Absent,
    /// One of ours.
    Known(Role),
    /// Something else.
    Foreign(String),
}

impl LabelState {
    /// Reads the label's value.
    pub fn of(value: Option<&str>) -> Self {
        match value {
            None => Self::Absent,
            Some(value) => Role::of_label(value).map_or_else(|| Self::Foreign(value.to_owned()), Self::Known),
        }
    }

    /// Whether it is exactly this role, or exactly none.
    pub fn is(&self, role: Option<Role>) -> bool {
        match self {
            Self::Absent => role.is_none(),
            Self::Known(known) => role == Some(*known),
            Self::Foreign(_) => false,
        }
    }
}

/// How far the pod's life has come, as the API server tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// Wanted, and not being deleted.
    Alive,
    /// Being deleted; its server may still answer, and is judged by its answers.
    Terminating,
    /// Succeeded or failed for good.
    Ended,
}

/// What the kubelet says of the container that runs PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// It runs since then, in microseconds since 1970 by the node's clock (whole seconds).
    Running {
        /// The start.
        since_micros: i64,
    },
    /// It does not run: not yet, not any more, or between two starts.
    Stopped {
        /// When it stopped, in microseconds since 1970 by the node's clock (whole seconds); `None`: it has not run before, as far as
        /// the kubelet has said.
        since_micros: Option<i64>,
    },
    /// The kubelet has said nothing about it yet.
    Unknown,
}

/// One pod of the route.
#[derive(Debug, Clone, PartialEq)]
pub struct PodView {
    /// The node that it is on.
    pub node: Option<String>,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// What a write to it expects to find.
    pub resource_version: String,
    /// How far its life has come.
    pub lifecycle: Lifecycle,
    /// What the kubelet says of its container.
    pub container: Container,
    /// Whether a person excluded it.
    pub excluded: bool,
    /// Its role label.
    pub label: LabelState,
    /// Its stamp.
    pub stamp: StampState,
    /// Which data its server serves.
    pub data: DataIdentity,
    /// Whether a write to it had no definite answer.
    pub unknown: bool,
    /// Since when this reign has seen it outside the write Service's endpoints; `None` while it is among them.
    pub out_of_write_since: Option<Tick>,
    /// Somebody else keeps changing its role label: no repair before then.
    pub repair_not_before: Option<Tick>,
    /// What the probes have shown.
    pub sightings: Sightings,
}

/// The route's ledger.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of it in a decision, and it is nearly always there"
)]
pub enum LedgerView {
    /// There is none.
    Absent,
    /// What it holds, and what a write to it expects to find.
    Present {
        /// Its uid.
        uid: String,
        /// Its resourceVersion.
        resource_version: String,
        /// Its stamp.
        stamp: StampState,
        /// What it holds.
        ledger: PostgresLedgerSpec,
    },
}

/// The reign that decides, and what it has seen of the route so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReignView {
    /// Its term.
    pub term: Term,
    /// Who leads.
    pub holder: Holder,
    /// When it began to look at this route; anew after the process stood still, because nobody listened meanwhile.
    pub began: Tick,
    /// On how many nodes a pod of this route has replied in this reign.
    pub nodes_replied: usize,
    /// When it last wrote the mark, or began.
    pub mark_written: Tick,
}

/// The whole input of a decision about one route.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Now.
    pub at: Tick,
    /// The reign that decides.
    pub reign: ReignView,
    /// The route's memory.
    pub ledger: LedgerView,
    /// Whether a write to the ledger had no definite answer.
    pub ledger_unknown: bool,
    /// The route's pods.
    pub pods: BTreeMap<PodKey, PodView>,
    /// The EndpointSlices that the controller writes itself.
    pub slices: SlicesView,
    /// Whether a person paused the route.
    pub paused: bool,
    /// The uid of the pod whose data a person declared to be the truth.
    pub accept: Option<String>,
}

impl Observed {
    /// The mark, if there is one.
    pub(crate) fn mark(&self) -> Option<&Mark> {
        match &self.ledger {
            LedgerView::Present { ledger, .. } => ledger.mark.as_ref(),
            LedgerView::Absent => None,
        }
    }

    /// Whether the ledger may be written now. One whose last write is unsettled is stamped first; where there is none at all, a
    /// second creation is as good as a stamp: only one of the two can succeed.
    pub(crate) fn ledger_free(&self) -> bool {
        !self.ledger_unknown || self.ledger == LedgerView::Absent
    }
}

/// A fresh connection is made at least this often, however long the route's interval is.
const FRESH_EVERY: Duration = Duration::from_secs(1);

/// What the route's author decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Pause between two questions on the kept connection.
    pub interval: Duration,
    /// How long one question may take.
    pub timeout: Duration,
    /// A server that has given no answer for this long loses its role.
    pub silent_after: Duration,
    /// What to do when several servers take writes.
    pub split_brain: SplitBrainPolicy,
    /// How far a newly promoted server may be behind what was last primary, in bytes of write-ahead log.
    pub max_behind: u64,
    /// How long the write Service stays empty between a beaten server that still takes writes and its successor.
    pub beaten_gap: Duration,
}

impl Policy {
    /// The policy of a route.
    pub fn of(spec: &PostgresRouteSpec) -> Self {
        Self {
            interval: spec.probe.interval.0,
            timeout: spec.probe.timeout.0,
            silent_after: spec.probe.silent_after.0,
            split_brain: spec.split_brain.policy,
            max_behind: spec.split_brain.max_behind.0,
            beaten_gap: spec.split_brain.beaten_gap.0,
        }
    }

    /// The age up to which a sighting counts: the next one should have come long before. Three rounds, so that one that is
    /// lost or late changes nothing; never less than a fresh connection takes to come round, because that may be all there is.
    pub fn sighting_limit(&self) -> Duration {
        ((self.interval + self.timeout) * 3)
            .max(FRESH_EVERY + self.timeout)
            .min(self.silent_after)
    }
}
