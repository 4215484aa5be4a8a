//! What holds for any route whose EndpointSlices the controller writes itself. Tests I1 of docs/invariants.md for them.

use std::{collections::BTreeSet, time::Duration};

use probe::Evidence;
use proptest::{prelude::*, sample::select, test_runner::Config};
use shared::role::Role;

use super::{
    Action, LabelState, Lifecycle, PodKey, Purpose,
    fixtures::{Saw, World, lsn},
    properties::{ours, writable_now},
    random::{FAMILIES, world as any_world},
};
use crate::{sighting::Via, stamp::StampState};

/// How many routes each property is tried on.
const CASES: u32 = 1500;

/// A route in the middle of a switch from `a` to `b`, as far as it may have come.
fn switching() -> impl Strategy<Value = World> {
    let saw = prop_oneof![
        3 => Just(Saw::Down),
        1 => Just(Saw::Writable(1, lsn("0/5000000"))),
        1 => Just(Saw::InRecovery(1, lsn("0/5000000"))),
        1 => Just(Saw::Starting),
        1 => Just(Saw::Silent),
    ];
    let age = || (0..3000_u64).prop_map(Duration::from_millis);
    let listed = || select(&[None, None, Some("a"), Some("b")][..]);
    let flaw = || prop::bool::weighted(0.04);
    let slices = (1..=FAMILIES.len(), listed(), listed(), flaw(), flaw());
    let labels = (any::<bool>(), any::<bool>(), any::<bool>());
    (saw, age(), age(), labels, slices).prop_map(
        |(saw, since, out, (a_labelled, b_labelled, marked), (families, one, two, unstamped, unknown))| {
            let world = if marked {
                World::new().mark("b", 2, "0/5000000")
            } else {
                World::new().mark("a", 1, "0/5000000")
            };
            let world = world
                .pod("a", |pod| {
                    let pod = pod
                        .was_writable(Duration::from_secs(3), 1, "0/5000000")
                        .saw(Via::Fresh, since, saw);
                    let pod = pod.saw(Via::Fresh, Duration::ZERO, saw).out_of_write_for(out);
                    if a_labelled { pod.labelled(Role::Primary) } else { pod }
                })
                .pod("b", |pod| {
                    let role = if b_labelled && !a_labelled {
                        Role::Primary
                    } else {
                        Role::Replica
                    };
                    pod.labelled(role).writable(2, "0/5000000")
                })
                .routed(&FAMILIES[..families]);
            let mut world = world.listing("rw-4", one.as_slice());
            if families > 1 {
                world = world.listing("rw-6", two.as_slice());
            }
            world
                .edit_pod("a", |pod| {
                    pod.out_of_write_since = pod.out_of_write_since.map(|at| at - out);
                })
                .edit_slice("rw-4", |slice| slice.unknown = unknown)
                .edit_slice("ro-4", |slice| {
                    slice.stamp = if unstamped {
                        StampState::Absent
                    } else {
                        slice.stamp.clone()
                    }
                })
        },
    )
}

/// Any route whatever, and one in the middle of a switch.
fn world() -> impl Strategy<Value = World> {
    prop_oneof![any_world(), switching()]
}

/// The servers that a plan lists for writes and that were not listed there before, by slice.
fn let_in(world: &World, actions: &[Action]) -> Vec<(String, PodKey)> {
    let slices = &world.observed.slices;
    let mut found = Vec::new();
    for action in actions {
        let Action::SetEndpoints { slice, to, .. } = action else {
            continue;
        };
        let view = &slices.slices[&slice.name];
        if view.service != slices.write_service {
            continue;
        }
        let before = &view.held.as_ref().expect("it is there").listing.endpoints;
        for endpoint in &to.endpoints {
            let same = |old: &&super::Endpoint| old.pod == endpoint.pod && old.address == endpoint.address;
            if before.iter().find(same).is_none() {
                found.push((slice.name.clone(), endpoint.pod.clone()));
            }
        }
    }
    found
}

/// The servers to which the write Service leads, and whether others may have written something more into its slices.
fn led_to(world: &World) -> (BTreeSet<PodKey>, bool) {
    let strange = world
        .observed
        .slices
        .of_write_service()
        .any(|(_, slice)| slice.held.as_ref().is_some_and(|held| !held.is_sound));
    (world.listed(), strange)
}

proptest! {
    #![proptest_config(Config { cases: CASES, failure_persistence: None, ..Config::default() })]

    /// I1: in whatever order the writes of a plan are carried out, and however many of them, the write Service never leads to two
    /// servers unless it did before.
    #[test]
    fn i1_no_write_makes_two_of_one(world in world(), order in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let (before, strange) = led_to(&world);
        prop_assume!(before.len() <= 1 && !strange);
        let mut left = world.plan().actions;
        let mut world = world;
        for index in order {
            if left.is_empty() {
                break;
            }
            let action = left.swap_remove(index.index(left.len()));
            world.apply(&action);
            prop_assert!(world.listed().len() <= 1, "{:?} after {action:?}", world.listed());
        }
    }

    /// I1: whoever labelled or listed them, one turn leaves at most one server in each slice, and two turns in all of them.
    #[test]
    fn i1_two_turns_leave_at_most_one(world in world()) {
        let mut world = world.edit(|observed| observed.paused = false);
        let steps_down = |action: &Action| matches!(action, Action::StepDown { .. });
        for _ in 0..2 {
            let plan = world.plan();
            if plan.actions.iter().any(steps_down) {
                return Ok(());
            }
            plan.actions.iter().for_each(|action| world.apply(action));
        }
        let (after, strange) = led_to(&world);
        prop_assert!(after.len() <= 1 && !strange, "{after:?}");
    }

    /// I1, I3, I6, I9: who is listed anew takes writes as of a moment ago and is the mark's; every slice and every pod is fenced, no other
    /// pod is labelled primary, no other slice leads elsewhere, and nobody else lists endpoints.
    #[test]
    fn i1_a_server_is_listed_by_the_rules_of_a_grant(world in world()) {
        let plan = world.plan();
        for (slice, chosen) in let_in(&world, &plan.actions) {
            let observed = &world.observed;
            let view = &observed.pods[&chosen];
            prop_assert!(observed.slices.is_routing && observed.slices.writes_blocked.is_none());
            prop_assert!(writable_now(observed, view, world.policy.sighting_limit()));
            prop_assert!(!view.excluded && view.lifecycle == Lifecycle::Alive && !observed.paused);
            let mark = observed.mark().expect("a mark");
            prop_assert_eq!(&mark.data, &view.data);
            prop_assert!(!observed.ledger_unknown);
            for (pod, view) in &observed.pods {
                prop_assert!(!view.unknown && ours(&view.stamp), "{} is not fenced", pod.name);
                prop_assert!(*pod == chosen || view.label != LabelState::Known(Role::Primary), "{} is primary", pod.name);
            }
            for (name, other) in &observed.slices.slices {
                let held = other.held.as_ref();
                prop_assert!(held.is_none_or(|held| !held.unknown && ours(&held.stamp)), "{name} is not fenced");
                if *name != slice && other.service == observed.slices.write_service {
                    let elsewhere = held.is_some_and(|held| held.listing.endpoints.iter().any(|endpoint| endpoint.pod != chosen));
                    prop_assert!(!elsewhere, "{name} leads elsewhere");
                }
            }
        }
    }

    /// Nobody is replaced in one write who may still take writes.
    #[test]
    fn i1_a_server_that_takes_writes_is_let_go_before_another_is_listed(world in world()) {
        let plan = world.plan();
        for (_, chosen) in let_in(&world, &plan.actions) {
            let limit = world.policy.sighting_limit();
            for (pod, view) in world.observed.pods.iter().filter(|(pod, _)| **pod != chosen) {
                if view.lifecycle != Lifecycle::Ended && writable_now(&world.observed, view, limit) {
                    let out = view.out_of_write_since.map(|since| world.observed.at.since(since));
                    prop_assert!(out >= Some(world.policy.beaten_gap), "{} was let go of {out:?} ago", pod.name);
                }
            }
        }
    }

    /// Never a stale one: after a turn the write Service leads to the primary, or to one who refuses connections and had been it.
    #[test]
    fn who_stays_listed_is_the_primary_or_refuses(world in world()) {
        let mut world = world.edit(|observed| observed.paused = false);
        let plan = world.plan();
        if plan.actions.iter().any(|action| matches!(action, Action::StepDown { .. })) {
            return Ok(());
        }
        plan.actions.iter().for_each(|action| world.apply(action));
        for pod in world.listed() {
            let member = plan.members.get(&pod);
            prop_assert!(member.is_some(), "{} is gone", pod.name);
            let member = member.expect("just looked at");
            let primary = member.desired == Some(Role::Primary);
            prop_assert!(primary || member.evidence == Evidence::Down, "{}: {member:?}", pod.name);
            prop_assert!(!world.observed.pods[&pod].excluded);
        }
    }

    /// Slices that no Service of the route asks for lead nowhere after one turn.
    #[test]
    fn what_is_left_is_emptied(world in world()) {
        let mut world = world.edit(|observed| observed.paused = false);
        let plan = world.plan();
        if plan.actions.iter().any(|action| matches!(action, Action::StepDown { .. })) {
            return Ok(());
        }
        plan.actions.iter().for_each(|action| world.apply(action));
        for slice in world.observed.slices.slices.values().filter(|slice| slice.purpose == Purpose::Nothing) {
            prop_assert!(slice.held.as_ref().is_none_or(|held| held.is_sound && held.listing.endpoints.is_empty()));
        }
    }
}

/// A generator that never lists anybody would let every property pass.
#[test]
fn the_random_slices_are_worth_trying() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let (mut listed, mut emptied, mut dual) = (0, 0, 0);
    for _ in 0..1000 {
        let world = world().new_tree(&mut runner).expect("a route").current();
        let actions = world.plan().actions;
        let new = let_in(&world, &actions);
        listed += usize::from(!new.is_empty());
        dual += usize::from(new.len() > 1);
        emptied += actions
            .iter()
            .filter(|action| matches!(action, Action::SetEndpoints { to, .. } if to.endpoints.is_empty()))
            .count();
    }
    assert!(listed > 30 && dual > 5 && emptied > 100, "{listed} {dual} {emptied}");
}
