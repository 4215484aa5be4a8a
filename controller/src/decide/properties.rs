//! What holds for any route whatever. Tests I1, I3, I4, I5, I6 and I9 of docs/invariants.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use probe::{Evidence, Standing};
use proptest::{prelude::*, test_runner::Config};
use shared::{ledger::Mark, role::Role, route::SplitBrainPolicy, term::Term};

use super::{
    Action, Container, LabelState, Lifecycle, Observed, Plan, PodKey, PodView, Verdict,
    fixtures::{Saw, TERM, World, key, told},
    random::world,
};
use crate::{
    clock::Tick,
    stamp::{Holder, Stamp, StampState},
};

/// How many routes each property is tried on; all properties together stay within a few seconds.
const CASES: u32 = 600;

/// Turns that write something, until nothing is left to do: stamp, withdraw or set the mark, what the mark or a person's word changes
/// about the others, grant, and the new primary out of the read Service's slices.
const TURNS: usize = 5;

fn granted(plan: &Plan) -> Vec<&PodKey> {
    let grants = plan.actions.iter().filter_map(|action| {
        if let Action::Grant { pod, .. } = action {
            Some(pod)
        } else {
            None
        }
    });
    grants.collect()
}

fn marks(plan: &Plan) -> Vec<&Mark> {
    let marks = plan.actions.iter().filter_map(|action| {
        if let Action::SetMark { mark, .. } = action {
            Some(mark)
        } else {
            None
        }
    });
    marks.collect()
}

/// The pod that an action writes to.
fn written(action: &Action) -> Option<&PodKey> {
    match action {
        Action::Stamp { pod, .. }
        | Action::Withdraw { pod, .. }
        | Action::Relabel { pod, .. }
        | Action::Grant { pod, .. } => Some(pod),
        Action::StampLedger { .. }
        | Action::SetMark { .. }
        | Action::CreateSlice { .. }
        | Action::StampSlice { .. }
        | Action::SetEndpoints { .. }
        | Action::ClearAccept
        | Action::StepDown { .. } => None,
    }
}

fn stamped(pod: &PodView) -> bool {
    ours(&pod.stamp)
}

pub(super) fn ours(stamp: &StampState) -> bool {
    matches!(stamp, StampState::Known(stamp) if stamp.term == TERM)
}

/// Whether the newest that is known of a pod is its own server's answer that it takes writes; told anew, apart from what decide
/// makes of it.
pub(super) fn writable_now(observed: &Observed, pod: &PodView, limit: Duration) -> bool {
    let Some(sighting) = pod.sightings.deciding() else {
        return false;
    };
    let report = sighting.report.as_ref();
    sighting.evidence == Evidence::Writable
        && Some(sighting.ip) == pod.ip
        && observed.at.since(sighting.at) < limit
        && report.is_some_and(|report| report.standing == Standing::Writable)
        && match pod.container {
            Container::Running { since_micros } => {
                report.is_some_and(|report| report.postmaster_started.0 + 2_000_000 >= since_micros)
            }
            Container::Unknown => true,
            Container::Stopped { .. } => false,
        }
}

/// The same route with its pods under other names.
fn renamed(world: &World, names: &BTreeMap<String, String>) -> World {
    let name = |old: &str| names.get(old).cloned().unwrap_or_else(|| old.to_owned());
    world.clone().edit(|observed| {
        let pods = std::mem::take(&mut observed.pods);
        observed.pods = pods
            .into_iter()
            .map(|(pod, view)| (key(&name(&pod.name)), view))
            .collect();
        observed.accept = observed
            .accept
            .take()
            .map(|uid| format!("uid-{}", name(uid.trim_start_matches("uid-"))));
        for slice in observed.slices.slices.values_mut() {
            let targets = std::mem::take(&mut slice.targets);
            slice.targets = targets
                .into_iter()
                .map(|(pod, target)| (key(&name(&pod.name)), target))
                .collect();
            if let Some(held) = &mut slice.held {
                held.listing
                    .endpoints
                    .iter_mut()
                    .for_each(|endpoint| endpoint.pod = key(&name(&endpoint.pod.name)));
                held.listing.endpoints.sort();
            }
        }
    })
}

/// A plan's writes as a set, with the pods' names given back.
fn writes(plan: &Plan, names: &BTreeMap<String, String>) -> BTreeSet<String> {
    let back = |new: &str| {
        names
            .iter()
            .find(|(_, to)| *to == new)
            .map_or(new, |(from, _)| from)
            .to_owned()
    };
    let back_all = |word: &str| {
        let mut names: Vec<String> = word.split('+').map(back).collect();
        names.sort();
        names.join("+")
    };
    told(plan)
        .iter()
        .map(|text| text.split(' ').map(back_all).collect::<Vec<_>>().join(" "))
        .collect()
}

/// Plays `apply`, and lets time do its part, until nothing more is written.
fn settle(world: &mut World) -> Vec<Plan> {
    let mut turns = world.settle();
    loop {
        if turns.iter().any(|plan| {
            plan.actions
                .iter()
                .any(|action| matches!(action, Action::StepDown { .. }))
        }) {
            return turns;
        }
        world.wait_out();
        let more = world.settle();
        if more.is_empty() {
            return turns;
        }
        turns.extend(more);
    }
}

proptest! {
    #![proptest_config(Config { cases: CASES, failure_persistence: None, ..Config::default() })]

    /// I1: a grant only where no other primary label, no unknown and no unstamped object was seen, and alone of its kind.
    #[test]
    fn i1_a_grant_comes_alone(world in world()) {
        let plan = world.plan();
        let grants = granted(&plan);
        prop_assert!(grants.len() <= 1);
        let Some(chosen) = grants.first() else { return Ok(()) };
        prop_assert!(!world.observed.ledger_unknown);
        for (pod, view) in &world.observed.pods {
            prop_assert!(view.label != LabelState::Known(Role::Primary), "{} is primary", pod.name);
            prop_assert!(!view.unknown && stamped(view), "{} is unknown or unstamped", pod.name);
        }
        let others = plan.actions.iter().filter(|action| written(action) != Some(chosen));
        for action in others {
            let reads = matches!(action, Action::CreateSlice { service, .. } if service == "ro");
            let beside = matches!(action, Action::Relabel { .. } | Action::SetEndpoints { .. } | Action::ClearAccept);
            prop_assert!(reads || beside, "beside the grant: {action:?}");
        }
    }

    /// I1: when a server that takes writes is beaten, the grant waits until the Services have let go of it.
    #[test]
    fn i1_a_grant_waits_for_a_beaten_server_that_takes_writes(world in world()) {
        let plan = world.plan();
        let Some(chosen) = granted(&plan).first().copied().cloned() else { return Ok(()) };
        let limit = world.policy.sighting_limit();
        for (pod, view) in world.observed.pods.iter().filter(|(pod, _)| **pod != chosen) {
            if view.lifecycle != Lifecycle::Ended && writable_now(&world.observed, view, limit) {
                let out = view.out_of_write_since.map(|since| world.observed.at.since(since));
                prop_assert!(out >= Some(world.policy.beaten_gap), "{} was let go of {out:?} ago", pod.name);
            }
        }
    }

    /// I1: whoever labelled them, two pods do not stay labelled primary: after one turn at most one is.
    #[test]
    fn i1_one_turn_leaves_at_most_one_primary(world in world()) {
        let mut world = world.edit(|observed| observed.paused = false);
        let plan = world.plan();
        for action in &plan.actions {
            world.apply(action);
        }
        prop_assert!(world.primaries() <= 1);
    }

    /// I3, I6: only a server's own fresh answer that it takes writes makes it primary.
    #[test]
    fn i3_i6_a_grant_needs_a_fresh_answer(world in world()) {
        let plan = world.plan();
        for pod in granted(&plan) {
            let view = &world.observed.pods[pod];
            prop_assert!(writable_now(&world.observed, view, world.policy.sighting_limit()));
            prop_assert!(!view.excluded && view.lifecycle == Lifecycle::Alive && !world.observed.paused);
        }
    }

    /// I6: nobody gains by another's silence: no grant and no mark that was not planned before.
    #[test]
    fn i6_silence_grants_nothing(world in world(), which in 0..5_usize) {
        // A person's word that can be carried out no more is no word: then the mark decides again.
        let world = world.edit(|observed| observed.accept = None);
        let names: Vec<String> = world.observed.pods.keys().map(|pod| pod.name.clone()).collect();
        let Some(name) = names.get(which % names.len().max(1)) else { return Ok(()) };
        let before = world.plan();
        let after = world.clone().see(name, Saw::Silent).plan();
        let new: Vec<_> = granted(&after).into_iter().filter(|pod| !granted(&before).contains(pod)).collect();
        prop_assert!(new.is_empty(), "granted {new:?}; before: {:?}", told(&before));
        let moved: Vec<_> = marks(&after).into_iter().filter(|mark| !marks(&before).contains(mark)).collect();
        prop_assert!(moved.is_empty(), "marked {moved:?}; before: {:?}", told(&before));
    }

    /// I4: the same route gives the same plan.
    #[test]
    fn i4_decide_is_deterministic(world in world()) {
        prop_assert_eq!(world.plan(), world.plan());
    }

    /// I4: names decide nothing.
    #[test]
    fn i4_the_pods_names_and_order_are_irrelevant(world in world(), order in Just(["a", "b", "c", "d", "e"]).prop_shuffle()) {
        let names: BTreeMap<String, String> =
            ["a", "b", "c", "d", "e"].into_iter().zip(order).map(|(from, to)| (from.to_owned(), to.to_owned())).collect();
        let other = renamed(&world, &names).plan();
        let same: BTreeSet<String> = told(&world.plan()).into_iter().collect();
        prop_assert_eq!(writes(&other, &names), same);
        prop_assert_eq!(other.verdict, world.plan().verdict);
    }

    /// I5: on unchanged evidence everything is written in four turns, and nothing after that.
    #[test]
    fn i5_a_route_comes_to_rest(mut world in world()) {
        let turns = settle(&mut world);
        prop_assert!(turns.len() <= TURNS, "{:#?}", turns.iter().map(told).collect::<Vec<_>>());
        let over = turns.iter().any(|plan| plan.actions.iter().any(|action| matches!(action, Action::StepDown { .. })));
        prop_assert!(over || told(&world.plan()).is_empty());
        prop_assert!(over || world.plan().verdict != Verdict::Moving || !stuck(&world), "{:#?}", world.plan());
    }

    /// I5: no plan undoes an earlier one.
    #[test]
    fn i5_nothing_is_undone(mut world in world()) {
        let mut labels: BTreeMap<PodKey, Vec<Option<Role>>> = BTreeMap::new();
        let mut held: Vec<Mark> = Vec::new();
        for plan in settle(&mut world) {
            for action in &plan.actions {
                let (pod, to) = match action {
                    Action::Withdraw { pod, to, .. } | Action::Relabel { pod, to, .. } => (pod, *to),
                    Action::Grant { pod, .. } => (pod, Some(Role::Primary)),
                    Action::SetMark { mark, .. } => {
                        prop_assert!(!held.contains(mark), "the mark returned to {mark:?}");
                        held.push(mark.clone());
                        continue;
                    }
                    Action::Stamp { .. }
                    | Action::StampLedger { .. }
                    | Action::CreateSlice { .. }
                    | Action::StampSlice { .. }
                    | Action::SetEndpoints { .. }
                    | Action::ClearAccept
                    | Action::StepDown { .. } => continue,
                };
                let before = labels.entry(pod.clone()).or_default();
                prop_assert!(!before.contains(&to), "{} was written {to:?} twice", pod.name);
                before.push(to);
            }
        }
        prop_assert!(held.len() <= 1, "the mark moved more than once: {held:?}");
    }

    /// I9: without a person's word the mark only rises, and nobody below it is granted.
    #[test]
    fn i9_the_mark_only_rises(world in world()) {
        let world = world.edit(|observed| observed.accept = None);
        let plan = world.plan();
        let Some(held) = world.observed.mark() else { return Ok(()) };
        for mark in marks(&plan) {
            prop_assert_eq!(mark.system_identifier, held.system_identifier);
            prop_assert!((mark.timeline, mark.lsn) > (held.timeline, held.lsn));
            prop_assert!(mark.timeline > held.timeline || mark.data == held.data);
        }
        for pod in granted(&plan) {
            let view = &world.observed.pods[pod];
            let report = view.sightings.deciding().and_then(|sighting| sighting.report.as_ref()).expect("an answer");
            prop_assert_eq!(report.system_identifier, held.system_identifier);
            prop_assert_eq!(report.timeline, held.timeline);
            prop_assert_eq!(&view.data, &held.data);
            prop_assert!(report.lsn >= held.lsn);
        }
    }

    /// Every object without this reign's stamp, or with an unsettled write, is written in this turn, and none twice.
    #[test]
    fn everything_is_stamped_and_nothing_is_written_twice(world in world()) {
        let plan = world.plan();
        for (pod, view) in &world.observed.pods {
            let count = plan.actions.iter().filter(|action| written(action) == Some(pod)).count();
            prop_assert!(count <= 1);
            prop_assert!(count == 1 || (stamped(view) && !view.unknown), "{} is not stamped", pod.name);
        }
        for (name, slice) in &world.observed.slices.slices {
            let count = plan.actions.iter().filter(|action| action.slice() == Some(name)).count();
            prop_assert!(count <= 1);
            let fenced = slice.held.as_ref().is_none_or(|held| ours(&held.stamp) && !held.unknown);
            prop_assert!(count == 1 || fenced, "{name} is not stamped");
        }
        let ledger = |action: &&Action| matches!(action, Action::StampLedger { .. } | Action::SetMark { .. });
        prop_assert!(plan.actions.iter().filter(ledger).count() <= 1);
    }

    /// A paused route is stamped and nothing else; an excluded pod gets no role.
    #[test]
    fn a_persons_no_is_heard(world in world()) {
        for action in world.plan().actions {
            if world.observed.paused {
                let stamps = matches!(action, Action::Stamp { .. } | Action::StampLedger { .. } | Action::StampSlice { .. });
                prop_assert!(stamps, "{action:?}");
            }
            let excluded = written(&action).is_some_and(|pod| world.observed.pods[pod].excluded);
            let none = matches!(action, Action::Stamp { .. } | Action::Withdraw { to: None, .. } | Action::Relabel { to: None, .. });
            prop_assert!(!excluded || none, "{action:?}");
        }
    }

    /// Whoever meets a higher claim stops, and writes nothing.
    #[test]
    fn a_higher_claim_ends_the_reign(world in world(), other_holder in any::<bool>()) {
        let stamp = if other_holder {
            Stamp { term: TERM, n: 0, holder: Holder(1) }
        } else {
            Stamp { term: Term(TERM.0 + 1), n: 0, holder: Holder(0xaaaa_aaaa) }
        };
        if world.observed.pods.is_empty() {
            return Ok(());
        }
        let term = stamp.term;
        let world = world.edit_pod("a", |pod| pod.stamp = StampState::Known(stamp));
        prop_assert_eq!(world.plan().actions, vec![Action::StepDown { met: term }]);
    }

    /// Until `wake_at` a plan stays what it is while nothing new is seen.
    #[test]
    fn nothing_differs_before_wake_at(world in world(), part in 0.0..1.0_f64) {
        let plan = world.plan();
        let far = Duration::from_mins(10);
        let until = plan.wake_at.map_or(far, |at| at.since(world.observed.at).saturating_sub(Duration::from_nanos(1)));
        let later = world.clone().unprobed(until.mul_f64(part)).plan();
        prop_assert_eq!(told(&later), told(&plan));
        prop_assert_eq!(later.verdict, plan.verdict);
        prop_assert!(plan.wake_at.is_none_or(|at| at > world.observed.at));
    }

    /// DropAll: none is primary while two take writes.
    #[test]
    fn drop_all_leaves_none_while_two_take_writes(world in world(), timelines in (1..4_u32, 1..4_u32)) {
        let mut world = world
            .pod("a", |pod| pod.labelled(Role::Primary).writable(timelines.0, "0/5000000"))
            .pod("b", |pod| pod.writable(timelines.1, "0/5000000"))
            .policy(SplitBrainPolicy::DropAll)
            .edit(|observed| observed.paused = false);
        let turns = settle(&mut world);
        prop_assert!(turns.iter().all(|plan| granted(plan).is_empty()));
        prop_assert_eq!(world.primaries(), 0);
    }
}

/// A route that says it is moving has to be waiting for something that only the world can bring.
fn stuck(world: &World) -> bool {
    let chosen = world.plan().chosen;
    let pod = chosen.and_then(|chosen| world.observed.pods.get(&chosen).cloned());
    let among_endpoints = world.observed.pods.values().any(|pod| pod.out_of_write_since.is_none());
    let unsettled = world.observed.ledger_unknown;
    let slices = &world.observed.slices;
    let chosen = world.plan().chosen;
    let listable = chosen.is_some_and(|chosen| {
        slices
            .for_writes()
            .any(|(_, slice)| slice.targets.contains_key(&chosen))
    });
    if slices.is_routing && (slices.writes_blocked.is_some() || !listable) {
        return false;
    }
    pod.is_some_and(|pod| pod.lifecycle == Lifecycle::Alive) && !among_endpoints && !unsettled && !world.observed.paused
}

#[test]
fn i4_decide_is_total_at_the_ends_of_its_numbers() {
    for at in [0, u64::MAX] {
        for world in [World::new(), World::pair()] {
            let world = world.edit(|observed| observed.at = Tick::from_nanos(at));
            assert!(world.plan().actions.len() <= 2);
            let extreme = world.edit(|observed| {
                for pod in observed.pods.values_mut() {
                    pod.container = Container::Running { since_micros: i64::MIN };
                }
                observed.reign.mark_written = Tick::from_nanos(u64::MAX);
            });
            assert!(extreme.plan().actions.len() <= 2);
        }
    }
}

/// A generator that never grants would let every property pass.
#[test]
fn the_random_routes_are_worth_trying() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..1000 {
        let world = world().new_tree(&mut runner).expect("a route").current();
        for text in told(&world.plan()) {
            let kind = ["grant", "withdraw", "relabel", "mark", "stamp", "clear"]
                .into_iter()
                .find(|kind| text.starts_with(kind));
            *seen.entry(kind.unwrap_or("other")).or_default() += 1;
        }
    }
    let few: Vec<_> = ["grant", "withdraw", "relabel", "mark", "stamp", "clear"]
        .into_iter()
        .filter(|kind| seen.get(kind).is_none_or(|count| *count < 2))
        .collect();
    assert!(few.is_empty(), "too few of {few:?} in {seen:?}");
}
