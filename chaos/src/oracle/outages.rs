//! When new connections through a name were not served: what clients feel.

use super::Facts;
use crate::history::ServiceOf;
use crate::host_time::HostTime;
use crate::workload::{Kind, Line, Outcome, SessionKind};

/// A time without service through one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Which name.
    pub service: ServiceOf,
    /// The last answer before it.
    pub from: HostTime,
    /// The first answer after it; nothing when none came.
    pub to: Option<HostTime>,
    /// Attempts that failed meanwhile.
    pub failed: usize,
    /// What the first of them was told.
    pub first_error: String,
}

/// Every outage, by its beginning. Only new connections tell: a held session may live on while the name leads nowhere.
pub(super) fn outages(facts: &Facts<'_>) -> Vec<Outage> {
    let mut outages = of(facts, Kind::Write, ServiceOf::Writes);
    outages.extend(of(facts, Kind::Read, ServiceOf::Reads));
    outages.sort_by_key(|outage| outage.from);
    outages
}

fn of(facts: &Facts<'_>, kind: Kind, service: ServiceOf) -> Vec<Outage> {
    let mut lines: Vec<&Line> = facts
        .lines(kind)
        .filter(|line| line.session == SessionKind::Fresh)
        .collect();
    // An attempt that hangs is told late: what counts is when it was begun.
    lines.sort_by_key(|line| line.began);
    let mut outages: Vec<Outage> = Vec::new();
    let mut last = facts.history.header.began;
    let mut open = false;
    for line in lines {
        match &line.outcome {
            Outcome::Failed { .. } if open => {
                if let Some(outage) = outages.last_mut() {
                    outage.failed += 1;
                }
            }
            Outcome::Failed { error } => {
                open = true;
                outages.push(Outage {
                    service,
                    from: last,
                    to: None,
                    failed: 1,
                    first_error: error.clone(),
                });
            }
            Outcome::Written { .. } | Outcome::Read { .. } => {
                if let Some(outage) = outages.last_mut().filter(|_| open) {
                    outage.to = Some(line.at);
                }
                open = false;
                last = line.at;
            }
        }
    }
    outages
}
