//! What the probes of one pod have shown so far, kept as plain data.

use std::{net::IpAddr, time::Duration};

use probe::{Evidence, Report};
use shared::wal::Lsn;

use crate::clock::Tick;

/// Which of the two connections a sighting came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// A connection opened for this one question.
    Fresh,
    /// The connection that is kept open.
    Kept,
}

/// One dated piece of evidence from one probe of one pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Sighting {
    /// When the question was asked: what is said to it is no older.
    pub at: Tick,
    /// How long the question took.
    pub took: Duration,
    /// The address that was asked.
    pub ip: IpAddr,
    /// What it is worth.
    pub evidence: Evidence,
    /// What the server said of itself, if it answered.
    pub report: Option<Report>,
    /// Whether anything replied at all, if only with a refusal.
    pub reply: bool,
    /// Whether the connection was refused: nobody listens there.
    pub refused: bool,
    /// What went wrong, in words, without secrets; empty for an answer.
    pub detail: String,
}

/// The standby received something between two sightings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// The earlier sighting, which had less.
    pub from: Tick,
    /// The later one, which had more.
    pub to: Tick,
}

/// What the probes of one pod have shown so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sightings {
    /// The newest by a fresh connection.
    pub fresh: Option<Sighting>,
    /// The newest by the kept connection.
    pub kept: Option<Sighting>,
    /// When anything last replied.
    pub replied: Option<Tick>,
    /// When the server was last seen alive in a way that keeps a role: it answered, or it barred us.
    pub alive: Option<Tick>,
    /// The last answer, and when.
    pub answer: Option<(Tick, Report)>,
    /// The last time that the WAL receiver was seen to have received more than before.
    pub advance: Option<Advance>,
    /// Since when the deciding sighting has been worth what it is now.
    pub since: Option<Tick>,
    /// What had been received at the last sighting that said so.
    received: Option<(Tick, Lsn)>,
}

impl Sightings {
    /// Takes a new sighting in.
    pub fn record(&mut self, via: Via, sighting: Sighting) {
        let at = sighting.at;
        let before = self.evidence();
        if sighting.reply {
            self.replied = Some(at);
        }
        // A kept session hides a hung postmaster: while the door is shut its good news keeps no role.
        let hidden = via == Via::Kept && self.fresh.as_ref().is_some_and(is_bad);
        let alive = matches!(
            sighting.evidence,
            Evidence::Writable | Evidence::InRecovery | Evidence::Barred
        );
        if alive && !hidden {
            self.alive = Some(at);
        }
        if let Some(report) = &sighting.report {
            if let Some(received) = report.receiver.and_then(|receiver| receiver.received) {
                if let Some((from, before)) = self.received
                    && received > before
                {
                    self.advance = Some(Advance { from, to: at });
                }
                self.received = Some((at, received));
            }
            self.answer = Some((at, report.clone()));
        }
        match via {
            Via::Fresh => self.fresh = Some(sighting),
            Via::Kept => self.kept = Some(sighting),
        }
        if self.evidence() != before {
            self.since = Some(at);
        }
    }

    fn evidence(&self) -> Option<Evidence> {
        self.deciding().map(|sighting| sighting.evidence)
    }

    /// The sighting that decides: the newest, but a fresh connection's bad news outranks the kept one's good news until a
    /// fresh one succeeds, because a kept session hides a hung postmaster.
    pub fn deciding(&self) -> Option<&Sighting> {
        match (&self.fresh, &self.kept) {
            (Some(fresh), Some(kept)) => Some(if is_bad(fresh) || fresh.at >= kept.at {
                fresh
            } else {
                kept
            }),
            (fresh, kept) => fresh.as_ref().or(kept.as_ref()),
        }
    }
}

/// Whether what a fresh connection met outranks what a kept session says.
const fn is_bad(fresh: &Sighting) -> bool {
    matches!(fresh.evidence, Evidence::Down | Evidence::Starting | Evidence::Silent)
}

#[cfg(test)]
mod tests;
