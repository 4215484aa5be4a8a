//! Which acknowledged writes are gone, and through whose doing.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Entry, Switch, is_old, lines, written_by};
use crate::host_time::HostTime;
use crate::workload::{self, Answerer, Outcome, SessionKind};

/// kube-proxy leaves a second between two syncs: a connection begun later than this after the slice changed went by rules that
/// should have been replaced. Half a second is for the sync itself on a busy host.
const KUBE_PROXY_MAX: Duration = Duration::from_millis(1500);

/// A write that a server acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// The row's number.
    pub id: u64,
    /// When the acknowledgement was there.
    pub at: HostTime,
    /// When its connection was begun.
    pub began: HostTime,
    /// Over what.
    pub session: SessionKind,
    /// By whom.
    pub by: Answerer,
}

/// An acknowledged write that the last primary does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The row's number.
    pub id: u64,
    /// When it was acknowledged.
    pub at: HostTime,
    /// Through whose doing.
    pub cause: Cause,
}

/// Through whose doing an acknowledged write is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Acknowledged before the promotion was asked for, by a primary that had not sent it to the standby: asynchronous replication
    /// loses this, whoever routes.
    Failover,
    /// Acknowledged by a primary that ran on, while the standby was being promoted and received nothing any more. The promoter's doing:
    /// nobody can see a promotion before it is there.
    Promotion,
    /// Acknowledged by a primary that was beaten while it ran, between the promotion and the end of kube-proxy's old rules.
    Exposure,
    /// The same, through a session that was opened before the switch and that no Service change cuts.
    OpenSession,
    /// Through a connection that was begun when the Service should have led to the new primary. Never happens, or the test fails.
    Routing,
}

/// Every write of the history that was acknowledged.
pub fn acknowledged(history: &[Entry]) -> Vec<Acknowledged> {
    let written = lines(history, workload::Kind::Write).filter_map(|line| match &line.outcome {
        Outcome::Written { id, .. } => Some((line, *id, written_by(line)?)),
        Outcome::Read { .. } | Outcome::Failed { .. } => None,
    });
    written
        .map(|(line, id, by)| Acknowledged {
            id,
            at: line.at,
            began: line.began,
            session: line.session,
            by: by.clone(),
        })
        .collect()
}

/// Those that are not among `present`, each with its cause.
pub fn losses(acknowledged: &[Acknowledged], present: &BTreeSet<u64>, switches: &[Switch]) -> Vec<Loss> {
    let gone = acknowledged.iter().filter(|write| !present.contains(&write.id));
    gone.map(|write| Loss {
        id: write.id,
        at: write.at,
        cause: cause(write, switches),
    })
    .collect()
}

fn cause(write: &Acknowledged, switches: &[Switch]) -> Cause {
    // A row of a timeline that nothing ended cannot be gone by a switch: the worst is assumed.
    let Some(switch) = switches.iter().find(|switch| is_old(&write.by, &switch.cut)) else {
        return Cause::Routing;
    };
    let rules_end = switch.removed.map(|removed| removed.after(KUBE_PROXY_MAX));
    if write.at <= switch.cut.asked {
        Cause::Failover
    } else if write.at <= switch.cut.promoted {
        Cause::Promotion
    } else if rules_end.is_some_and(|end| write.began > end) {
        Cause::Routing
    } else if write.session.is_held() {
        Cause::OpenSession
    } else {
        Cause::Exposure
    }
}
