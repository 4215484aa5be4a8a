//! A change of the primary, step by step, as the history tells it. Pure: no clock, no cluster.
//!
//! Labels, slices and the Lease are stamped when the recorder heard of them, clients' answers by the clients: all by the one host clock.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::console::Server;
use crate::history::{Event, Happening, ServiceOf};
use crate::host_time::HostTime;
use crate::install::{PRIMARY, REPLICA};
use crate::workload::{Answerer, Kind, Line, Outcome, SessionKind};

/// A change of the primary that was brought about: what is known of it without looking at the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    /// When it began: the old primary was killed, or the other was asked to promote itself.
    pub(super) began: HostTime,
    /// When the promotion was asked for.
    pub(super) asked: HostTime,
    /// When the promoted server first said that it is not in recovery.
    pub(super) promoted: HostTime,
    /// The primary before.
    pub(super) old: Server,
    /// The primary after.
    pub(super) new: Server,
    /// The timeline that ended.
    pub(super) old_timeline: u32,
}

/// How a change of the primary went. `None`: it has not happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Switch {
    /// What was brought about.
    pub(super) cut: Cut,
    /// The old primary's label was taken.
    pub(super) withdrawn: Option<HostTime>,
    /// The old primary was gone from the write Service's slices.
    pub(super) removed: Option<HostTime>,
    /// The new primary had the label.
    pub(super) granted: Option<HostTime>,
    /// The new primary was in the write Service's slices.
    pub(super) listed: Option<HostTime>,
    /// A new connection through the write Service's name had a write acknowledged by the new primary.
    pub(super) first_write: Option<HostTime>,
    /// The old primary was labelled replica.
    pub(super) rejoined: Option<HostTime>,
    /// A new connection through the read Service's name was answered by the old primary, now a standby.
    pub(super) first_read: Option<HostTime>,
    /// The last write that the old primary acknowledged, where that was after the promotion.
    pub(super) last_stale_write: Option<HostTime>,
}

impl Switch {
    /// Reads out of the history what became of a change.
    pub(super) fn of(cut: Cut, events: &[Event]) -> Self {
        let first = |matches: &dyn Fn(&Happening) -> bool| {
            let mut since = events.iter().filter(|event| event.at >= cut.began);
            since.find(|event| matches(&event.what)).map(|event| event.at)
        };
        let labelled =
            |server: &Server, wanted: &str| first(&|what| is_role(what, &server.pod, |role| role == Some(wanted)));
        let rejoined = labelled(&cut.old, REPLICA);
        let new_answers =
            |line: &&Line| matches!(&line.outcome, Outcome::Written { by, .. } if by.address == cut.new.address);
        let old_reads = |line: &&Line| matches!(&line.outcome, Outcome::Read { by, .. } if by.address == cut.old.address && by.in_recovery);
        let fresh_since = |since: HostTime, kind| {
            lines(events, kind).filter(move |line| line.session == SessionKind::Fresh && line.began >= since)
        };
        let stale = lines(events, Kind::Write)
            .filter(|line| line.at > cut.promoted && written_by(line).is_some_and(|by| is_old(by, &cut)));
        Self {
            withdrawn: first(&|what| is_role(what, &cut.old.pod, |role| role != Some(PRIMARY))),
            removed: first(&|what| holds(what, ServiceOf::Writes, &cut.old.address) == Some(false)),
            granted: labelled(&cut.new, PRIMARY),
            listed: first(&|what| holds(what, ServiceOf::Writes, &cut.new.address) == Some(true)),
            first_write: fresh_since(cut.began, Kind::Write)
                .find(new_answers)
                .map(|line| line.at),
            rejoined,
            first_read: rejoined
                .and_then(|rejoined| fresh_since(rejoined, Kind::Read).find(old_reads).map(|line| line.at)),
            last_stale_write: stale.map(|line| line.at).max(),
            cut,
        }
    }

    /// What has not happened yet, in words. Empty: the change is complete.
    pub(super) fn missing(&self) -> Vec<&'static str> {
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
    pub(super) fn steps(&self) -> Vec<(&'static str, Option<i64>)> {
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
    pub(super) fn exposure_millis(&self) -> i64 {
        self.last_stale_write.map_or(0, |at| at.millis_since(self.cut.promoted))
    }
}

/// How many attempts of each client failed, by what was said.
pub(super) fn failures(events: &[Event], kind: Kind) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines(events, kind) {
        if let Outcome::Failed { error } = &line.outcome {
            *counts.entry(error.clone()).or_default() += 1;
        }
    }
    counts
}

/// The lines of one client.
pub(super) fn lines(events: &[Event], wanted: Kind) -> impl Iterator<Item = &Line> {
    events.iter().filter_map(move |event| match &event.what {
        Happening::Client { kind, line, .. } if *kind == wanted => Some(line),
        _ => None,
    })
}

fn is_role(what: &Happening, of: &str, wanted: impl Fn(Option<&str>) -> bool) -> bool {
    matches!(what, Happening::Pod(seen) if seen.pod == of && wanted(seen.role.as_deref()))
        || matches!(what, Happening::PodGone { pod, .. } if pod == of && wanted(None))
}

fn holds(what: &Happening, of: ServiceOf, address: &str) -> Option<bool> {
    match what {
        Happening::Endpoints { service, ready, .. } if *service == of => Some(ready.contains(address)),
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
