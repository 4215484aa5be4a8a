//! How things stand at the end of a history.

use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, Happening, ServiceOf};
use crate::host_time::HostTime;
use crate::install::PRIMARY;
use crate::workload::{Kind, Line, SessionKind};

/// How things stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// Every pod's role label.
    pub roles: BTreeMap<String, Option<String>>,
    /// What each Service's slices hold.
    pub endpoints: BTreeMap<ServiceOf, BTreeSet<String>>,
    /// The Lease's holder.
    pub leader: Option<String>,
    /// What each client has seen.
    pub clients: BTreeMap<Kind, Tally>,
}

/// What one client has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Attempts that were answered.
    pub answered: usize,
    /// Attempts that failed.
    pub failed: usize,
    /// The address and the timeline of who answered last, nobody when that attempt failed. Of new connections alone.
    pub last: Option<(String, u32)>,
    /// When that attempt began. One that hung is heard of after later ones, and tells nothing new.
    pub began: Option<HostTime>,
}

impl World {
    /// At the end of this history.
    pub fn after(history: &[Entry]) -> Self {
        let mut world = Self::default();
        for entry in history {
            world.take(&entry.what);
        }
        world
    }

    /// One more thing happened.
    pub fn take(&mut self, what: &Happening) {
        match what {
            Happening::Did(_) => {}
            Happening::Role { pod, role } => {
                self.roles.insert(pod.clone(), role.clone());
            }
            Happening::PodGone { pod } => {
                self.roles.remove(pod);
            }
            Happening::Endpoints { name, addresses } => {
                self.endpoints.insert(*name, addresses.clone());
            }
            Happening::Leader { holder } => self.leader.clone_from(holder),
            Happening::Client { kind, line } => self.clients.entry(*kind).or_default().take(line),
        }
    }

    /// The pod labelled primary.
    pub fn primary(&self) -> Option<&str> {
        let mut roles = self.roles.iter();
        roles
            .find(|(_, role)| role.as_deref() == Some(PRIMARY))
            .map(|(pod, _)| pod.as_str())
    }
}

impl Tally {
    /// Whether a line tells where the name leads, later than what is known: new connections alone do.
    pub fn is_newer(&self, line: &Line) -> bool {
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
