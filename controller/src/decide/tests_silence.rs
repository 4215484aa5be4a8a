//! Silence: how long it is borne, and when it may be the controller that cannot see. Tests I6 of docs/invariants.md.

use std::time::Duration;

use shared::role::Role;

use super::{
    Container, Verdict,
    fixtures::{Pod, Saw, World, check, seconds, told},
};

/// The pair, but `a`, which is labelled primary, was writable `ago` and is now what `build` says.
fn primary(ago: Duration, build: impl FnOnce(Pod) -> Pod) -> World {
    World::pair().pod("a", |pod| {
        build(pod.labelled(Role::Primary).was_writable(ago, 1, "0/5000000"))
    })
}

#[test]
fn silence_withdraws_nothing_until_two_nodes_have_replied() {
    let silent = |nodes| primary(seconds(60), Pod::silent).edit(|observed| observed.reign.nodes_replied = nodes);
    check([
        ("none", silent(0), &[]),
        ("one", silent(1), &[]),
        ("two", silent(2), &["withdraw a to none"]),
    ]);
}

#[test]
fn a_new_reign_gives_a_silent_server_its_time() {
    let new = |age| primary(seconds(60), Pod::silent).edit(|observed| observed.reign.began = observed.at - age);
    check([
        ("it has just begun", new(seconds(2)), &[]),
        ("it has waited long enough", new(seconds(3)), &["withdraw a to none"]),
    ]);
}

#[test]
fn a_blind_controller_holds_every_label() {
    let silent = |pod: Pod| pod.was_writable(seconds(60), 1, "0/5000000").silent();
    let blind = || {
        World::pair()
            .pod("a", |pod| silent(pod.labelled(Role::Primary)))
            .pod("b", |pod| silent(pod.labelled(Role::Replica)))
    };
    let plan = blind().plan();
    assert_eq!((told(&plan), plan.verdict), (vec![], Verdict::Blind));
    check([
        (
            "a refusal is a reply: it sees",
            blind().see("b", Saw::Down),
            &["withdraw a to none", "relabel b to none"],
        ),
        (
            "the API server says that the container ended: no sight is needed",
            blind().edit_pod("a", |pod| {
                pod.container = Container::Stopped;
            }),
            &["withdraw a to none"],
        ),
    ]);
    let before = World::pair().edit(|observed| observed.reign.began = observed.at - Duration::from_millis(10));
    assert_ne!(
        before.plan().verdict,
        Verdict::Blind,
        "a reign that has just begun is not blind yet"
    );
    assert_ne!(World::new().plan().verdict, Verdict::Blind, "nothing to look at");
}

#[test]
fn a_silent_primary_is_held_while_its_standby_receives() {
    let ms = Duration::from_millis;
    let world = |from, to, timeline| {
        primary(seconds(10), Pod::silent).pod("b", |pod| pod.labelled(Role::Replica).receiving(timeline, from, to))
    };
    check([
        ("it received within the last second", world(ms(600), ms(100), 1), &[]),
        ("not any more", world(ms(1600), ms(1000), 1), &["withdraw a to none"]),
        (
            "only before the primary's last reply",
            world(seconds(11), ms(100), 1),
            &["withdraw a to none"],
        ),
        (
            "from somebody on another timeline",
            world(ms(600), ms(100), 2),
            &["withdraw a to none", "relabel b to none"],
        ),
        (
            "but a fresh promotion ends the claim",
            world(ms(600), ms(100), 1).pod("c", |pod| pod.writable(2, "0/5000000")),
            &["withdraw a to none", "mark c 2 0/5000000"],
        ),
        (
            "the standby is not heard itself any more",
            world(ms(600), ms(100), 1).see("b", Saw::Silent),
            &["withdraw a to none"],
        ),
        (
            "it is not the mark's server that is silent",
            world(ms(600), ms(100), 1).mark("c", 1, "0/5000000"),
            &["withdraw a to none"],
        ),
    ]);
}

/// patroni 2050: a frozen node cannot take its own label off, and the leader's Service had two pods.
#[test]
fn a_frozen_node_loses_its_label_to_the_promoted_one() {
    let frozen =
        || primary(seconds(2), Pod::silent).pod("b", |pod| pod.labelled(Role::Replica).writable(2, "0/5000000"));
    check([
        (
            "at once, however short the silence",
            frozen(),
            &["withdraw a to none", "mark b 2 0/5000000"],
        ),
        (
            "also where too few reply to judge by silence",
            frozen().edit(|observed| observed.reign.nodes_replied = 1),
            &["withdraw a to none", "mark b 2 0/5000000"],
        ),
    ]);
}

#[test]
fn a_hold_by_a_standby_wakes_the_route_when_it_ends() {
    let ms = Duration::from_millis;
    let world =
        primary(seconds(10), Pod::silent).pod("b", |pod| pod.labelled(Role::Replica).receiving(1, ms(600), ms(100)));
    assert_eq!(world.plan().wake_at, Some(world.observed.at + ms(900)));
}
