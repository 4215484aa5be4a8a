//! The mark: what it is made of, how it is kept up, and how a person moves it.

use std::time::Duration;

use probe::Report;
use shared::{ledger::Mark, role::Role};

use super::{
    Draft, View,
    evidence::takes_writes,
    grant,
    observed::{LabelState, LedgerView, PodKey, PodView},
    plan::{Action, Finding, LedgerExpected, SwitchFrom},
};

/// The mark's position is refreshed at most this often: a write a minute and a route is what the promise costs the API server.
const UPKEEP_EVERY: Duration = Duration::from_secs(60);

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
        pod.is_some_and(|pod| self.mark.is_some_and(|mark| grant::same_claim(mark, &of(key, pod, report))))
    }

    fn expected(&self) -> Option<LedgerExpected> {
        match &self.observed.ledger {
            LedgerView::Absent => None,
            LedgerView::Present { uid, resource_version, .. } => {
                Some(LedgerExpected { uid: uid.clone(), resource_version: resource_version.clone() })
            }
        }
    }

    /// Keeps the mark's position near the primary's, at most once a minute and only while write-ahead log moves.
    pub(super) fn upkeep(&self, draft: &mut Draft) {
        let Some(key) = self.chosen.choice.chosen() else { return };
        let (Some(pod), Some(report), Some(mark)) = (self.observed.pods.get(key), self.report(key), self.mark) else {
            return;
        };
        let holds = pod.label == LabelState::Known(Role::Primary) && self.marked(key, report);
        if !holds || report.lsn <= mark.lsn || self.observed.ledger_unknown {
            return;
        }
        let due = self.observed.reign.mark_written + UPKEEP_EVERY;
        if self.observed.at < due {
            draft.wake(due);
        } else if !draft.actions.iter().any(|action| matches!(action, Action::SetMark { .. } | Action::StampLedger { .. })) {
            draft.actions.push(Action::SetMark { expected: self.expected(), mark: of(key, pod, report), switch: None });
        }
    }

    /// A person declared one server's data to be the truth: the mark is set to it, downwards too.
    pub(super) fn accept(&self, draft: &mut Draft) {
        let Some(uid) = &self.observed.accept else { return };
        let refuse = |why: String| Finding::AcceptRefused { why };
        let Some((key, pod)) = self.observed.pods.iter().find(|(key, _)| key.uid == *uid) else {
            draft.findings.push(refuse(format!("no pod of this route has the uid {uid}")));
            return;
        };
        let Some(report) = self.report(key).filter(|report| takes_writes(report)) else {
            draft.findings.push(refuse(format!("{} does not take writes", key.name)));
            return;
        };
        if pod.excluded {
            draft.findings.push(refuse(format!("{} is excluded", key.name)));
            return;
        }
        let accepted = of(key, pod, report);
        if self.mark.is_some_and(|mark| grant::same_claim(mark, &accepted) && mark.lsn <= accepted.lsn) {
            draft.actions.push(Action::ClearAccept);
        } else if !self.observed.ledger_unknown {
            let switch = SwitchFrom { pod: self.mark.map(|mark| mark.pod.clone()) };
            draft.actions.retain(|action| !matches!(action, Action::StampLedger { .. }));
            draft.actions.push(Action::SetMark { expected: self.expected(), mark: accepted, switch: Some(switch) });
        }
    }
}
