//! The role of every pod that is not to be granted the primary one: what it should be labelled, and the writes towards it.

use probe::Evidence;
use shared::{ledger::Mark, role::Role};

use super::{
    Draft, View,
    choose::Choice,
    eligible,
    evidence::{self, Assessment},
    grant,
    observed::{LabelState, Observed, PodKey, PodView},
    plan::{Action, Finding, MemberView},
};

/// The label that a pod should have, and why.
struct Desired {
    role: Option<Role>,
    why: String,
}

impl Desired {
    fn new(role: Option<Role>, why: impl Into<String>) -> Self {
        Self { role, why: why.into() }
    }
}

impl View<'_> {
    /// Explains every pod, and withdraws or relabels where the label is not what it should be.
    pub(super) fn roles(&self, draft: &mut Draft) {
        for (key, pod) in &self.observed.pods {
            let Some(assessment) = self.assessments.get(key) else {
                continue;
            };
            let desired = self.desired(key, pod, assessment, draft);
            if !self.observed.paused {
                self.relabel(key, pod, &desired, draft);
            }
            let member = MemberView {
                evidence: assessment.evidence,
                desired: desired.role,
                why: desired.why,
            };
            draft.members.insert(key.clone(), member);
        }
    }

    /// The write that brings the label nearer to what is desired; the primary role itself is granted elsewhere.
    fn relabel(&self, key: &PodKey, pod: &PodView, desired: &Desired, draft: &mut Draft) {
        let is_primary = pod.label == LabelState::Known(Role::Primary);
        let wants_primary = desired.role == Some(Role::Primary);
        // A pod is not born with a role that it has not earned: a label from a template goes, also where it would be right.
        let unearned = is_primary && !grant::earned(pod);
        if (wants_primary && !unearned) || (!is_primary && (wants_primary || pod.label.is(desired.role))) {
            return;
        }
        let resource_version = pod.resource_version.clone();
        let contested = pod.repair_not_before.filter(|until| *until > self.observed.at);
        let action = if is_primary {
            let to = desired.role.filter(|role| *role != Role::Primary);
            Action::Withdraw {
                pod: key.clone(),
                resource_version,
                to,
            }
        } else if let Some(until) = contested {
            draft.wake(until);
            draft.findings.push(Finding::Contested { pod: key.name.clone() });
            return;
        } else {
            Action::Relabel {
                pod: key.clone(),
                resource_version,
                from: pod.label.clone(),
                to: desired.role,
            }
        };
        // The write carries the stamp: no need for one more.
        draft
            .actions
            .retain(|other| !matches!(other, Action::Stamp { pod, .. } if pod == key));
        draft.actions.push(action);
    }

    fn desired(&self, key: &PodKey, pod: &PodView, assessment: &Assessment<'_>, draft: &mut Draft) -> Desired {
        if pod.excluded {
            return Desired::new(None, "a person excluded it (annotation pgsteer.io/exclude)");
        }
        let chosen = self.chosen.choice.chosen();
        if chosen == Some(key) {
            return Desired::new(Some(Role::Primary), "it takes writes and is the chosen one");
        }
        match assessment.evidence {
            Evidence::Writable => self.beaten(key, pod, &mut draft.findings),
            Evidence::InRecovery => self.standby(key, assessment, &mut draft.findings),
            Evidence::Down => Desired::new(None, format!("its server is down: {}", assessment.detail)),
            Evidence::Starting => Desired::new(None, "its server is starting, stopping or recovering"),
            Evidence::Barred => {
                draft.findings.push(Finding::Barred {
                    pod: key.name.clone(),
                    detail: assessment.detail.to_owned(),
                });
                let why = format!("its server is alive but bars the probe: {}", assessment.detail);
                Desired::new(self.held(key, pod), why)
            }
            Evidence::Silent | Evidence::Unclear => self.silent(key, pod, assessment, draft),
        }
    }

    /// A server that takes writes and is not the chosen one.
    fn beaten(&self, key: &PodKey, pod: &PodView, findings: &mut Vec<Finding>) -> Desired {
        if let Some(why) = self.chosen.refused.get(key) {
            let text = format!("it takes writes, but {why}");
            findings.push(Finding::Orphaned {
                pod: key.name.clone(),
                why: Some(why.clone()),
            });
            return Desired::new(Some(Role::Orphan), text);
        }
        match &self.chosen.choice {
            Choice::One(chosen) => {
                findings.push(Finding::Orphaned {
                    pod: key.name.clone(),
                    why: None,
                });
                Desired::new(
                    Some(Role::Orphan),
                    format!("it takes writes, but {} is the chosen one", chosen.name),
                )
            }
            Choice::Tie(_) => Desired::new(
                Some(Role::Orphan),
                "it takes writes, and so does another with as good a claim: a person has to accept one",
            ),
            Choice::Unproven(other) => Desired::new(
                Some(Role::Orphan),
                format!(
                    "it takes writes, but {} was seen to do so on a higher timeline and gives no answer now",
                    other.name
                ),
            ),
            Choice::Early(unheard) => Desired::new(
                self.held(key, pod),
                format!(
                    "it takes writes; nothing is decided before {} is heard or has had its time",
                    unheard.name
                ),
            ),
            // The mark's own server keeps what it has, and nobody gets anything.
            Choice::Frozen(_) => {
                let holds = self.keeper == Some(key) && self.report(key).is_some_and(|report| self.marked(key, report));
                let why = "it takes writes, and so does another that is eligible: the route's policy is to leave that to a person";
                Desired::new(Some(if holds { Role::Primary } else { Role::Orphan }), why)
            }
            Choice::Dropped(_) => {
                let why =
                    "it takes writes, and so does another: the route's policy is to have no primary until one is left";
                Desired::new(Some(Role::Orphan), why)
            }
            // Without a mark nobody can be called wrong: a lone primary keeps its role, and nobody gets one.
            Choice::NoMark(missing) => {
                let keeps = (self.keeper == Some(key)).then_some(Role::Primary);
                Desired::new(keeps, format!("it takes writes, but there is no mark yet: {missing}"))
            }
            Choice::Nobody => Desired::new(Some(Role::Orphan), "it takes writes, but is not eligible"),
        }
    }

    fn standby(&self, key: &PodKey, assessment: &Assessment<'_>, findings: &mut Vec<Finding>) -> Desired {
        let (Some(report), Some(mark)) = (assessment.report, self.mark) else {
            return Desired::new(None, "it is a standby, and there is no primary yet to compare it with");
        };
        let raised = self
            .chosen
            .choice
            .chosen()
            .and_then(|chosen| self.report(chosen))
            .map(|report| report.timeline);
        let timeline = raised.map_or(mark.timeline, |raised| raised.max(mark.timeline));
        match eligible::replica(report, mark, timeline) {
            Ok(()) => Desired::new(Some(Role::Replica), "it is a standby of this cluster"),
            Err(why) => {
                let text = format!("it is a standby, but {why}");
                findings.push(Finding::Foreign {
                    pod: key.name.clone(),
                    why,
                });
                Desired::new(None, text)
            }
        }
    }

    /// A server that gives no usable answer keeps its label until it has been silent for long enough, and longer when it may be
    /// the controller that cannot see.
    fn silent(&self, key: &PodKey, pod: &PodView, assessment: &Assessment<'_>, draft: &mut Draft) -> Desired {
        let silent_for = assessment
            .silent_since
            .map(|since| self.observed.at.since(since))
            .unwrap_or_default();
        let detail = assessment.detail;
        let held = self.held(key, pod);
        if !self.sight.silence_counts {
            return Desired::new(
                held,
                format!("no usable answer ({detail}), and too few servers reply to judge by"),
            );
        }
        if silent_for < self.policy.silent_after {
            return Desired::new(held, format!("no usable answer ({detail}), not for long yet"));
        }
        let alive = self
            .mark
            .filter(|_| held == Some(Role::Primary))
            .and_then(|mark| evidence::alive_by_its_standby(self.observed, &self.assessments, mark, pod));
        if let Some(until) = alive {
            draft.wake(until);
            return Desired::new(held, "no usable answer, but a standby still receives from it");
        }
        Desired::new(None, format!("it has given no usable answer for too long ({detail})"))
    }

    /// The label as it is, for as long as nothing better is known; but no role that was not earned, and the primary one only
    /// while nobody else has a claim to it.
    fn held(&self, key: &PodKey, pod: &PodView) -> Option<Role> {
        match &pod.label {
            LabelState::Known(Role::Primary) => {
                (self.keeper == Some(key) && !self.chosen.choice.ends_claims()).then_some(Role::Primary)
            }
            LabelState::Known(role) => grant::earned(pod).then_some(*role),
            LabelState::Absent | LabelState::Foreign(_) => None,
        }
    }
}

/// The pod that may keep a primary label although it is not, or not surely, the chosen one: the only one that carries it; among
/// several (a person's hand) the mark's own, because two must never stand.
pub(crate) fn keeper<'a>(observed: &'a Observed, mark: Option<&Mark>) -> Option<&'a PodKey> {
    let primaries = || {
        observed
            .pods
            .iter()
            .filter(|(_, pod)| pod.label == LabelState::Known(Role::Primary) && grant::earned(pod))
    };
    let only = |mut pods: Vec<&'a PodKey>| if pods.len() == 1 { pods.pop() } else { None };
    only(primaries().map(|(key, _)| key).collect()).or_else(|| {
        let own = primaries().filter(|(_, pod)| mark.is_some_and(|mark| mark.data == pod.data));
        only(own.map(|(key, _)| key).collect())
    })
}
