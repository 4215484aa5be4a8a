//! The course of a route's switches: from the first sighting that differed, through withdrawal and grant, until the labels and
//! the write Service's endpoints say the same again. Pure: it follows what was observed, decided and written, turn by turn, and
//! tells what is worth a span, a metric or a line of history.
//!
//! ```text
//! looked --> a primary is withdrawn, lost or to be granted --> Began, Sighted, Decided
//! wrote  --> withdrawn, granted
//! looked --> the endpoints hold the primary and nobody else --> Followed
//! looked --> nothing is left to do --> Ended
//! ```
//!
//! A route has one switch under way at most. A second change of the primary before the first came to rest supersedes it.

mod step;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use probe::Evidence;
use shared::role::Role;

use crate::{
    clock::Tick,
    decide::{Action, Finding, LabelState, LedgerView, Observed, Plan, PodKey, PodView, Verdict},
};

pub use step::{Cause, Differing, Ended, Outcome, Step};

/// Decisions that are told of one switch at most: a switch has a handful, a route that cannot come to rest has no end of them.
const DECISIONS_TOLD_MAX: u32 = 64;

/// How long a switch waits for the endpoints when nothing else is left to do. The EndpointSlice controller takes milliseconds, and a
/// second or two after a burst; one that takes longer is not going to (a Service with another selector).
const FOLLOW_MAX: Duration = Duration::from_secs(10);

/// The course of one route, as one reign follows it.
#[derive(Debug, Default)]
pub struct Course {
    /// What does not go with the label, since when; at most one a pod.
    differing: BTreeMap<PodKey, Differing>,
    /// Who carries the primary role, as far as this reign wrote or saw it.
    primary: Option<PodKey>,
    /// When it last looked.
    looked: Option<Tick>,
    open: Option<Open>,
}

/// A decision, as far as two are told apart.
type Gist = (Verdict, Option<PodKey>, Vec<(&'static str, Option<String>)>);

#[derive(Debug)]
struct Open {
    cause: Cause,
    from: Option<String>,
    began: Tick,
    unwritable_since: Option<Tick>,
    withdrawn: Option<Tick>,
    granted: Option<(Tick, PodKey)>,
    followed: Option<Tick>,
    /// Since when nothing is left to do but to wait for the endpoints.
    quiet_since: Option<Tick>,
    sighted: BTreeSet<PodKey>,
    decided: Option<Gist>,
    decisions: u32,
}

// === impl Course ===

impl Course {
    /// Whether a switch is under way.
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Why the switch that is under way is.
    pub fn cause(&self) -> Option<Cause> {
        self.open.as_ref().map(|open| open.cause)
    }

    /// Looks at a turn: what was observed, and what was decided.
    pub fn looked(&mut self, observed: &Observed, plan: &Plan) -> Vec<Step> {
        self.compare(observed, plan);
        let mut steps = Vec::new();
        if let Some((cause, old)) = self.opening(observed, plan) {
            let granted_before = self.open.as_ref().is_some_and(|open| open.granted.is_some());
            if let Some(superseded) = self.open.take_if(|_| granted_before) {
                steps.push(Step::Ended(superseded.ended(
                    Outcome::Superseded,
                    old.as_ref(),
                    observed.at,
                )));
            }
            if self.open.is_none() {
                let open = self.begin(observed, plan, cause, old);
                steps.push(Step::Began {
                    at: open.began,
                    cause,
                    from: open.from.clone(),
                });
                self.open = Some(open);
            }
        }
        self.primary = primary(observed).map(|(key, _)| key.clone());
        self.looked = Some(observed.at);
        let Some(open) = &mut self.open else { return steps };
        open.sight(&self.differing, plan, &mut steps);
        open.decide(plan, &mut steps);
        open.follow(observed, &mut steps);
        if let Some(outcome) = open.outcome(observed, plan) {
            let ended = self
                .open
                .take()
                .map(|open| open.ended(outcome, self.primary.as_ref(), observed.at));
            steps.extend(ended.map(Step::Ended));
        }
        steps
    }

    /// Takes in a write that was answered.
    pub fn wrote(&mut self, action: &Action, at: Tick) {
        match action {
            Action::Withdraw { pod, .. } => {
                self.primary.take_if(|primary| primary == pod);
                if let Some(open) = &mut self.open {
                    open.withdrawn.get_or_insert(at);
                    if open.cause.leaves_nobody() {
                        open.unwritable_since.get_or_insert(at);
                    }
                }
            }
            Action::Grant { pod, .. } => {
                self.primary = Some(pod.clone());
                if let Some(open) = &mut self.open {
                    open.granted = Some((at, pod.clone()));
                }
            }
            Action::Stamp { .. }
            | Action::StampLedger { .. }
            | Action::Relabel { .. }
            | Action::SetMark { .. }
            | Action::CreateSlice { .. }
            | Action::StampSlice { .. }
            | Action::SetEndpoints { .. }
            | Action::ClearAccept
            | Action::StepDown { .. } => {}
        }
    }

    /// Notes what does not go with its pod's label, and forgets what does.
    fn compare(&mut self, observed: &Observed, plan: &Plan) {
        self.differing.retain(|key, _| observed.pods.contains_key(key));
        for (key, pod) in &observed.pods {
            let Some(member) = plan.members.get(key) else { continue };
            if goes_with(member.evidence, &pod.label) {
                self.differing.remove(key);
                continue;
            }
            let same = self
                .differing
                .get(key)
                .is_some_and(|seen| seen.evidence == member.evidence);
            if same {
                continue;
            }
            // A primary that was silent before it was found dead was lost when it fell silent.
            let trouble = |evidence| evidence != Evidence::Writable;
            let before = self
                .differing
                .remove(key)
                .filter(|before| trouble(before.evidence) && trouble(member.evidence));
            // What was seen long before went with the label until the label changed.
            let news = pod
                .sightings
                .since
                .filter(|since| self.looked.is_none_or(|looked| *since > looked));
            let at = before.map(|before| before.at).or(news).unwrap_or(observed.at);
            let detail = pod.sightings.deciding().map(|sighting| sighting.detail.clone());
            let differing = Differing {
                pod: key.name.clone(),
                evidence: member.evidence,
                at,
                detail: detail.unwrap_or_default(),
            };
            self.differing.insert(key.clone(), differing);
        }
    }

    /// Why the primary changes with this turn, and who had been it; none: it does not.
    fn opening(&self, observed: &Observed, plan: &Plan) -> Option<(Cause, Option<PodKey>)> {
        let withdrawn = plan.actions.iter().find_map(|action| match action {
            Action::Withdraw { pod, .. } => Some(pod),
            _ => None,
        });
        if let Some(pod) = withdrawn {
            return Some((self.why_withdrawn(observed, plan, pod), Some(pod.clone())));
        }
        let lost = self
            .primary
            .as_ref()
            .filter(|key| observed.pods.get(*key).is_none_or(|pod| !is_primary(pod)));
        if let Some(key) = lost {
            let cause = if observed.pods.contains_key(key) {
                Cause::Repaired
            } else {
                Cause::Gone
            };
            return Some((cause, Some(key.clone())));
        }
        let grants = plan.actions.iter().any(|action| match action {
            Action::Grant { .. } => true,
            Action::SetMark { switch, .. } => switch.is_some() && !keeps_role(observed, plan),
            _ => false,
        });
        if !grants || self.open.is_some() {
            return None;
        }
        let cause = match (&observed.accept, observed.mark()) {
            (Some(_), _) => Cause::Accepted,
            (None, None) => Cause::First,
            (None, Some(_)) => Cause::Vacant,
        };
        Some((cause, None))
    }

    fn why_withdrawn(&self, observed: &Observed, plan: &Plan, pod: &PodKey) -> Cause {
        let evidence = plan.members.get(pod).map(|member| member.evidence);
        let excluded = observed.pods.get(pod).is_some_and(|view| view.excluded);
        let others = observed.pods.iter().any(|(key, view)| key != pod && is_primary(view));
        let split = plan
            .findings
            .iter()
            .any(|finding| matches!(finding, Finding::SplitBrain { tie: true, .. }));
        match evidence {
            _ if observed.accept.is_some() => Cause::Accepted,
            _ if excluded => Cause::Excluded,
            // It never was the primary: somebody labelled it.
            _ if others && self.primary.as_ref() != Some(pod) => Cause::Repaired,
            Some(Evidence::Down | Evidence::Starting) => Cause::Down,
            Some(Evidence::InRecovery) if self.primary.as_ref() == Some(pod) || self.primary.is_none() => {
                Cause::Demoted
            }
            Some(Evidence::Writable | Evidence::Barred) if split => Cause::SplitBrain,
            _ if plan.chosen.as_ref().is_some_and(|chosen| chosen != pod) => Cause::Promoted,
            Some(Evidence::Silent | Evidence::Unclear) | None => Cause::Silent,
            Some(Evidence::InRecovery | Evidence::Writable | Evidence::Barred) => Cause::Repaired,
        }
    }

    fn begin(&self, observed: &Observed, plan: &Plan, cause: Cause, old: Option<PodKey>) -> Open {
        let seen = |key: Option<&PodKey>| key.and_then(|key| self.differing.get(key)).map(|seen| seen.at);
        let lost_at = seen(old.as_ref());
        let began = match cause {
            // What made the difference is a person, or a change of the pod itself, in this very turn.
            Cause::Accepted | Cause::Excluded | Cause::Repaired | Cause::Gone => lost_at,
            _ => lost_at.into_iter().chain(seen(plan.chosen.as_ref())).min(),
        };
        let began = began.unwrap_or(observed.at);
        let unwritable_since = match cause {
            Cause::Down | Cause::Silent | Cause::Demoted | Cause::Gone => Some(lost_at.unwrap_or(began)),
            Cause::Promoted | Cause::Accepted => lost_at.filter(|_| {
                old.as_ref()
                    .and_then(|old| self.differing.get(old))
                    .is_some_and(stopped)
            }),
            Cause::Repaired => old
                .as_ref()
                .filter(|old| self.primary.as_ref() == Some(*old))
                .map(|_| began),
            Cause::First | Cause::SplitBrain | Cause::Excluded | Cause::Vacant => None,
        };
        let marked = match &observed.ledger {
            LedgerView::Present { ledger, .. } => ledger.mark.as_ref().map(|mark| mark.pod.clone()),
            LedgerView::Absent => None,
        };
        Open {
            cause,
            from: old.map(|key| key.name).or(marked),
            began,
            unwritable_since,
            withdrawn: None,
            granted: None,
            followed: None,
            quiet_since: None,
            sighted: BTreeSet::new(),
            decided: None,
            decisions: 0,
        }
    }
}

fn primary(observed: &Observed) -> Option<(&PodKey, &PodView)> {
    observed.pods.iter().find(|(_, pod)| is_primary(pod))
}

fn is_primary(pod: &PodView) -> bool {
    pod.label == LabelState::Known(Role::Primary)
}

/// Whether the chosen server has the role already.
fn keeps_role(observed: &Observed, plan: &Plan) -> bool {
    plan.chosen
        .as_ref()
        .and_then(|chosen| observed.pods.get(chosen))
        .is_some_and(is_primary)
}

/// Whether a sighting is what the pod's label stands for.
fn goes_with(evidence: Evidence, label: &LabelState) -> bool {
    match label {
        LabelState::Known(Role::Primary | Role::Orphan) => evidence == Evidence::Writable,
        LabelState::Known(Role::Replica) => evidence == Evidence::InRecovery,
        LabelState::Absent | LabelState::Foreign(_) => evidence != Evidence::Writable,
    }
}

/// Whether the server is known to take writes no more.
const fn stopped(seen: &Differing) -> bool {
    matches!(
        seen.evidence,
        Evidence::Down | Evidence::Starting | Evidence::InRecovery | Evidence::Silent
    )
}

// === impl Open ===

impl Open {
    /// Tells of the sightings of those whom it is about: who had the role, and who is to have it.
    fn sight(&mut self, differing: &BTreeMap<PodKey, Differing>, plan: &Plan, steps: &mut Vec<Step>) {
        for (key, seen) in differing {
            let concerned = self.from.as_ref() == Some(&key.name) || plan.chosen.as_ref() == Some(key);
            if concerned && self.sighted.insert(key.clone()) {
                steps.push(Step::Sighted(seen.clone()));
            }
        }
    }

    fn decide(&mut self, plan: &Plan, steps: &mut Vec<Step>) {
        let actions = plan
            .actions
            .iter()
            .map(|action| (action.name(), action.pod().map(|pod| pod.name.clone())));
        let gist = (plan.verdict, plan.chosen.clone(), actions.collect());
        if self.decided.as_ref() != Some(&gist) && self.decisions < DECISIONS_TOLD_MAX {
            self.decided = Some(gist);
            self.decisions += 1;
            steps.push(Step::Decided);
        }
    }

    fn follow(&mut self, observed: &Observed, steps: &mut Vec<Step>) {
        let written = self.granted.as_ref().map(|(at, _)| *at).or(self.withdrawn);
        let (None, Some(since), Some((primary, _))) = (self.followed, written, primary(observed)) else {
            return;
        };
        if self.granted.as_ref().is_some_and(|(_, granted)| granted != primary) {
            return;
        }
        let as_labelled = |(key, pod): (&PodKey, &PodView)| pod.out_of_write_since.is_none() == (key == primary);
        if observed.pods.iter().all(as_labelled) {
            self.followed = Some(observed.at);
            steps.push(Step::Followed { since });
        }
    }

    /// How it ended, if it did with this turn.
    fn outcome(&mut self, observed: &Observed, plan: &Plan) -> Option<Outcome> {
        let over = match self.cause {
            // Nobody needs to be primary for a wrong label to be off.
            Cause::Repaired if self.granted.is_none() && plan.chosen.is_none() => true,
            _ => primary(observed).is_some(),
        };
        if !over || !plan.actions.is_empty() || plan.verdict == Verdict::Moving {
            self.quiet_since = None;
            return None;
        }
        let quiet_since = *self.quiet_since.get_or_insert(observed.at);
        if self.followed.is_some() {
            return Some(Outcome::Settled);
        }
        (observed.at.since(quiet_since) >= FOLLOW_MAX).then_some(Outcome::NotFollowed)
    }

    fn ended(self, outcome: Outcome, primary: Option<&PodKey>, at: Tick) -> Ended {
        let granted = self.granted.map(|(at, pod)| (at, pod.name));
        Ended {
            cause: self.cause,
            outcome,
            from: self.from,
            to: granted
                .as_ref()
                .map(|(_, pod)| pod.clone())
                .or_else(|| primary.map(|key| key.name.clone())),
            began: self.began,
            withdrawn: self.withdrawn,
            granted: granted.map(|(at, _)| at),
            followed: self.followed,
            // Waiting for endpoints that never came is not part of it.
            ended: if outcome == Outcome::NotFollowed {
                self.quiet_since.unwrap_or(at)
            } else {
                at
            },
            unwritable_since: self.unwritable_since,
        }
    }
}
