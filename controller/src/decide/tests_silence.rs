//! Silence: how long it is borne, and when it may be the controller that cannot see. Tests I6 of docs/invariants.md.

use std::time::Duration;

use shared::role::Role;

use super::{
    LabelState, Verdict,
    fixtures::{ENDED, Pod, Saw, World, check, lsn, seconds, told},
};
use crate::clock::Tick;

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
                pod.container = ENDED;
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
    for (name, world) in [
        ("there are no pods", World::new()),
        (
            "no pod has an address",
            World::new().pod("a", |pod| pod).edit_pod("a", |pod| pod.ip = None),
        ),
        ("every pod has ended", World::new().pod("a", Pod::ended)),
    ] {
        assert_eq!(world.plan().verdict, Verdict::NoPrimary, "nothing to look at: {name}");
    }
}

/// What was heard exactly `silentAfter` ago is not heard any more; and then there is nothing left to wake for.
#[test]
fn sight_ends_exactly_when_the_last_reply_is_silent_after_old() {
    let heard = |ago| {
        World::pair()
            .pod("a", |pod| pod.labelled(Role::Primary).was_writable(ago, 1, "0/5000000"))
            .pod("b", |pod| pod.labelled(Role::Replica).silent())
    };
    let nearly = heard(seconds(3).saturating_sub(Duration::from_nanos(1)));
    assert_ne!(nearly.plan().verdict, Verdict::Blind);
    assert_eq!(
        nearly.plan().wake_at,
        Some(nearly.observed.at + Duration::from_nanos(1))
    );
    let over = heard(seconds(3)).plan();
    assert_eq!((over.verdict, over.wake_at), (Verdict::Blind, None));
}

#[test]
fn whose_wire_is_cut_does_not_withdraw_from_the_one_whose_last_answer_is_the_oldest() {
    let ms = Duration::from_millis;
    let cut = |ago| {
        primary(seconds(3), Pod::silent).edit(|observed| {
            let at = observed.at - ago;
            let other = observed.pods.values_mut().find(|pod| pod.sightings.replied > Some(at));
            other.expect("it has just answered").sightings.replied = Some(at);
        })
    };
    check([
        ("the other fell silent with it", cut(ms(2_950)), &[]),
        ("the other may just have been late", cut(ms(1_800)), &[]),
        ("the other is heard", cut(ms(1_799)), &["withdraw a to none"]),
    ]);
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
            "since the very moment of the primary's last reply",
            world(seconds(10), ms(100), 1).see("a", Saw::Silent),
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
            "another cluster's standby received",
            primary(seconds(10), Pod::silent).pod("b", |pod| {
                pod.of_system(9).labelled(Role::Replica).receiving(1, ms(600), ms(100))
            }),
            &["withdraw a to none", "relabel b to none"],
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

/// A reign of this age has heard that `b` was promoted, and nothing of `a`, which is labelled primary.
fn young(age: Duration) -> World {
    World::pair()
        .pod("a", |pod| pod.labelled(Role::Primary))
        .pod("b", |pod| pod.labelled(Role::Replica).writable(2, "0/5000000"))
        .edit(|observed| observed.reign.began = observed.at - age)
}

/// A new leader hears the servers one after the other; whoever answers first does not win by that.
#[test]
fn nobody_above_the_mark_is_chosen_before_all_have_been_heard_or_had_their_time() {
    let second = seconds(1);
    check([
        ("one was not heard yet: nothing moves", young(second), &[]),
        (
            "it has no address, so there is nothing to hear",
            young(second).edit_pod("a", |pod| pod.ip = None),
            &["withdraw a to none", "mark b 2 0/5000000"],
        ),
        (
            "it was heard, and has fallen silent since",
            young(second).pod("a", |pod| {
                pod.labelled(Role::Primary)
                    .was_writable(second, 1, "0/5000000")
                    .silent()
            }),
            &["withdraw a to none", "mark b 2 0/5000000"],
        ),
        (
            "asked, and without an answer yet",
            young(second).see("a", Saw::Silent),
            &[],
        ),
        ("it bars the probe", young(second).see("a", Saw::Barred), &[]),
        (
            "it has had its time",
            young(seconds(3)),
            &["withdraw a to none", "mark b 2 0/5000000"],
        ),
    ]);
    let nearly = young(Duration::from_millis(2900)).see("a", Saw::Barred);
    assert_eq!(
        nearly.plan().wake_at,
        Some(nearly.observed.at + Duration::from_millis(100)),
        "its time is over"
    );
    let plan = young(second).plan();
    assert_eq!(plan.verdict, Verdict::Moving);
    let ends = young(second).observed.at + Duration::from_millis(1750);
    assert_eq!(plan.wake_at, Some(ends), "b's sighting ends first");
}

#[test]
fn what_was_not_heard_at_first_decides_as_ever_once_it_is() {
    let moved: &[&str] = &["withdraw a to orphan", "mark b 2 0/5000000"];
    let second = seconds(1);
    check([
        (
            "it is heard, and has what was promoted",
            young(second).see("a", Saw::Writable(1, lsn("0/5000000"))),
            moved,
        ),
        (
            "it is heard, and is far ahead of what was promoted",
            young(second).see("a", Saw::Writable(1, lsn("9/0"))),
            &["relabel b to orphan"],
        ),
        (
            "it is heard, and is another on the same timeline",
            young(second).see("a", Saw::Writable(2, lsn("9/0"))),
            &["withdraw a to orphan", "relabel b to orphan"],
        ),
        (
            "it is heard to be down",
            young(second).see("a", Saw::Down),
            &["withdraw a to none", "mark b 2 0/5000000"],
        ),
        (
            "it is excluded",
            young(second).edit_pod("a", |pod| pod.excluded = true),
            &["withdraw a to none", "mark b 2 0/5000000"],
        ),
        (
            "the mark's own server needs to wait for nobody",
            young(second).mark("b", 2, "0/5000000").edit_pod("a", |pod| {
                pod.label = LabelState::Absent;
                pod.out_of_write_since = pod.out_of_write_since.or(Some(Tick::default()));
            }),
            &["grant b"],
        ),
    ]);
}

#[test]
fn i6_a_server_that_was_seen_above_the_mark_is_not_forgotten_when_it_falls_silent() {
    let world = || {
        World::pair()
            .pod("a", |pod| pod.labelled(Role::Orphan).writable(1, "0/5000000"))
            .pod("b", |pod| pod.was_writable(seconds(2), 2, "0/5000000").silent())
    };
    check([
        ("silent: the one below gets nothing back", world(), &[]),
        ("barred: neither", world().see("b", Saw::Barred), &[]),
        ("down: now it does", world().see("b", Saw::Down), &["grant a"]),
        ("gone: now it does", world().without("b"), &["grant a"]),
    ]);
}
