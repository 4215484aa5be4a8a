//! How things stand at the end of what has been heard, for the live table.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Event, Happening, ServiceOf, State};
use crate::host_time::HostTime;
use crate::workload::{Kind, Line, SessionKind};

/// How things stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct World {
    /// Every pod's role label.
    pub(super) roles: BTreeMap<String, Option<String>>,
    /// What every server says of itself, by its pod.
    pub(super) states: BTreeMap<String, State>,
    /// The ready endpoints of each Service.
    pub(super) endpoints: BTreeMap<ServiceOf, BTreeSet<String>>,
    /// The Lease's holder.
    pub(super) leader: Option<String>,
    /// What each client has seen.
    pub(super) clients: BTreeMap<Kind, Tally>,
}

/// What one client has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Attempts that were answered.
    pub(super) answered: usize,
    /// Attempts that failed.
    pub(super) failed: usize,
    /// The address and the timeline of who answered last, nobody when that attempt failed. Of new connections alone.
    pub(super) last: Option<(String, u32)>,
    /// When that attempt began. One that hung is heard of after later ones, and tells nothing new.
    pub(super) began: Option<HostTime>,
}

impl World {
    /// One more thing happened.
    pub(super) fn take(&mut self, event: &Event) {
        match &event.what {
            Happening::Pod(seen) => drop(self.roles.insert(seen.pod.clone(), seen.role.clone())),
            Happening::PodGone { pod, .. } => {
                self.roles.remove(pod);
                self.states.remove(pod);
            }
            Happening::Standing(standing) => {
                self.states.insert(standing.pod.clone(), standing.state.clone());
            }
            Happening::Endpoints { service, ready, .. } => drop(self.endpoints.insert(*service, ready.clone())),
            Happening::Lease { holder, .. } => self.leader.clone_from(holder),
            Happening::Client { kind, line, .. } => self.clients.entry(*kind).or_default().take(line),
            Happening::Ledger { .. }
            | Happening::Write(_)
            | Happening::Observed { .. }
            | Happening::Fault { .. }
            | Happening::Promotion { .. }
            | Happening::Note { .. }
            | Happening::Rows(_)
            | Happening::Gap { .. }
            | Happening::End => {}
        }
    }
}

impl Tally {
    /// Whether a line tells where the name leads, later than what is known: new connections alone do.
    pub(super) fn is_newer(&self, line: &Line) -> bool {
        line.session == SessionKind::Fresh && self.began.is_none_or(|began| began < line.began)
    }

    fn take(&mut self, line: &Line) {
        let by = line.outcome.by().map(|by| (by.address.clone(), by.timeline));
        if by.is_some() {
            self.answered += 1;
        } else {
            self.failed += 1;
        }
        if self.is_newer(line) {
            self.last = by;
            self.began = Some(line.began);
        }
    }
}
