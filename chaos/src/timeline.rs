//! What happened, and when: the history of a run, and what is read out of it. Pure: no clock, no cluster.
//!
//! ```text
//! watches (labels, EndpointSlices, Lease) ─┐
//! client pods' lines ──────────────────────┴─> Vec<Entry> ──> Switch, losses, most_primaries
//! ```
//!
//! Labels, slices and the Lease are stamped when the watcher heard of them, clients' answers by the clients: all by the one host clock.

mod losses;
#[cfg(test)]
mod tests;
mod world;

use std::collections::{BTreeMap, BTreeSet};

pub use losses::{Acknowledged, Cause, Loss, acknowledged, losses};
pub use world::World;

use crate::host_time::HostTime;
use crate::install::{PRIMARY, REPLICA};
use crate::workload::{self, Answerer, Line, Outcome, SessionKind};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was heard of; a client's line has its own stamp too, which counts.
    pub at: HostTime,
    /// What.
    pub what: Happening,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// Somebody outside did something: a fault, a promotion, a hand edit.
    Did(String),
    /// A pod's role label is this now, or is gone.
    Role {
        /// The pod.
        pod: String,
        /// The label's value.
        role: Option<String>,
    },
    /// A pod does not exist any more.
    PodGone {
        /// The pod.
        pod: String,
    },
    /// A Service's slices hold these ready addresses now.
    Endpoints {
        /// Which of the two Services.
        name: ServiceOf,
        /// The addresses.
        addresses: BTreeSet<String>,
    },
    /// The Lease names this holder now, or nobody.
    Leader {
        /// The holder.
        holder: Option<String>,
    },
    /// A client said something.
    Client {
        /// Which client.
        kind: workload::Kind,
        /// What it said.
        line: Line,
    },
}

/// One of the two names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceOf {
    /// The name for writes.
    Writes,
    /// The name for reads.
    Reads,
}

/// A server of the route, as it is called and as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its pod.
    pub pod: String,
    /// Its pod's address.
    pub address: String,
}

/// A change of the primary that was brought about: what is known of it without looking at the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// When it began: the old primary was killed, or the other was asked to promote itself.
    pub began: HostTime,
    /// When the promotion was asked for.
    pub asked: HostTime,
    /// When the promoted server first said that it is not in recovery.
    pub promoted: HostTime,
    /// The primary before.
    pub old: Server,
    /// The primary after.
    pub new: Server,
    /// The timeline that ended.
    pub old_timeline: u32,
}

/// How a change of the primary went. `None`: it has not happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// What was brought about.
    pub cut: Cut,
    /// The old primary's label was taken.
    pub withdrawn: Option<HostTime>,
    /// The old primary was gone from the write Service's slices.
    pub removed: Option<HostTime>,
    /// The new primary had the label.
    pub granted: Option<HostTime>,
    /// The new primary was in the write Service's slices.
    pub listed: Option<HostTime>,
    /// A new connection through the write Service's name had a write acknowledged by the new primary.
    pub first_write: Option<HostTime>,
    /// The old primary was labelled replica.
    pub rejoined: Option<HostTime>,
    /// A new connection through the read Service's name was answered by the old primary, now a standby.
    pub first_read: Option<HostTime>,
    /// The last write that the old primary acknowledged, where that was after the promotion.
    pub last_stale_write: Option<HostTime>,
}

impl Switch {
    /// Reads out of the history what became of a change.
    pub fn of(cut: Cut, history: &[Entry]) -> Self {
        let first = |matches: &dyn Fn(&Happening) -> bool| {
            let mut since = history.iter().filter(|entry| entry.at >= cut.began);
            since.find(|entry| matches(&entry.what)).map(|entry| entry.at)
        };
        let labelled =
            |server: &Server, wanted: &str| first(&|what| is_role(what, &server.pod, |role| role == Some(wanted)));
        let rejoined = labelled(&cut.old, REPLICA);
        let new_answers =
            |line: &&Line| matches!(&line.outcome, Outcome::Written { by, .. } if by.address == cut.new.address);
        let old_reads = |line: &&Line| matches!(&line.outcome, Outcome::Read { by, .. } if by.address == cut.old.address && by.in_recovery);
        let fresh_since = |since: HostTime, kind| {
            lines(history, kind).filter(move |line| line.session == SessionKind::Fresh && line.began >= since)
        };
        let stale = lines(history, workload::Kind::Write)
            .filter(|line| line.at > cut.promoted && written_by(line).is_some_and(|by| is_old(by, &cut)));
        Self {
            withdrawn: first(&|what| is_role(what, &cut.old.pod, |role| role != Some(PRIMARY))),
            removed: first(&|what| holds(what, ServiceOf::Writes, &cut.old.address) == Some(false)),
            granted: labelled(&cut.new, PRIMARY),
            listed: first(&|what| holds(what, ServiceOf::Writes, &cut.new.address) == Some(true)),
            first_write: fresh_since(cut.began, workload::Kind::Write)
                .find(new_answers)
                .map(|line| line.at),
            rejoined,
            first_read: rejoined.and_then(|rejoined| {
                fresh_since(rejoined, workload::Kind::Read)
                    .find(old_reads)
                    .map(|line| line.at)
            }),
            last_stale_write: stale.map(|line| line.at).max(),
            cut,
        }
    }

    /// What has not happened yet, in words. Empty: the change is complete.
    pub fn missing(&self) -> Vec<&'static str> {
        let steps = [
            (self.withdrawn, "the old primary keeps its label"),
            (
                self.removed,
                "the old primary is still in the write Service's EndpointSlice",
            ),
            (self.granted, "the new primary has no label"),
            (
                self.listed,
                "the new primary is not in the write Service's EndpointSlice",
            ),
            (
                self.first_write,
                "no new connection through the write Service wrote to the new primary",
            ),
            (self.rejoined, "the old primary has not come back as a replica"),
            (
                self.first_read,
                "no new connection through the read Service was answered by the old primary",
            ),
        ];
        steps
            .into_iter()
            .filter(|(at, _)| at.is_none())
            .map(|(_, missing)| missing)
            .collect()
    }

    /// The steps with their milliseconds since the change began, in no order.
    pub fn steps(&self) -> Vec<(&'static str, Option<i64>)> {
        let since = |at: HostTime| at.millis_since(self.cut.began);
        let asked = (self.cut.asked > self.cut.began).then(|| ("promotion asked for", Some(since(self.cut.asked))));
        let steps = [
            ("withdrawn", self.withdrawn.map(since)),
            ("out of the write EndpointSlice", self.removed.map(since)),
            ("promoted", Some(since(self.cut.promoted))),
            ("granted", self.granted.map(since)),
            ("in the write EndpointSlice", self.listed.map(since)),
            ("first write through the Service", self.first_write.map(since)),
            ("the old primary is a replica", self.rejoined.map(since)),
            ("first read from it through the Service", self.first_read.map(since)),
        ];
        steps.into_iter().chain(asked).collect()
    }

    /// For how long after the promotion the old primary acknowledged writes, in milliseconds. 0: for none.
    pub fn exposure_millis(&self) -> i64 {
        self.last_stale_write.map_or(0, |at| at.millis_since(self.cut.promoted))
    }
}

/// The greatest number of pods that carried the primary label at once.
pub fn most_primaries(history: &[Entry]) -> usize {
    let mut primaries: BTreeSet<&str> = BTreeSet::new();
    let mut most = 0;
    for entry in history {
        match &entry.what {
            Happening::Role { pod, role } if role.as_deref() == Some(PRIMARY) => {
                primaries.insert(pod);
            }
            Happening::Role { pod, .. } | Happening::PodGone { pod } => {
                primaries.remove(pod.as_str());
            }
            Happening::Did(_) | Happening::Endpoints { .. } | Happening::Leader { .. } | Happening::Client { .. } => {}
        }
        most = most.max(primaries.len());
    }
    most
}

/// The greatest number of addresses that the write Service's slices held at once.
pub fn most_write_endpoints(history: &[Entry]) -> usize {
    let sizes = history.iter().filter_map(|entry| match &entry.what {
        Happening::Endpoints {
            name: ServiceOf::Writes,
            addresses,
        } => Some(addresses.len()),
        _ => None,
    });
    sizes.max().unwrap_or(0)
}

/// How many attempts of each client failed, by what was said.
pub fn failures(history: &[Entry], kind: workload::Kind) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines(history, kind) {
        if let Outcome::Failed { error } = &line.outcome {
            *counts.entry(error.clone()).or_default() += 1;
        }
    }
    counts
}

/// The lines of one client.
pub fn lines(history: &[Entry], wanted: workload::Kind) -> impl Iterator<Item = &Line> {
    history.iter().filter_map(move |entry| match &entry.what {
        Happening::Client { kind, line } if *kind == wanted => Some(line),
        _ => None,
    })
}

fn is_role(what: &Happening, of: &str, wanted: impl Fn(Option<&str>) -> bool) -> bool {
    matches!(what, Happening::Role { pod, role } if pod == of && wanted(role.as_deref()))
        || matches!(what, Happening::PodGone { pod } if pod == of && wanted(None))
}

fn holds(what: &Happening, of: ServiceOf, address: &str) -> Option<bool> {
    match what {
        Happening::Endpoints { name, addresses } if *name == of => Some(addresses.contains(address)),
        _ => None,
    }
}

fn written_by(line: &Line) -> Option<&Answerer> {
    match &line.outcome {
        Outcome::Written { by, .. } => Some(by),
        Outcome::Read { .. } | Outcome::Failed { .. } => None,
    }
}

fn is_old(by: &Answerer, cut: &Cut) -> bool {
    by.address == cut.old.address && by.timeline == cut.old_timeline
}
