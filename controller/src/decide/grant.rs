//! What has to be true before a server gets the primary role. I1 of docs/invariants.md is kept here.

use std::fmt;

use shared::{
    ledger::Mark,
    planted::{Bug, is_planted},
    role::Role,
};

use super::{
    choose::Assessments,
    observed::{LabelState, LedgerView, Lifecycle, Observed, PodKey, PodView, Policy},
    plan::{Action, LedgerExpected, SwitchFrom},
    slices,
};
use crate::{clock::Tick, stamp::StampState};

/// Why the grant has to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The pod is being deleted.
    Terminating,
    /// Another pod still carries the label.
    OtherPrimary(String),
    /// A write to this object had no definite answer.
    Unknown(String),
    /// This object does not carry this reign's stamp yet.
    Unstamped(String),
    /// A beaten server still takes writes; the Services need a moment to let go of it.
    Beaten {
        /// The beaten server.
        pod: String,
        /// When the moment is over; `None`: it is still among the write Service's endpoints.
        until: Option<Tick>,
    },
    /// Somebody else keeps changing the label.
    Contested(Tick),
    /// The write Service's slices may not be written.
    Blocked(String),
    /// This slice of the write Service leads elsewhere.
    Listed(String),
    /// The pod has no address, or not the port, that the write Service needs.
    Unlistable,
    /// The mark is being raised.
    Mark,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminating => f.write_str("the pod is being deleted"),
            Self::OtherPrimary(pod) => write!(f, "{pod} still carries the primary label"),
            Self::Unknown(object) => write!(f, "a write to {object} had no definite answer"),
            Self::Unstamped(object) => write!(f, "{object} does not carry this leader's stamp yet"),
            Self::Beaten { pod, until: None } => {
                write!(
                    f,
                    "{pod} still takes writes and is still among the write Service's endpoints"
                )
            }
            Self::Beaten { pod, until: Some(_) } => {
                write!(f, "{pod} still takes writes; the Services get a moment to let go of it")
            }
            Self::Contested(_) => f.write_str("somebody else keeps changing its role label"),
            Self::Blocked(why) => f.write_str(why),
            Self::Listed(slice) => write!(f, "EndpointSlice {slice} still leads elsewhere"),
            Self::Unlistable => f.write_str("the pod has no address or port that the write Service could lead to"),
            Self::Mark => f.write_str("the mark is raised first"),
        }
    }
}

/// Whether the stamp is this reign's.
pub(crate) fn stamped(observed: &Observed, stamp: &StampState) -> bool {
    matches!(stamp, StampState::Known(stamp) if stamp.term == observed.reign.term && stamp.holder == observed.reign.holder)
}

/// Whether nobody of an earlier reign can change the ledger any more: it carries this reign's stamp and term, or is not there.
pub(crate) fn ledger_stamped(observed: &Observed) -> bool {
    match &observed.ledger {
        LedgerView::Absent => true,
        LedgerView::Present { stamp, ledger, .. } => {
            stamped(observed, stamp) && ledger.term_floor == observed.reign.term
        }
    }
}

/// Whether the role may be granted to `chosen` in this turn. The mark is looked at last, by [`raise`].
pub(crate) fn may(
    observed: &Observed,
    chosen: &PodKey,
    pod: &PodView,
    assessments: &Assessments<'_>,
    policy: &Policy,
) -> Result<(), Wait> {
    if pod.lifecycle != Lifecycle::Alive {
        return Err(Wait::Terminating);
    }
    if let Some(until) = pod.repair_not_before.filter(|until| *until > observed.at) {
        return Err(Wait::Contested(until));
    }
    if observed.ledger_unknown {
        return Err(Wait::Unknown("the ledger".to_owned()));
    }
    if !ledger_stamped(observed) && !is_planted(Bug::NoStamp) {
        return Err(Wait::Unstamped("the ledger".to_owned()));
    }
    for (key, other) in &observed.pods {
        if other.unknown {
            return Err(Wait::Unknown(format!("pod {}", key.name)));
        }
        if !stamped(observed, &other.stamp) && !is_planted(Bug::NoStamp) {
            return Err(Wait::Unstamped(format!("pod {}", key.name)));
        }
        if key == chosen {
            continue;
        }
        if other.label == LabelState::Known(Role::Primary) && !is_planted(Bug::GrantBeforeWithdraw) {
            return Err(Wait::OtherPrimary(key.name.clone()));
        }
        if assessments.get(key).is_some_and(|assessment| assessment.may_write) {
            let until = other.out_of_write_since.map(|since| since + policy.beaten_gap);
            if until.is_none_or(|until| until > observed.at) {
                return Err(Wait::Beaten {
                    pod: key.name.clone(),
                    until,
                });
            }
        }
    }
    slices::may(observed, chosen)
}

/// The write that makes `wanted` the mark, unless it already is.
pub(crate) fn raise(observed: &Observed, wanted: Mark) -> Option<Action> {
    let (expected, held) = match &observed.ledger {
        LedgerView::Absent => (None, None),
        LedgerView::Present {
            uid,
            resource_version,
            ledger,
            ..
        } => (
            Some(LedgerExpected {
                uid: uid.clone(),
                resource_version: resource_version.clone(),
            }),
            ledger.mark.as_ref(),
        ),
    };
    if held.is_some_and(|held| same_claim(held, &wanted)) {
        return None;
    }
    let switch = SwitchFrom {
        pod: held.map(|held| held.pod.clone()),
    };
    Some(Action::SetMark {
        expected,
        mark: wanted,
        switch: Some(switch),
    })
}

/// Whether two marks name the same data on the same timeline, however far it has come.
pub(crate) fn same_claim(a: &Mark, b: &Mark) -> bool {
    a.system_identifier == b.system_identifier && a.timeline == b.timeline && a.data == b.data
}

/// Whether the pod's label was written by a leader: it carries a stamp.
pub(crate) fn earned(pod: &PodView) -> bool {
    matches!(pod.stamp, StampState::Known(_))
}
