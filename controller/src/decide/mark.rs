//! The mark: what it is made of, how it is kept up, and how a person moves it.

use std::time::Duration;

use probe::Report;
use shared::{ledger::Mark, role::Role, route::SplitBrainPolicy};

use super::{
    Draft, View,
    choose::{self, Assessments, Choice},
    evidence::takes_writes,
    grant,
    observed::{LabelState, LedgerView, Observed, PodKey, PodView, Policy},
    plan::{Action, Finding, LedgerExpected, SwitchFrom},
};

/// The mark's position is refreshed at most this often: a write a minute and a route is what the promise costs the API server.
const UPKEEP_EVERY: Duration = Duration::from_mins(1);

/// The mark that a primary sets.
pub(crate) fn of(key: &PodKey, pod: &PodView, report: &Report) -> Mark {
    Mark {
        system_identifier: report.system_identifier,
        timeline: report.timeline,
        lsn: report.lsn,
        data: pod.data.clone(),
        pod: key.name.clone(),
    }
}

impl View<'_> {
    /// What the pod's server says of itself, if it answers.
    pub(super) fn report(&self, key: &PodKey) -> Option<&Report> {
        self.assessments.get(key).and_then(|assessment| assessment.report)
    }

    /// Whether the mark is this server's.
    pub(super) fn marked(&self, key: &PodKey, report: &Report) -> bool {
        let pod = self.observed.pods.get(key);
        pod.is_some_and(|pod| {
            self.mark
                .is_some_and(|mark| grant::same_claim(mark, &of(key, pod, report)))
        })
    }

    fn expected(&self) -> Option<LedgerExpected> {
        match &self.observed.ledger {
            LedgerView::Absent => None,
            LedgerView::Present {
                uid, resource_version, ..
            } => Some(LedgerExpected {
                uid: uid.clone(),
                resource_version: resource_version.clone(),
            }),
        }
    }

    /// Keeps the mark's position near the primary's, at most once a minute and only while write-ahead log moves.
    pub(super) fn upkeep(&self, draft: &mut Draft) {
        let Some(key) = self.chosen.choice.chosen() else { return };
        let (Some(pod), Some(report), Some(mark)) = (self.observed.pods.get(key), self.report(key), self.mark) else {
            return;
        };
        let holds = pod.label == LabelState::Known(Role::Primary) && self.marked(key, report);
        if !holds || report.lsn <= mark.lsn {
            return;
        }
        let due = self.observed.reign.mark_written + UPKEEP_EVERY;
        if self.observed.at < due {
            draft.wake(due);
        } else if !draft
            .actions
            .iter()
            .any(|action| matches!(action, Action::SetMark { .. } | Action::StampLedger { .. }))
        {
            draft.actions.push(Action::SetMark {
                expected: self.expected(),
                mark: of(key, pod, report),
                switch: None,
            });
        }
    }

    /// Carries a person's word out: the mark is set, downwards too, and the annotation goes once it is.
    pub(super) fn accept(&self, draft: &mut Draft) {
        match &self.accept {
            Accept::Refused(why) => draft.findings.push(Finding::AcceptRefused { why: why.clone() }),
            Accept::Done => draft.actions.push(Action::ClearAccept),
            Accept::Set(mark) if self.observed.ledger_free() => {
                let switch = SwitchFrom {
                    pod: self.observed.mark().map(|held| held.pod.clone()),
                };
                draft
                    .actions
                    .retain(|action| !matches!(action, Action::StampLedger { .. }));
                draft.actions.push(Action::SetMark {
                    expected: self.expected(),
                    mark: mark.clone(),
                    switch: Some(switch),
                });
            }
            Accept::Nothing | Accept::Set(_) => {}
        }
    }
}

/// What becomes of a person's word that one server's data is the truth.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Accept {
    /// Nobody said anything.
    Nothing,
    /// It cannot be, and why.
    Refused(String),
    /// The mark is to be set to this. Everything is decided as if it already were, except that nothing is granted before it is.
    Set(Mark),
    /// The mark is that server's.
    Done,
}

/// Judges a person's word. It is refused while another server would be chosen all the same: the mark would only move back.
pub(crate) fn judge(observed: &Observed, assessments: &Assessments<'_>, policy: &Policy) -> Accept {
    let Some(uid) = observed.accept.as_ref().filter(|_| !observed.paused) else {
        return Accept::Nothing;
    };
    let Some((key, pod)) = observed.pods.iter().find(|(key, _)| key.uid == *uid) else {
        return Accept::Refused(format!("no pod of this route has the uid {uid}"));
    };
    if pod.excluded {
        return Accept::Refused(format!("{} is excluded", key.name));
    }
    let report = assessments.get(key).and_then(|assessment| assessment.report);
    let Some(report) = report.filter(|report| takes_writes(report)) else {
        return Accept::Refused(format!("{} does not take writes", key.name));
    };
    let accepted = of(key, pod, report);
    let by_timeline = Policy {
        split_brain: SplitBrainPolicy::HighestTimeline,
        ..policy.clone()
    };
    match choose::against_mark(observed, &accepted, assessments, &by_timeline).choice {
        Choice::One(chosen) if chosen == key => {}
        Choice::One(other) | Choice::Unproven(other) => {
            let (its, other) = (key.name.as_str(), other.name.as_str());
            return Accept::Refused(format!(
                "{other} takes writes on a higher timeline than {its}: stop or exclude it first"
            ));
        }
        Choice::Early(unheard) => return Accept::Refused(format!("{} has not been heard yet", unheard.name)),
        Choice::Nobody | Choice::Tie(_) | Choice::Frozen(_) | Choice::Dropped(_) | Choice::NoMark(_) => {
            return Accept::Refused(format!(
                "{} is not the only one with this claim: stop or exclude the others first",
                key.name
            ));
        }
    }
    let held = observed
        .mark()
        .is_some_and(|mark| grant::same_claim(mark, &accepted) && mark.lsn <= accepted.lsn);
    if held { Accept::Done } else { Accept::Set(accepted) }
}
