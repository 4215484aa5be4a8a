//! Acknowledged writes that the last primary does not have, and through whose doing.

use std::collections::BTreeMap;

use super::facts::Promotion;
use super::writes::{Route, route};
use super::{Breach, Facts, Finding};
use crate::history::{Happening, Rows, ServiceOf};
use crate::host_time::HostTime;
use crate::workload::{Answerer, Kind, Line, Outcome};

/// An acknowledged write that the last primary does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The row's number.
    pub id: u64,
    /// When it was acknowledged.
    pub at: HostTime,
    /// Through whose doing it is gone.
    pub cause: Cause,
}

/// Through whose doing an acknowledged write is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Acknowledged before the promotion by a primary that had not sent it to the standby: asynchronous replication loses this, whoever
    /// routes.
    Failover,
    /// Acknowledged after the promotion by the beaten primary, over a connection that the name was still right to make.
    Exposure,
    /// The same over a session that was opened before, and that no Service change cuts.
    StaleSession,
    /// The same over a new connection that the client's node led where an earlier one from the same port had gone.
    RememberedPort,
    /// Over a connection to where the name did not lead, or of a timeline that nothing ended. Never happens, or the run fails.
    Routing,
}

impl Cause {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 5] = [
        Self::Failover,
        Self::Exposure,
        Self::StaleSession,
        Self::RememberedPort,
        Self::Routing,
    ];

    /// The cause as a person reads it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Failover => "with the failover itself (asynchronous replication)",
            Self::Exposure => "to the beaten primary before the name followed (exposure)",
            Self::StaleSession => "over sessions that outlived the switch (stale session)",
            Self::RememberedPort => {
                "from ports that the client's node still led to the beaten primary (connection tracking)"
            }
            Self::Routing => "by routing",
        }
    }
}

pub(super) fn check(facts: &Facts<'_>, losses: &[Loss]) -> Finding {
    let told = match rows(facts) {
        None => "not judged: there was no primary at the end".to_owned(),
        Some(_) if losses.is_empty() => "none".to_owned(),
        Some(_) => counts(losses)
            .iter()
            .map(|(cause, count)| format!("{count} {}", cause.words()))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let astray = losses.iter().filter(|loss| loss.cause == Cause::Routing);
    Finding {
        rule: "no-write-lost-by-routing",
        text: "no acknowledged write is lost by routing",
        seen: told,
        breaches: astray
            .map(|loss| Breach {
                at: loss.at,
                seen: format!("row {} was acknowledged and is gone", loss.id),
            })
            .collect(),
    }
}

/// How many writes were lost, by cause.
pub(super) fn counts(losses: &[Loss]) -> BTreeMap<Cause, usize> {
    let mut counts = BTreeMap::new();
    for loss in losses {
        *counts.entry(loss.cause).or_default() += 1;
    }
    counts
}

/// Every acknowledged write that is not among the rows at the end. None when nobody could tell the rows.
pub(super) fn losses(facts: &Facts<'_>) -> Vec<Loss> {
    let Some(rows) = rows(facts) else {
        return Vec::new();
    };
    let promotions = facts.promotions();
    let lost = facts
        .attempts(Kind::Write)
        .filter_map(|(client, line)| match &line.outcome {
            Outcome::Written { id, by } if rows.lack(*id, line.at) => Some(Loss {
                id: *id,
                at: line.at,
                cause: cause(facts, &promotions, client, line, by),
            }),
            Outcome::Written { .. } | Outcome::Read { .. } | Outcome::Failed { .. } => None,
        });
    lost.collect()
}

fn rows<'a>(facts: &Facts<'a>) -> Option<&'a Rows> {
    let mut events = facts.history.events.iter().rev();
    events.find_map(|event| match &event.what {
        Happening::Rows(rows) => Some(rows),
        _ => None,
    })
}

fn cause(facts: &Facts<'_>, promotions: &[Promotion<'_>], client: &str, line: &Line, by: &Answerer) -> Cause {
    // Another promotion in the same system ended the timeline that it was written on; else the worst is assumed.
    let ended = promotions
        .iter()
        .find(|promotion| promotion.system == by.system && promotion.timeline > by.timeline);
    let Some(ended) = ended else {
        return Cause::Routing;
    };
    if line.at <= ended.at {
        return Cause::Failover;
    }
    match route(facts, ServiceOf::Writes, client, line, by) {
        Route::Astray => Cause::Routing,
        Route::Remembered => Cause::RememberedPort,
        Route::Outlived => Cause::StaleSession,
        Route::Entitled if line.session.is_held() && line.opened.is_some_and(|opened| opened <= ended.at) => {
            Cause::StaleSession
        }
        Route::Entitled => Cause::Exposure,
    }
}
