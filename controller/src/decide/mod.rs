//! Every behaviour of the controller: from what was seen of a route to what is to be written, as one pure function.
//!
//! ```text
//! Observed -> assess each pod -> look at them together -> choose -> roles -> grant? -> Plan
//!             (evidence)         (blind?)                (eligible)
//! ```
//!
//! No clock, no log, no I/O: the time is a field of [`Observed`]. The rules are described in docs/architecture.md, and what
//! never happens in docs/invariants.md.
#![warn(clippy::wildcard_enum_match_arm)]

mod choose;
mod eligible;
mod evidence;
mod grant;
mod listing;
mod mark;
mod observed;
mod plan;
mod roles;
mod slices;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod properties_slices;
#[cfg(test)]
mod random;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_choice;
#[cfg(test)]
mod tests_foresee;
#[cfg(test)]
mod tests_grant;
#[cfg(test)]
mod tests_person;
#[cfg(test)]
mod tests_rivals;
#[cfg(test)]
mod tests_silence;
#[cfg(test)]
mod tests_slices;
#[cfg(test)]
mod tests_stories;
#[cfg(test)]
mod tests_switch;
#[cfg(test)]
mod tests_told;

pub use eligible::Ineligible;
pub use listing::{
    Blocked, Endpoint, Family, HeldSlice, Listing, Port, Purpose, SliceKey, SliceView, SlicesView, Target,
};
pub use observed::{Container, LabelState, LedgerView, Lifecycle, Observed, PodKey, PodView, Policy, ReignView};
pub use plan::{Action, Finding, LedgerExpected, MemberView, Plan, SwitchFrom, Verdict};

use shared::{
    ledger::Mark,
    planted::{Bug, is_planted},
    role::Role,
    term::Term,
};

use crate::{clock::Tick, stamp::StampState};
use choose::{Assessments, Choice, Chosen};
use evidence::Sight;
use mark::Accept;

/// Decides about one route.
pub fn decide(observed: &Observed, policy: &Policy) -> Plan {
    let assessments: Assessments<'_> = observed
        .pods
        .iter()
        .map(|(key, pod)| (key, evidence::assess(observed, pod, policy)))
        .collect();
    let accept = mark::judge(observed, &assessments, policy);
    let mark = match &accept {
        Accept::Set(accepted) => Some(accepted),
        Accept::Nothing | Accept::Refused(_) | Accept::Done => observed.mark(),
    };
    let view = View {
        observed,
        policy,
        mark,
        sight: evidence::sight(observed, policy),
        chosen: choose::choose(observed, mark, &assessments, policy),
        keeper: roles::keeper(observed, mark),
        accept: accept.clone(),
        assessments,
    };
    let mut draft = Draft::default();
    if let Some(met) = outranked(observed) {
        draft.actions.push(Action::StepDown { met });
        return view.finish(draft);
    }
    view.stamps(&mut draft);
    view.roles(&mut draft);
    if !observed.paused {
        view.accept(&mut draft);
        view.grant(&mut draft);
        view.upkeep(&mut draft);
    }
    view.slices(&mut draft);
    view.finish(draft)
}

/// Everything that the steps of a decision look at.
#[derive(Debug)]
struct View<'a> {
    observed: &'a Observed,
    policy: &'a Policy,
    /// The mark to measure by: the ledger's, or the one that a person's word is about to make.
    mark: Option<&'a Mark>,
    sight: Sight,
    chosen: Chosen<'a>,
    /// The one pod that may keep a primary label without being chosen.
    keeper: Option<&'a PodKey>,
    accept: Accept,
    assessments: Assessments<'a>,
}

/// A plan in the making.
#[derive(Debug, Default)]
struct Draft {
    actions: Vec<Action>,
    findings: Vec<Finding>,
    members: std::collections::BTreeMap<PodKey, MemberView>,
    waiting: bool,
    /// Who has the primary role as of this turn, and may be listed for writes.
    let_in: Option<PodKey>,
    /// Whether a primary that is down stays listed, because its successor may be there any moment.
    awaits_successor: bool,
    /// Whether nothing but the mark is missing until somebody is let in.
    awaits_mark: bool,
    wake_at: Option<Tick>,
}

impl Draft {
    /// Wakes the route at `at`, or earlier.
    fn wake(&mut self, at: Tick) {
        self.wake_at = Some(self.wake_at.map_or(at, |sooner| sooner.min(at)));
    }
}

/// The highest claim that is above this reign's: a higher term, or the same by another holder.
fn outranked(observed: &Observed) -> Option<Term> {
    let (floor, ledger_stamp) = match &observed.ledger {
        LedgerView::Present { ledger, stamp, .. } => (Some(ledger.term_floor), Some(stamp)),
        LedgerView::Absent => (None, None),
    };
    let stamps = observed
        .pods
        .values()
        .map(|pod| &pod.stamp)
        .chain(ledger_stamp)
        .chain(slices::stamps(observed));
    let ours = &observed.reign;
    let above = stamps.filter_map(|stamp| match stamp {
        StampState::Known(stamp) => {
            let higher = stamp.term > ours.term || (stamp.term == ours.term && stamp.holder != ours.holder);
            higher.then_some(stamp.term)
        }
        StampState::Absent | StampState::Malformed(_) => None,
    });
    above.chain(floor.filter(|floor| *floor > ours.term)).max()
}

impl View<'_> {
    /// Objects that do not carry this reign's stamp, or whose last write had no definite answer, are stamped.
    fn stamps(&self, draft: &mut Draft) {
        for (key, pod) in &self.observed.pods {
            if pod.unknown || !(grant::stamped(self.observed, &pod.stamp) || is_planted(Bug::NoStamp)) {
                let resource_version = pod.resource_version.clone();
                draft.actions.push(Action::Stamp {
                    pod: key.clone(),
                    resource_version,
                });
            }
        }
        if let LedgerView::Present {
            uid, resource_version, ..
        } = &self.observed.ledger
            && (self.observed.ledger_unknown || !(grant::ledger_stamped(self.observed) || is_planted(Bug::NoStamp)))
        {
            let (uid, resource_version) = (uid.clone(), resource_version.clone());
            draft.actions.push(Action::StampLedger { resource_version, uid });
        }
    }

    /// Grants the role to the chosen server, or says what it waits for.
    fn grant(&self, draft: &mut Draft) {
        if let Choice::Early(_) = self.chosen.choice {
            draft.waiting = true;
            draft.wake(self.observed.reign.began + self.policy.silent_after);
        }
        let Some(key) = self.chosen.choice.chosen() else {
            return;
        };
        let (Some(pod), Some(report)) = (self.observed.pods.get(key), self.report(key)) else {
            return;
        };
        let accepting = matches!(self.accept, Accept::Set(_));
        let is_primary = pod.label == LabelState::Known(Role::Primary);
        if is_primary && grant::earned(pod) && self.marked(key, report) && !accepting && self.is_led_to(key) {
            draft.let_in = Some(key.clone());
            return;
        }
        draft.waiting = true;
        let raise = grant::raise(self.observed, mark::of(key, pod, report));
        let ledger_taken = draft
            .actions
            .iter()
            .any(|action| matches!(action, Action::SetMark { .. }));
        let wait = match grant::may(self.observed, key, pod, &self.assessments, self.policy) {
            Ok(()) if raise.is_none() && !accepting => None,
            Ok(()) => Some(grant::Wait::Mark),
            Err(wait) => Some(wait),
        };
        if let Some(action) = raise.filter(|_| !ledger_taken && self.observed.ledger_free()) {
            // One write to the ledger a turn: raising the mark carries the stamp too.
            draft
                .actions
                .retain(|action| !matches!(action, Action::StampLedger { .. }));
            draft.actions.push(action);
        }
        match wait {
            None if is_primary => draft.let_in = Some(key.clone()),
            None => {
                draft.let_in = Some(key.clone());
                let resource_version = pod.resource_version.clone();
                draft.actions.push(Action::Grant {
                    pod: key.clone(),
                    resource_version,
                });
            }
            Some(wait) => {
                draft.awaits_mark = wait == grant::Wait::Mark;
                if let grant::Wait::Beaten { until: Some(at), .. } | grant::Wait::Contested(at) = wait {
                    draft.wake(at);
                }
                if let grant::Wait::Contested(_) = wait {
                    draft.findings.push(Finding::Contested { pod: key.name.clone() });
                }
                let lacks = if is_primary {
                    "the write Service does not lead to it yet"
                } else {
                    "it is not primary yet"
                };
                if let Some(member) = draft.members.get_mut(key) {
                    member.why = format!("it takes writes and is chosen; {lacks} because {wait}");
                }
            }
        }
    }

    /// The verdict, and the plan as a whole.
    fn finish(self, mut draft: Draft) -> Plan {
        let expiries = self
            .assessments
            .values()
            .map(|assessment| assessment.expires)
            .chain([self.sight.expires]);
        for at in expiries.flatten().filter(|at| *at > self.observed.at) {
            draft.wake(at);
        }
        self.findings(&mut draft);
        let split = draft
            .findings
            .iter()
            .any(|finding| matches!(finding, Finding::SplitBrain { .. }));
        let verdict = if self.observed.paused {
            Verdict::Paused
        } else if self.sight.blind && self.observed.at.since(self.observed.reign.began) >= self.policy.silent_after {
            Verdict::Blind
        } else if split {
            Verdict::SplitBrain
        } else if !draft.actions.is_empty() || draft.waiting {
            Verdict::Moving
        } else if self.has_primary() {
            Verdict::Settled
        } else {
            Verdict::NoPrimary
        };
        Plan {
            actions: draft.actions,
            verdict,
            chosen: self.chosen.choice.chosen().cloned(),
            findings: draft.findings,
            members: draft.members,
            wake_at: draft.wake_at,
        }
    }

    /// What a person may want to know about the route as a whole.
    fn findings(&self, draft: &mut Draft) {
        let (pods, tie): (Vec<&PodKey>, bool) = match &self.chosen.choice {
            Choice::Tie(pods) | Choice::Frozen(pods) | Choice::Dropped(pods) => (pods.clone(), true),
            Choice::NoMark(missing) => {
                draft.findings.push(Finding::NoMark {
                    missing: missing.clone(),
                });
                (self.writable(), false)
            }
            Choice::One(_) | Choice::Nobody | Choice::Unproven(_) | Choice::Early(_) => (self.writable(), false),
        };
        if pods.len() > 1 {
            draft.findings.push(Finding::SplitBrain {
                pods: pods.into_iter().map(|key| key.name.clone()).collect(),
                tie,
            });
        }
    }

    fn writable(&self) -> Vec<&PodKey> {
        choose::writable(self.observed, &self.assessments)
            .map(|(key, _)| key)
            .collect()
    }

    fn has_primary(&self) -> bool {
        self.observed
            .pods
            .values()
            .any(|pod| pod.label == LabelState::Known(Role::Primary))
    }
}
