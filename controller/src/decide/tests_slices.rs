//! Routes whose EndpointSlices the controller writes itself. Tests I1 of docs/invariants.md for them.

use std::time::Duration;

use shared::role::Role;

use super::{
    Family, Purpose, Verdict,
    fixtures::{ENDED, Pod, Saw, World, check, key, lsn, port, seconds, told},
};
use crate::{sighting::Via, stamp::StampState};

const ONE: &[Family] = &[Family::V4];
const TWO: &[Family] = &[Family::V4, Family::V6];

/// `a` is primary on timeline 1, `b` its replica, and the slices say so.
fn pair() -> World {
    World::pair().routed(ONE)
}

/// `a` was last seen as the primary so long ago; it is now as `build` makes it.
fn last_seen(ago: Duration, build: impl FnOnce(Pod) -> Pod) -> World {
    World::pair().pod("a", |pod| {
        build(pod.labelled(Role::Primary).was_writable(ago, 1, "0/5000000"))
    })
}

/// `a` was last seen as the primary three seconds ago.
fn lost(build: impl FnOnce(Pod) -> Pod) -> World {
    last_seen(seconds(3), build)
}

/// The primary refuses connections since this long.
fn refusing(refused_for: Duration) -> World {
    lost(|pod| pod.saw(Via::Fresh, refused_for, Saw::Down).down())
}

/// `b` was promoted while `a` refuses connections since this long.
fn promoted(refused_for: Duration) -> World {
    refusing(refused_for).pod("b", |pod| pod.labelled(Role::Replica).writable(2, "0/5000000"))
}

#[test]
fn a_route_at_rest_writes_nothing() {
    check([
        ("one family", pair(), &[]),
        ("two families", World::pair().routed(TWO), &[]),
        ("paused, with nobody listed", pair().listing("rw-4", &[]).paused(), &[]),
    ]);
    assert_eq!(pair().plan().verdict, Verdict::Settled);
}

#[test]
fn a_primary_that_is_down_is_replaced_by_one_write() {
    let mut world = promoted(Duration::from_millis(300)).routed(ONE);
    let first = world.plan();
    assert_eq!(told(&first), ["withdraw a to none", "mark b 2 0/5000000"]);
    first.actions.iter().for_each(|action| world.apply(action));
    assert_eq!(told(&world.plan()), ["grant b", "list b in rw-4"]);
    let turns: Vec<_> = world.settle().iter().map(told).collect();
    // The read Service follows after the write Service: kube-proxy leaves a second between two changes.
    assert_eq!(turns, [vec!["grant b", "list b in rw-4"], vec!["list nobody in ro-4"]]);
}

#[test]
fn a_primary_that_is_down_stays_listed_for_a_second_while_it_refuses_and_nobody_else_takes_writes() {
    let withdrawn: &[&str] = &["withdraw a to none", "list nobody in rw-4"];
    let soon = refusing(Duration::from_millis(900)).routed(ONE);
    assert_eq!(soon.plan().wake_at, Some(soon.observed.at + Duration::from_millis(100)));
    let beside = lost(Pod::down).pod("c", |pod| {
        pod.labelled(Role::Orphan).of_system(9).writable(3, "0/5000000")
    });
    let moved = lost(Pod::down).routed(ONE).edit(|observed| {
        let slice = observed.slices.slices.get_mut("rw-4").unwrap();
        slice.targets.get_mut(&key("a")).unwrap().address = "10.0.0.77".parse().unwrap();
    });
    let no_attempt = World::pair().pod("a", |pod| {
        pod.labelled(Role::Primary).writable(1, "0/5000000").container(ENDED)
    });
    let standby = World::pair().pod("a", |pod| pod.labelled(Role::Primary).in_recovery(1, "0/5000000"));
    check([
        ("a moment ago", soon, &["withdraw a to none"]),
        ("a second ago", refusing(seconds(1)).routed(ONE), withdrawn),
        (
            "another one takes writes, and is not the chosen one",
            beside.routed(ONE),
            withdrawn,
        ),
        (
            "it is being deleted",
            lost(|pod| pod.down().terminating()).routed(ONE),
            withdrawn,
        ),
        (
            "its container ended, and nobody has tried to connect since",
            no_attempt.routed(ONE),
            withdrawn,
        ),
        ("it is starting", lost(Pod::starting).routed(ONE), withdrawn),
        (
            "it is a standby now",
            standby.routed(ONE),
            // It serves reads a turn later: nothing is to come between the write Service and its next primary.
            &["withdraw a to replica", "list nobody in rw-4", "list a+b in ro-4"],
        ),
        (
            "two families",
            lost(Pod::down).routed(TWO),
            &["withdraw a to none", "list nobody in rw-4", "list nobody in rw-6"],
        ),
        ("the pod is gone", pair().without("a"), &["list nobody in rw-4"]),
        ("the pod has another address now", moved, withdrawn),
    ]);
}

#[test]
fn a_standby_that_is_being_promoted_stays_in_the_read_service_while_its_promotion_is_awaited() {
    // It has begun to write its new timeline and is in recovery still: a change of the read Service now would put off the switch.
    let world = |refused_for| {
        let promoting = |pod: Pod| pod.labelled(Role::Replica).in_recovery(2, "0/5000000");
        refusing(refused_for).pod("b", promoting).routed(ONE)
    };
    check([
        (
            "a moment ago",
            world(Duration::ZERO),
            &["withdraw a to none", "relabel b to none"],
        ),
        (
            "a second ago",
            world(seconds(1)),
            &[
                "withdraw a to none",
                "relabel b to none",
                "list nobody in rw-4",
                "list nobody in ro-4",
            ],
        ),
    ]);
}

#[test]
fn a_beaten_server_that_takes_writes_is_let_go_before_its_successor_is_listed() {
    let mut world = World::pair()
        .pod("b", |pod| pod.labelled(Role::Replica).writable(2, "0/5000000"))
        .routed(ONE);
    let first = world.plan();
    assert_eq!(
        told(&first),
        ["withdraw a to orphan", "mark b 2 0/5000000", "list nobody in rw-4"]
    );
    first.actions.iter().for_each(|action| world.apply(action));
    assert_eq!(told(&world.plan()), [""; 0]);
    assert_eq!(world.plan().wake_at.map(|at| at >= world.observed.at), Some(true));
    let mut world = world.later(Duration::from_millis(1900));
    assert_eq!(told(&world.plan()), [""; 0]);
    world = world.later(Duration::from_millis(100));
    assert_eq!(told(&world.plan()), ["grant b", "list b in rw-4"]);
}

#[test]
fn two_families_are_emptied_before_either_is_filled() {
    let mut world = promoted(Duration::from_millis(300)).routed(TWO);
    let turns: Vec<_> = world.settle().iter().map(told).collect();
    assert_eq!(
        turns,
        [
            vec![
                "withdraw a to none",
                "mark b 2 0/5000000",
                "list nobody in rw-4",
                "list nobody in rw-6"
            ],
            vec!["grant b", "list b in rw-4", "list b in rw-6"],
            vec!["list nobody in ro-4", "list nobody in ro-6"],
        ]
    );
    // One of them was not emptied.
    let world = promoted(Duration::from_millis(300))
        .mark("b", 2, "0/5000000")
        .pod("a", Pod::down)
        .routed(TWO)
        .listing("rw-4", &["a"]);
    assert_eq!(told(&world.plan()), ["list nobody in rw-4"]);
}

#[test]
fn nobody_is_listed_before_every_slice_is_this_reigns() {
    let vacant = || {
        World::new()
            .mark("a", 1, "0/5000000")
            .pod("a", |pod| pod.writable(1, "0/5000000"))
            .routed(ONE)
    };
    let old = StampState::of(Some("6.1.aaaaaaaa"));
    check([
        ("all are", vacant(), &["grant a", "list a in rw-4"]),
        (
            "the write Service's is not",
            vacant().edit_slice("rw-4", |slice| slice.stamp = old.clone()),
            &["stamp rw-4"],
        ),
        (
            "the read Service's is not",
            vacant().edit_slice("ro-4", |slice| slice.stamp = StampState::Absent),
            &["stamp ro-4"],
        ),
        (
            "a write had no answer",
            vacant().edit_slice("rw-4", |slice| slice.unknown = true),
            &["stamp rw-4"],
        ),
        ("it is not there", vacant().without_slice("rw-4"), &["create rw-4"]),
        (
            "it is not there and nobody may be listed",
            vacant().without_slice("rw-4").foreign_endpoints(),
            &[],
        ),
        ("others list endpoints", vacant().foreign_endpoints(), &[]),
        (
            "the pod cannot be listed",
            vacant().edit(|observed| observed.slices.slices.get_mut("rw-4").unwrap().targets.clear()),
            &[],
        ),
    ]);
}

#[test]
fn a_stamp_of_somebody_above_ends_the_reign() {
    let world = pair().edit_slice("ro-4", |slice| slice.stamp = StampState::of(Some("8.1.aaaaaaaa")));
    assert_eq!(told(&world.plan()), ["step down before 8"]);
}

#[test]
fn what_others_write_into_a_slice_is_taken_out() {
    check([
        (
            "a stranger beside the primary",
            pair().listing("rw-4", &["a", "b"]),
            &["list a in rw-4"],
        ),
        (
            "a stranger in its place",
            pair().listing("rw-4", &["b"]),
            &["list a in rw-4"],
        ),
        (
            "something that is no endpoint of ours",
            pair().edit_slice("rw-4", |slice| slice.is_sound = false),
            &["list a in rw-4"],
        ),
        (
            "the primary among the replicas",
            pair().listing("ro-4", &["a", "b"]),
            &["list b in ro-4"],
        ),
        ("the slice is emptied", pair().listing("rw-4", &[]), &["list a in rw-4"]),
        ("it is deleted", pair().without_slice("rw-4"), &["create rw-4"]),
    ]);
}

#[test]
fn a_primary_stays_listed_through_whatever_it_would_keep_its_label_through() {
    check([
        (
            "silent for a moment",
            last_seen(seconds(2), Pod::silent).routed(ONE),
            &[],
        ),
        ("it bars the probe", last_seen(seconds(2), Pod::barred).routed(ONE), &[]),
        ("others list endpoints too", pair().foreign_endpoints(), &[]),
        (
            "its label was taken off",
            pair().edit_pod("a", |pod| pod.label = super::LabelState::Absent),
            &["grant a"],
        ),
    ]);
}

#[test]
fn the_ports_follow_the_service_without_another_switch() {
    let moved = pair().edit(|observed| {
        for slice in observed.slices.slices.values_mut() {
            for target in slice.targets.values_mut() {
                target.ports = vec![super::Port { number: 6000, ..port() }];
            }
        }
    });
    let mut settled = moved;
    let turns: Vec<_> = settled.settle().iter().map(told).collect();
    assert_eq!(turns, [vec!["list a in rw-4"], vec!["list b in ro-4"]]);
}

#[test]
fn replicas_are_listed_when_the_kubelet_calls_them_ready_and_one_that_ends_is_draining() {
    let three = || World::pair().pod("c", |pod| pod.labelled(Role::Replica).in_recovery(1, "0/5000000"));
    check([
        (
            "not ready",
            three().routed(ONE).edit(|observed| {
                let slice = observed.slices.slices.get_mut("ro-4").unwrap();
                slice.targets.get_mut(&key("c")).unwrap().is_ready = false;
            }),
            &["list b in ro-4"],
        ),
        (
            "down",
            three().routed(ONE).see("c", Saw::Down),
            &["relabel c to none", "list b in ro-4"],
        ),
        (
            "one of three has the port under another number",
            three().routed(ONE).edit(|observed| {
                let slice = observed.slices.slices.get_mut("ro-4").unwrap();
                slice.targets.get_mut(&key("b")).unwrap().ports[0].number = 1;
                slice.targets.insert(key("d"), slice.targets[&key("c")].clone());
            }),
            &["list c in ro-4"],
        ),
    ]);
    let draining = pair().edit_pod("b", |pod| pod.lifecycle = super::Lifecycle::Terminating);
    let plan = draining.plan();
    let [super::Action::SetEndpoints { to, .. }] = plan.actions.as_slice() else {
        panic!("{plan:#?}");
    };
    assert!(to.endpoints[0].draining);
}

#[test]
fn what_earlier_times_have_left_is_emptied_and_stands_in_the_way_until_then() {
    let left = |world: World| {
        world.edit(|observed| {
            let slices = &mut observed.slices;
            slices.is_routing = false;
            slices.slices.remove("ro-4");
            slices.slices.get_mut("rw-4").unwrap().purpose = Purpose::Nothing;
        })
    };
    let labels = promoted(Duration::from_millis(300))
        .mark("b", 2, "0/5000000")
        .pod("a", Pod::down);
    check([
        ("the primary's", left(pair()), &["list nobody in rw-4"]),
        (
            "another's",
            left(labels.clone().routed(ONE).listing("rw-4", &["a"])),
            &["list nobody in rw-4"],
        ),
        ("nobody's", left(labels.routed(ONE)), &["grant b"]),
    ]);
}

#[test]
fn a_successor_that_was_granted_but_not_listed_is_listed_later() {
    // The write to the slice was refused, the one to the label was not.
    let world = World::new()
        .mark("b", 2, "0/5000000")
        .pod("a", |pod| pod.saw(Via::Fresh, seconds(5), Saw::Down).down())
        .pod("b", |pod| {
            pod.labelled(Role::Primary)
                .saw(Via::Fresh, Duration::ZERO, Saw::Writable(2, lsn("0/5000000")))
        })
        .routed(ONE)
        .listing("rw-4", &["a"]);
    assert_eq!(told(&world.plan()), ["list b in rw-4"]);
}
