//! A small world of pods for the tests of a decision: built line by line, seen again as time goes on, and changed as `apply`
//! would change it.

mod pod;
mod slices;

use std::{fmt::Write as _, time::Duration};

use shared::{
    ledger::{DataIdentity, DataKind, Mark, PostgresLedgerSpec},
    role::Role,
    route::SplitBrainPolicy,
    term::Term,
    wal::{Lsn, SystemIdentifier, Timeline},
};

use super::{Action, LabelState, LedgerView, Observed, Plan, PodKey, PodView, Policy, ReignView, SlicesView, decide};
use crate::{
    clock::Tick,
    sighting::{Sighting, Via},
    stamp::{Holder, Stamp, StampState},
};
pub(super) use pod::{ENDED, Pod, Saw};
pub(super) use slices::port;

/// The reign that decides in every test.
pub(super) const TERM: Term = Term(7);
const HOLDER: Holder = Holder(0xaaaa_aaaa);

/// The cluster that every server belongs to unless a test says otherwise.
pub(super) const SYSTEM: SystemIdentifier = SystemIdentifier(7_300_000_000_000_000_001);

/// More turns than a route may ever take to come to rest.
const TURNS_BOUND: usize = 12;

pub(super) fn lsn(text: &str) -> Lsn {
    text.parse().expect("a position in a test")
}

pub(super) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) fn claim(name: &str) -> DataIdentity {
    DataIdentity {
        kind: DataKind::PersistentVolumeClaim,
        name: format!("data-{name}"),
    }
}

fn ours(n: u64) -> Stamp {
    Stamp {
        term: TERM,
        n,
        holder: HOLDER,
    }
}

pub(super) fn key(name: &str) -> PodKey {
    PodKey {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
    }
}

/// A route, as it is observed, and its policy.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) observed: Observed,
    pub(super) policy: Policy,
}

impl World {
    /// No pods, no ledger; a reign that has been looking for ten minutes and has seen two nodes reply.
    pub(super) fn new() -> Self {
        let at = Tick::from_nanos(1_000_000_000_000);
        let began = at - seconds(600);
        Self {
            observed: Observed {
                at,
                reign: ReignView {
                    term: TERM,
                    holder: HOLDER,
                    began,
                    nodes_replied: 3,
                    mark_written: at,
                },
                ledger: LedgerView::Absent,
                ledger_unknown: false,
                pods: std::collections::BTreeMap::new(),
                slices: SlicesView::default(),
                paused: false,
                accept: None,
            },
            policy: Policy {
                interval: Duration::from_millis(100),
                timeout: Duration::from_millis(500),
                silent_after: seconds(3),
                split_brain: SplitBrainPolicy::HighestTimeline,
                max_behind: 16 << 20,
                beaten_gap: seconds(2),
            },
        }
    }

    /// `a` is primary on timeline 1 at 0/5000000, `b` its replica.
    pub(super) fn pair() -> Self {
        Self::new()
            .mark("a", 1, "0/5000000")
            .pod("a", |pod| pod.labelled(Role::Primary).writable(1, "0/5000000"))
            .pod("b", |pod| pod.labelled(Role::Replica).in_recovery(1, "0/5000000"))
    }

    /// Adds a pod, or builds it anew.
    pub(super) fn pod(mut self, name: &str, build: impl FnOnce(Pod) -> Pod) -> Self {
        let pod = build(Pod::new(name, self.observed.at, self.observed.reign.began));
        self.observed.pods.insert(key(name), pod.view);
        self
    }

    /// The pod is gone.
    pub(super) fn without(mut self, name: &str) -> Self {
        self.observed.pods.remove(&key(name));
        self
    }

    /// The ledger holds this mark, and this reign's stamp.
    pub(super) fn mark(mut self, name: &str, timeline: u32, at: &str) -> Self {
        let mark = Mark {
            system_identifier: SYSTEM,
            timeline: Timeline(timeline),
            lsn: lsn(at),
            data: claim(name),
            pod: name.to_owned(),
        };
        self.observed.ledger = LedgerView::Present {
            uid: "uid-ledger".to_owned(),
            resource_version: "1".to_owned(),
            stamp: StampState::Known(ours(0)),
            ledger: PostgresLedgerSpec {
                mark: Some(mark),
                term_floor: TERM,
                ..PostgresLedgerSpec::default()
            },
        };
        self
    }

    pub(super) fn edit(mut self, edit: impl FnOnce(&mut Observed)) -> Self {
        edit(&mut self.observed);
        self
    }

    pub(super) fn edit_pod(self, name: &str, edit: impl FnOnce(&mut PodView)) -> Self {
        self.edit(|observed| edit(observed.pods.get_mut(&key(name)).expect("a pod of this world")))
    }

    pub(super) fn policy(mut self, split_brain: SplitBrainPolicy) -> Self {
        self.policy.split_brain = split_brain;
        self
    }

    pub(super) fn accept(self, name: &str) -> Self {
        self.edit(|observed| observed.accept = Some(key(name).uid))
    }

    pub(super) fn paused(self) -> Self {
        self.edit(|observed| observed.paused = true)
    }

    /// The pod's next sighting, now.
    pub(super) fn see(self, name: &str, saw: Saw) -> Self {
        let now = self.observed.at;
        self.edit_pod(name, |view| {
            let pod = Pod::of(view.clone(), now);
            *view = pod.saw(Via::Fresh, Duration::ZERO, saw).view;
        })
    }

    /// Time goes on, and every server is found as it was.
    pub(super) fn later(mut self, span: Duration) -> Self {
        self.observed.at = self.observed.at + span;
        let now = self.observed.at;
        for pod in self.observed.pods.values_mut() {
            if let Some(last) = pod.sightings.deciding().cloned() {
                pod.sightings.record(Via::Fresh, Sighting { at: now, ..last });
            }
        }
        self
    }

    /// Time goes on, and nothing is probed.
    pub(super) fn unprobed(mut self, span: Duration) -> Self {
        self.observed.at = self.observed.at + span;
        self
    }

    /// Everything that only time holds up is over: the Services have let go, and nobody fights over a label any more.
    pub(super) fn wait_out(&mut self) {
        let long_ago = self.observed.at - self.policy.beaten_gap;
        for pod in self.observed.pods.values_mut() {
            pod.out_of_write_since = pod.out_of_write_since.map(|since| since.min(long_ago));
            pod.repair_not_before = None;
        }
    }

    pub(super) fn plan(&self) -> Plan {
        decide(&self.observed, &self.policy)
    }

    pub(super) fn label(&self, name: &str) -> Option<&LabelState> {
        self.observed.pods.get(&key(name)).map(|pod| &pod.label)
    }

    /// How many pods are labelled primary.
    pub(super) fn primaries(&self) -> usize {
        self.observed
            .pods
            .values()
            .filter(|pod| pod.label == LabelState::Known(Role::Primary))
            .count()
    }

    /// Carries one action out the way the API server would, and checks what it expects to find.
    pub(super) fn apply(&mut self, action: &Action) {
        match action {
            Action::Stamp { pod, resource_version } => self.write(pod, resource_version, None),
            Action::Withdraw {
                pod,
                resource_version,
                to,
            } => {
                assert_eq!(
                    self.label(&pod.name),
                    Some(&LabelState::Known(Role::Primary)),
                    "withdrawn from a primary"
                );
                self.write(pod, resource_version, Some(label_of(*to)));
            }
            Action::Relabel {
                pod,
                resource_version,
                from,
                to,
            } => {
                assert_eq!(self.label(&pod.name), Some(from), "relabelled from what it is");
                self.write(pod, resource_version, Some(label_of(*to)));
            }
            Action::Grant { pod, resource_version } => {
                self.write(pod, resource_version, Some(LabelState::Known(Role::Primary)));
            }
            Action::StampLedger { .. } => self.write_ledger(None),
            Action::SetMark { expected, mark, .. } => {
                let is_there = matches!(self.observed.ledger, LedgerView::Present { .. });
                assert_eq!(expected.is_some(), is_there, "the ledger is expected as it is");
                self.write_ledger(Some(mark.clone()));
                self.observed.reign.mark_written = self.observed.at;
            }
            Action::CreateSlice { .. } | Action::StampSlice { .. } | Action::SetEndpoints { .. } => {
                self.write_slice(action);
            }
            Action::ClearAccept => self.observed.accept = None,
            Action::StepDown { .. } => {}
        }
    }

    fn write(&mut self, pod: &PodKey, expected: &str, label: Option<LabelState>) {
        let (at, ReignView { term, holder, .. }) = (self.observed.at, self.observed.reign);
        let view = self
            .observed
            .pods
            .get_mut(pod)
            .expect("an action on a pod that is there");
        assert_eq!(
            view.resource_version, expected,
            "a second write to {} in one turn",
            pod.name
        );
        let next = expected.parse::<u64>().expect("a number") + 1;
        view.resource_version = next.to_string();
        view.stamp = StampState::Known(Stamp { term, n: next, holder });
        view.unknown = false;
        if let Some(label) = label {
            // Where the controller writes the slices, they say who is out.
            if self.observed.slices.is_routing {
            } else if label == LabelState::Known(Role::Primary) {
                view.out_of_write_since = None;
            } else if view.label == LabelState::Known(Role::Primary) {
                view.out_of_write_since = Some(at);
            }
            view.label = label;
        }
    }

    fn write_ledger(&mut self, mark: Option<Mark>) {
        self.observed.ledger_unknown = false;
        let ReignView { term, holder, .. } = self.observed.reign;
        let (mut spec, version) = match &self.observed.ledger {
            LedgerView::Absent => (PostgresLedgerSpec::default(), 0),
            LedgerView::Present {
                ledger,
                resource_version,
                ..
            } => (ledger.clone(), resource_version.parse().expect("a number")),
        };
        spec.term_floor = term;
        spec.mark = mark.or(spec.mark);
        self.observed.ledger = LedgerView::Present {
            uid: "uid-ledger".to_owned(),
            resource_version: (version + 1).to_string(),
            stamp: StampState::Known(Stamp {
                term,
                n: version + 1,
                holder,
            }),
            ledger: spec,
        };
    }

    /// Plays `apply` until nothing is left to do: the plans that wrote something, in their order.
    pub(super) fn settle(&mut self) -> Vec<Plan> {
        let mut turns = Vec::new();
        loop {
            let plan = self.plan();
            let ended = plan
                .actions
                .iter()
                .any(|action| matches!(action, Action::StepDown { .. }));
            if plan.actions.is_empty() {
                return turns;
            }
            for action in &plan.actions {
                self.apply(action);
                assert!(
                    self.primaries() < 2 || turns.is_empty(),
                    "two primaries after {plan:#?}"
                );
            }
            turns.push(plan);
            if ended {
                return turns;
            }
            assert!(
                turns.len() < TURNS_BOUND,
                "it does not come to rest: {:#?}",
                turns.iter().map(told).collect::<Vec<_>>()
            );
        }
    }
}

fn label_of(role: Option<Role>) -> LabelState {
    role.map_or(LabelState::Absent, LabelState::Known)
}

/// A plan's actions in few words, in the order in which they were planned.
pub(super) fn told(plan: &Plan) -> Vec<String> {
    plan.actions.iter().map(tell).collect()
}

fn tell(action: &Action) -> String {
    let role = |role: &Option<Role>| role.map_or("none", Role::as_str);
    match action {
        Action::Stamp { pod, .. } => format!("stamp {}", pod.name),
        Action::StampLedger { .. } => "stamp ledger".to_owned(),
        Action::Withdraw { pod, to, .. } => format!("withdraw {} to {}", pod.name, role(to)),
        Action::Relabel { pod, to, .. } => format!("relabel {} to {}", pod.name, role(to)),
        Action::SetMark { mark, switch, .. } => {
            let mut text = format!("mark {} {} {}", mark.pod, mark.timeline, mark.lsn);
            if switch.is_none() {
                write!(text, " (upkeep)").expect("writing to a string");
            }
            text
        }
        Action::Grant { pod, .. } => format!("grant {}", pod.name),
        Action::CreateSlice { slice, .. } => format!("create {slice}"),
        Action::StampSlice { slice, .. } => format!("stamp {}", slice.name),
        Action::SetEndpoints { slice, to, .. } => {
            let pods: Vec<&str> = to.endpoints.iter().map(|endpoint| endpoint.pod.name.as_str()).collect();
            format!(
                "list {} in {}",
                if pods.is_empty() {
                    "nobody".to_owned()
                } else {
                    pods.join("+")
                },
                slice.name
            )
        }
        Action::ClearAccept => "clear accept".to_owned(),
        Action::StepDown { met } => format!("step down before {met}"),
    }
}

/// Compares the plan of each world with what its row says, and reports every row that differs.
pub(super) fn check<const N: usize>(rows: [(&str, World, &[&str]); N]) {
    let mut wrong = String::new();
    for (name, world, expected) in rows {
        let plan = world.plan();
        if told(&plan) != expected {
            writeln!(wrong, "\n{name}\n  expected {expected:?}\n  planned  {:?}", told(&plan))
                .expect("writing to a string");
            for (pod, member) in &plan.members {
                writeln!(wrong, "  {}: {}", pod.name, member.why).expect("writing to a string");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
