//! Which servers may be primary, measured against the mark. I9 of docs/invariants.md is kept here.

use std::fmt;

use probe::Report;
use shared::{
    ledger::{DataIdentity, Mark},
    planted::{Bug, is_planted},
    wal::{Lsn, SystemIdentifier, Timeline},
};

/// Why a server may not be primary, or a standby not be a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ineligible {
    /// It is another cluster.
    OtherSystem {
        /// The server's.
        its: SystemIdentifier,
        /// The mark's.
        mark: SystemIdentifier,
    },
    /// Its history ended before the mark's.
    OldTimeline {
        /// The server's.
        its: Timeline,
        /// The mark's.
        mark: Timeline,
    },
    /// It is on the mark's timeline, but is not the data that wrote it.
    OtherData {
        /// The server's.
        its: DataIdentity,
        /// The mark's.
        mark: DataIdentity,
    },
    /// It is the mark's data, but from an earlier time: a restored or lost volume.
    BelowMark {
        /// The server's.
        its: Lsn,
        /// The mark's.
        mark: Lsn,
    },
    /// It was promoted, but from too far behind.
    TooFarBehind {
        /// The server's.
        its: Lsn,
        /// What the last primary is known to have.
        last: Lsn,
    },
    /// A standby that is ahead of the mark's timeline: it follows somebody that was not chosen.
    AheadOfMark {
        /// The server's.
        its: Timeline,
        /// The mark's.
        mark: Timeline,
    },
}

impl fmt::Display for Ineligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherSystem { its, mark } => {
                write!(
                    f,
                    "it is another cluster: system identifier {its}, the route's is {mark}"
                )
            }
            Self::OldTimeline { its, mark } => {
                write!(
                    f,
                    "it is stale: timeline {its}, the last primary was on timeline {mark}"
                )
            }
            Self::OtherData { its, mark } => {
                write!(
                    f,
                    "on this timeline the primary was {}, this is {}",
                    mark.name, its.name
                )
            }
            Self::BelowMark { its, mark } => {
                write!(f, "its data went back: it is at {its}, the primary had reached {mark}")
            }
            Self::TooFarBehind { its, last } => {
                write!(
                    f,
                    "it was promoted too far behind: it is at {its}, the last primary had reached {last}"
                )
            }
            Self::AheadOfMark { its, mark } => {
                write!(
                    f,
                    "it follows timeline {its}, the route's primary is on timeline {mark}"
                )
            }
        }
    }
}

/// Whether a server that takes writes may be primary. `reached` is how far the mark's own server is known to have come: its
/// present position while it still takes writes, or what it said last before it fell silent; never less than the mark's.
pub(crate) fn primary(
    report: &Report,
    data: &DataIdentity,
    mark: &Mark,
    reached: Lsn,
    max_behind: u64,
) -> Result<(), Ineligible> {
    if is_planted(Bug::NoMark) {
        return Ok(());
    }
    same_system(report, mark)?;
    match report.timeline.cmp(&mark.timeline) {
        std::cmp::Ordering::Less => Err(Ineligible::OldTimeline {
            its: report.timeline,
            mark: mark.timeline,
        }),
        std::cmp::Ordering::Equal if *data != mark.data => Err(Ineligible::OtherData {
            its: data.clone(),
            mark: mark.data.clone(),
        }),
        std::cmp::Ordering::Equal if report.lsn < mark.lsn => Err(Ineligible::BelowMark {
            its: report.lsn,
            mark: mark.lsn,
        }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => {
            let enough = report.lsn >= reached.minus(max_behind);
            if enough {
                Ok(())
            } else {
                Err(Ineligible::TooFarBehind {
                    its: report.lsn,
                    last: reached,
                })
            }
        }
    }
}

/// Whether a standby may be a replica. `timeline` is the route's: the mark's, or that of the server that is about to raise it.
pub(crate) fn replica(report: &Report, mark: &Mark, timeline: Timeline) -> Result<(), Ineligible> {
    same_system(report, mark)?;
    if report.timeline > timeline {
        return Err(Ineligible::AheadOfMark {
            its: report.timeline,
            mark: timeline,
        });
    }
    Ok(())
}

fn same_system(report: &Report, mark: &Mark) -> Result<(), Ineligible> {
    if report.system_identifier == mark.system_identifier {
        Ok(())
    } else {
        Err(Ineligible::OtherSystem {
            its: report.system_identifier,
            mark: mark.system_identifier,
        })
    }
}
