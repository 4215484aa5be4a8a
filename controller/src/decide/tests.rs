//! Evidence: what each answer, and each silence, does to the labels. A row for each line of the table in
//! docs/architecture.md. Tests I1, I3 and I6 of docs/invariants.md.

use std::time::Duration;

use probe::Evidence;
use shared::role::Role;

use super::{
    Container, Finding, Lifecycle, Verdict,
    fixtures::{ENDED, Pod, Saw, World, check, key, lsn, seconds, told},
};
use crate::sighting::Via;

/// The pair, but `a`, which is labelled primary, was writable `ago` and is now what `build` says.
fn primary(ago: Duration, build: impl FnOnce(Pod) -> Pod) -> World {
    World::pair().pod("a", |pod| {
        build(pod.labelled(Role::Primary).was_writable(ago, 1, "0/5000000"))
    })
}

/// The pair, but `b`, which is labelled replica, was in recovery `ago` and is now what `build` says.
fn replica(ago: Duration, build: impl FnOnce(Pod) -> Pod) -> World {
    World::pair().pod("b", |pod| {
        build(
            pod.labelled(Role::Replica)
                .saw(Via::Fresh, ago, Saw::InRecovery(1, lsn("0/5000000"))),
        )
    })
}

#[test]
fn what_a_primary_label_does_on_each_evidence() {
    let short = seconds(1);
    let long = seconds(10);
    check([
        ("writable: it keeps the label", World::pair(), &[]),
        (
            "in recovery: it goes at once",
            primary(short, |pod| pod.in_recovery(1, "0/5000000")),
            &["withdraw a to replica"],
        ),
        (
            "down: it goes at once",
            primary(short, Pod::down),
            &["withdraw a to none"],
        ),
        (
            "starting (57P03): it goes at once",
            primary(short, Pod::starting),
            &["withdraw a to none"],
        ),
        ("silent, not for long: kept", primary(short, Pod::silent), &[]),
        (
            "silent for silentAfter: it goes",
            primary(seconds(3), Pod::silent),
            &["withdraw a to none"],
        ),
        (
            "silent for long: it goes",
            primary(long, Pod::silent),
            &["withdraw a to none"],
        ),
        (
            "barred (53300, 28P01 ..): kept for ever",
            primary(long, Pod::barred),
            &[],
        ),
        ("unclear, not for long: as silent", primary(short, Pod::unclear), &[]),
        (
            "unclear for long: as silent",
            primary(long, Pod::unclear),
            &["withdraw a to none"],
        ),
    ]);
}

#[test]
fn what_a_primary_label_does_when_its_pod_ends() {
    let short = seconds(1);
    check([
        (
            "the container ended, though the last answer is fresh",
            World::pair().edit_pod("a", |pod| pod.container = ENDED),
            &["withdraw a to none"],
        ),
        (
            "the pod ended, though the last answer is fresh",
            World::pair().edit_pod("a", |pod| pod.lifecycle = Lifecycle::Ended),
            &["withdraw a to none"],
        ),
        (
            "the pod is gone: nothing is left to write",
            World::pair().without("a"),
            &[],
        ),
        (
            "terminating, and it still answers: kept",
            World::pair().edit_pod("a", |pod| pod.lifecycle = Lifecycle::Terminating),
            &[],
        ),
        (
            "terminating, and it stops answering",
            primary(short, |pod| pod.terminating().starting()),
            &["withdraw a to none"],
        ),
        (
            "excluded: it goes",
            World::pair().edit_pod("a", |pod| pod.excluded = true),
            &["withdraw a to none"],
        ),
    ]);
}

#[test]
fn what_a_replica_label_does_on_each_evidence() {
    let short = seconds(1);
    let long = seconds(10);
    check([
        ("in recovery: kept", World::pair(), &[]),
        (
            "writable, but not eligible: it goes",
            replica(short, |pod| pod.writable(1, "0/5000000")),
            &["relabel b to orphan"],
        ),
        (
            "down: it goes at once",
            replica(short, Pod::down),
            &["relabel b to none"],
        ),
        (
            "starting: it goes at once",
            replica(short, Pod::starting),
            &["relabel b to none"],
        ),
        ("silent, not for long: kept", replica(short, Pod::silent), &[]),
        (
            "silent for long: it goes",
            replica(long, Pod::silent),
            &["relabel b to none"],
        ),
        ("barred: kept", replica(long, Pod::barred), &[]),
        (
            "unclear for long: it goes",
            replica(long, Pod::unclear),
            &["relabel b to none"],
        ),
        (
            "excluded: it goes",
            replica(short, |pod| pod.in_recovery(1, "0/5000000").excluded()),
            &["relabel b to none"],
        ),
        (
            "another cluster's standby: it goes",
            World::pair().pod("b", |pod| {
                pod.labelled(Role::Replica).of_system(9).in_recovery(1, "0/5000000")
            }),
            &["relabel b to none"],
        ),
        (
            "on a timeline above the mark: it goes",
            replica(short, |pod| pod.in_recovery(2, "0/5000000")),
            &["relabel b to none"],
        ),
    ]);
}

#[test]
fn what_a_pod_without_a_label_becomes() {
    let standby = |timeline| World::pair().pod("b", move |pod| pod.in_recovery(timeline, "0/5000000"));
    check([
        (
            "a standby of the mark's cluster: replica",
            standby(1),
            &["relabel b to replica"],
        ),
        (
            "a standby on an earlier timeline: replica",
            World::pair()
                .mark("a", 2, "0/5000000")
                .pod("a", |pod| pod.labelled(Role::Primary).writable(2, "0/5000000"))
                .pod("b", |pod| pod.in_recovery(1, "0/5000000")),
            &["relabel b to replica"],
        ),
        ("a standby ahead of the mark: none", standby(2), &[]),
        (
            "another cluster's standby: none",
            World::pair().pod("b", |pod| pod.of_system(9).in_recovery(1, "0/5000000")),
            &[],
        ),
        (
            "a standby where there is no mark: none",
            World::new().pod("b", |pod| pod.in_recovery(1, "0/5000000")),
            &[],
        ),
        ("silent: nothing", World::pair().pod("b", Pod::silent), &[]),
        ("barred: nothing", World::pair().pod("b", Pod::barred), &[]),
        (
            "a foreign value is repaired",
            World::pair().pod("b", |pod| pod.label_text("master").in_recovery(1, "0/5000000")),
            &["relabel b to replica"],
        ),
        (
            "a foreign value on a silent pod goes",
            World::pair().pod("b", |pod| pod.label_text("master").silent()),
            &["relabel b to none"],
        ),
    ]);
}

#[test]
fn a_foreign_standby_is_named_only_where_there_is_a_mark_to_compare_with() {
    let foreign = |world: World| {
        world
            .plan()
            .findings
            .iter()
            .any(|finding| matches!(finding, Finding::Foreign { .. }))
    };
    assert!(foreign(
        World::pair().pod("b", |pod| pod.of_system(9).in_recovery(1, "0/5000000"))
    ));
    assert!(!foreign(
        World::new().pod("b", |pod| pod.of_system(9).in_recovery(1, "0/5000000"))
    ));
}

/// I3: an answer that is too old, from elsewhere, or from a server before this one, counts for nothing.
#[test]
fn i3_only_a_fresh_answer_of_this_very_server_counts() {
    let newer = Container::Running {
        since_micros: 60_000_000,
    };
    let promoted = |build: fn(Pod) -> Pod| {
        World::pair()
            .pod("a", |pod| pod.labelled(Role::Orphan).down())
            .pod("b", |pod| build(pod.labelled(Role::Replica)))
    };
    check([
        (
            "a promotion that is seen now: the mark is raised",
            promoted(|pod| pod.writable(2, "0/5000000")),
            &["relabel a to none", "mark b 2 0/5000000"],
        ),
        (
            "seen at the address before: not heard yet, label kept",
            promoted(|pod| pod.writable(2, "0/5000000").moved()),
            &["relabel a to none"],
        ),
        (
            "seen from a server older than the container: its label goes",
            promoted(|pod| pod.writable(2, "0/5000000")).edit_pod("b", |pod| {
                pod.container = newer;
            }),
            &["relabel a to none", "relabel b to none"],
        ),
        (
            "as old as the container, within what the kubelet cuts off",
            promoted(|pod| pod.writable(2, "0/5000000")).edit_pod("b", |pod| {
                pod.container = Container::Running {
                    since_micros: 3_000_000,
                };
            }),
            &["relabel a to none", "mark b 2 0/5000000"],
        ),
        (
            "seen long ago",
            promoted(|pod| pod.was_writable(seconds(2), 2, "0/5000000")),
            &["relabel a to none"],
        ),
    ]);
}

#[test]
fn i3_a_sighting_ends_exactly_at_its_limit() {
    let world = World::pair();
    let limit = world.policy.sighting_limit();
    assert_eq!(
        limit,
        Duration::from_millis(1800),
        "three rounds of interval and timeout"
    );
    let evidence = |age| {
        let world = World::pair().pod("a", |pod| pod.labelled(Role::Primary).was_writable(age, 1, "0/5000000"));
        world.plan().members[&key("a")].evidence
    };
    assert_eq!(
        evidence(limit.saturating_sub(Duration::from_nanos(1))),
        Evidence::Writable
    );
    assert_eq!(evidence(limit), Evidence::Silent);
}

#[test]
fn a_short_interval_does_not_make_a_server_silent_between_two_fresh_connections() {
    let mut world = World::pair();
    world.policy.interval = Duration::from_millis(10);
    world.policy.timeout = Duration::from_millis(50);
    let world = world.unprobed(Duration::from_millis(990));
    assert_eq!(world.plan().members[&key("a")].evidence, Evidence::Writable);
}

#[test]
fn another_servers_answers_keep_no_label_alive() {
    let world = primary(seconds(10), |pod| {
        pod.container(Container::Running {
            since_micros: 60_000_000,
        })
        .writable(1, "0/5000000")
    });
    assert_eq!(told(&world.plan()), ["withdraw a to none"]);
}

#[test]
fn a_fresh_connection_outranks_the_kept_one() {
    let kept = |ago| {
        move |pod: Pod, bad: Saw| {
            pod.labelled(Role::Primary).saw(Via::Fresh, ago, bad).saw(
                Via::Kept,
                Duration::from_millis(10),
                Saw::Writable(1, lsn("0/5000000")),
            )
        }
    };
    let build = kept(Duration::from_millis(900));
    let evidence = |saw| World::pair().pod("a", |pod| build(pod, saw)).plan().members[&key("a")].evidence;
    assert_eq!(
        evidence(Saw::Down),
        Evidence::Down,
        "a kept session hides a dead postmaster"
    );
    assert_eq!(
        evidence(Saw::Starting),
        Evidence::Starting,
        "a kept session hides a smart shutdown"
    );
    assert_eq!(
        evidence(Saw::Silent),
        Evidence::Silent,
        "a kept session hides a hung postmaster"
    );
    assert_eq!(
        evidence(Saw::Barred),
        Evidence::Writable,
        "full for others, but the kept session still sees"
    );
}

/// cloudnative-pg 2420: a full server was failed over, again and again.
#[test]
fn a_barred_primary_keeps_its_label_until_another_is_eligible() {
    let barred = || primary(seconds(3600), Pod::barred);
    let plan = barred().plan();
    assert_eq!(told(&plan), [""; 0]);
    assert_eq!(plan.verdict, Verdict::Settled);
    assert!(matches!(plan.findings.as_slice(), [Finding::Barred { .. }]));
    check([
        (
            "another is eligible",
            barred().pod("b", |pod| pod.labelled(Role::Replica).writable(2, "0/5000000")),
            &["withdraw a to none", "mark b 2 0/5000000"],
        ),
        (
            "another takes writes, and is not eligible",
            barred().pod("b", |pod| pod.writable(1, "0/5000000")),
            &["relabel b to orphan"],
        ),
    ]);
}

#[test]
fn a_role_from_a_pod_template_goes_at_once() {
    let born = |role: Role| move |pod: Pod| pod.labelled(role).unstamped();
    check([
        (
            "primary, and it is a standby",
            World::pair().pod("c", |pod| born(Role::Primary)(pod).in_recovery(1, "0/5000000")),
            &["withdraw c to replica"],
        ),
        (
            "primary, and it is the right one",
            World::pair().pod("a", |pod| born(Role::Primary)(pod).writable(1, "0/5000000")),
            &["withdraw a to none"],
        ),
        (
            "primary, and it has not answered",
            World::pair().pod("c", born(Role::Primary)),
            &["withdraw c to none"],
        ),
        (
            "replica, and it has not answered",
            World::pair().pod("c", born(Role::Replica)),
            &["relabel c to none"],
        ),
        (
            "replica, and it bars the probe",
            World::pair().pod("c", |pod| born(Role::Replica)(pod).barred()),
            &["relabel c to none"],
        ),
        (
            "replica, and it is one",
            World::pair().pod("c", |pod| born(Role::Replica)(pod).in_recovery(1, "0/5000000")),
            &["stamp c"],
        ),
        (
            "a stamp that is none of ours is as good as none",
            World::pair().edit_pod("a", |pod| {
                pod.stamp = crate::stamp::StampState::of(Some("yes"));
            }),
            &["withdraw a to none"],
        ),
    ]);
}

#[test]
fn while_paused_there_are_stamps_and_nothing_else() {
    let world = || {
        primary(seconds(1), Pod::down)
            .pod("b", |pod| {
                pod.unstamped().labelled(Role::Replica).writable(2, "0/5000000")
            })
            .pod("c", |pod| pod.unknown().label_text("x").in_recovery(1, "0/5000000"))
            .accept("b")
            .paused()
    };
    check([("stamps", world(), &["stamp b", "stamp c"])]);
    assert_eq!(world().plan().verdict, Verdict::Paused);
}

#[test]
fn an_excluded_server_is_stamped_has_no_role_and_is_never_chosen() {
    let excluded = || {
        World::pair().pod("b", |pod| {
            pod.excluded().labelled(Role::Replica).writable(2, "0/5000000")
        })
    };
    check([
        ("it loses its role", excluded(), &["relabel b to none"]),
        (
            "it is stamped",
            excluded().edit_pod("b", |pod| {
                pod.label = super::LabelState::Absent;
                pod.stamp = crate::stamp::StampState::Absent;
            }),
            &["stamp b"],
        ),
        (
            "also as the only one",
            excluded().edit_pod("a", |pod| pod.container = ENDED),
            &["withdraw a to none", "relabel b to none"],
        ),
    ]);
}

/// Logs, spans and metrics name what was done by these words.
#[test]
fn every_verdict_and_every_action_has_a_word_of_its_own() {
    use Verdict::{Blind, Moving, NoPrimary, Paused, Settled, SplitBrain};
    let verdicts = [Settled, Moving, NoPrimary, SplitBrain, Blind, Paused].map(|verdict| verdict.as_str().to_owned());
    assert_eq!(
        verdicts,
        [Settled, Moving, NoPrimary, SplitBrain, Blind, Paused].map(|verdict| format!("{verdict:?}"))
    );
    let plan = primary(seconds(1), Pod::down)
        .pod("b", |pod| {
            pod.labelled(Role::Replica).unstamped().writable(2, "0/5000000")
        })
        .plan();
    let named: Vec<_> = plan
        .actions
        .iter()
        .map(|action| (action.name(), action.pod()))
        .collect();
    assert_eq!(
        named,
        [
            ("stamp", Some(&key("b"))),
            ("withdraw", Some(&key("a"))),
            ("set mark", None)
        ]
    );
}
