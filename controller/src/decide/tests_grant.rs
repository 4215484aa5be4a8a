//! The grant: what it waits for, who may write at all, and how the mark is kept up. Tests I1 of docs/invariants.md.

use std::time::Duration;

use shared::{role::Role, term::Term};

use super::{
    Action, Finding, LabelState, LedgerView, Lifecycle, Verdict,
    fixtures::{Pod, Saw, TERM, World, check, key, lsn, seconds, told},
};
use crate::stamp::StampState;

/// `b` was promoted, the mark is its own, `a` is down, and nothing is in the way.
fn ready() -> World {
    World::pair()
        .mark("b", 2, "0/5000000")
        .pod("a", Pod::down)
        .pod("b", |pod| pod.labelled(Role::Replica).writable(2, "0/5000000"))
}

/// The same, but `a` takes writes still.
fn beaten() -> World {
    ready().pod("a", |pod| pod.labelled(Role::Orphan).writable(1, "0/5000000"))
}

#[test]
fn i1_a_grant_waits_for_everything_that_could_make_it_a_second_one() {
    check([
        ("nothing is in the way", ready(), &["grant b"]),
        (
            "another pod is labelled primary",
            ready().edit_pod("a", |pod| pod.label = LabelState::Known(Role::Primary)),
            &["withdraw a to none"],
        ),
        (
            "a write to another pod is unsettled",
            ready().edit_pod("a", |pod| pod.unknown = true),
            &["stamp a"],
        ),
        (
            "a write to the pod itself is unsettled",
            ready().edit_pod("b", |pod| pod.unknown = true),
            &["stamp b"],
        ),
        (
            "a write to the ledger is unsettled",
            ready().edit(|observed| observed.ledger_unknown = true),
            &["stamp ledger"],
        ),
    ]);
}

#[test]
fn i1_a_grant_waits_until_everything_carries_this_reigns_stamp() {
    check([
        (
            "another pod is not stamped",
            ready().edit_pod("a", |pod| pod.stamp = StampState::Absent),
            &["stamp a"],
        ),
        (
            "another pod carries an earlier reign's stamp",
            ready().pod("a", |pod| pod.down().stamped("6.9.bbbbbbbb")),
            &["stamp a"],
        ),
        (
            "another pod carries something else",
            ready().pod("a", |pod| pod.down().stamped("6.9")),
            &["stamp a"],
        ),
        (
            "an excluded pod is not stamped",
            ready().pod("a", |pod| pod.down().excluded().unstamped()),
            &["stamp a"],
        ),
        (
            "a pod that has ended is not stamped",
            ready().pod("a", |pod| pod.ended().unstamped()),
            &["stamp a"],
        ),
        (
            "the ledger carries an earlier reign's stamp",
            ready().edit(|observed| {
                if let LedgerView::Present { stamp, .. } = &mut observed.ledger {
                    *stamp = StampState::of(Some("6.9.bbbbbbbb"));
                }
            }),
            &["stamp ledger"],
        ),
        (
            "the ledger's floor is an earlier term",
            ready().edit(|observed| {
                if let LedgerView::Present { ledger, .. } = &mut observed.ledger {
                    ledger.term_floor = Term(6);
                }
            }),
            &["stamp ledger"],
        ),
        (
            "the mark is not its own yet",
            ready().mark("a", 1, "0/5000000"),
            &["mark b 2 0/5000000"],
        ),
        (
            "the pod is being deleted",
            ready().edit_pod("b", |pod| pod.lifecycle = Lifecycle::Terminating),
            &[],
        ),
    ]);
}

/// A write to the ledger that creates it can only succeed once; one that changes it is settled first.
#[test]
fn an_unsettled_ledger_is_stamped_or_created_before_anything_is_marked() {
    let first = || {
        World::new()
            .pod("a", |pod| pod.writable(1, "0/5000000"))
            .edit(|observed| observed.ledger_unknown = true)
    };
    check([
        ("its creation had no answer", first(), &["mark a 1 0/5000000"]),
        (
            "its creation had no answer, and a person accepts",
            first().accept("a"),
            &["mark a 1 0/5000000"],
        ),
        (
            "its change had no answer",
            ready()
                .mark("a", 1, "0/5000000")
                .edit(|observed| observed.ledger_unknown = true),
            &["stamp ledger"],
        ),
        (
            "its change had no answer, and a person accepts",
            World::pair()
                .pod("a", Pod::down)
                .pod("b", |pod| pod.writable(1, "0/5000000"))
                .accept("b")
                .edit(|observed| observed.ledger_unknown = true),
            &["stamp ledger"],
        ),
    ]);
}

#[test]
fn i1_the_write_service_is_given_time_to_let_go_of_a_beaten_server() {
    let gap = World::new().policy.beaten_gap;
    let just = gap.saturating_sub(Duration::from_millis(1));
    let out = |age| {
        beaten().pod("a", move |pod| {
            pod.labelled(Role::Orphan)
                .writable(1, "0/5000000")
                .out_of_write_for(age)
        })
    };
    let among = || {
        beaten().pod("a", |pod| {
            pod.labelled(Role::Orphan)
                .writable(1, "0/5000000")
                .still_among_write_endpoints()
        })
    };
    let silent = |age| {
        ready().pod("a", move |pod| {
            pod.was_writable(seconds(1), 1, "0/5000000")
                .silent()
                .out_of_write_for(age)
        })
    };
    check([
        ("it is among the endpoints", among(), &[]),
        ("it has been out for less than beatenGap", out(just), &[]),
        ("it has been out for beatenGap", out(gap), &["grant b"]),
        ("it wrote before it fell silent: the same", silent(just), &[]),
        ("and when it has been out for long", silent(gap), &["grant b"]),
        (
            "nobody knows what it does: the same",
            ready().pod("a", |pod| pod.silent().out_of_write_for(just)),
            &[],
        ),
        (
            "it is down: nothing to wait for",
            ready().pod("a", |pod| pod.down().still_among_write_endpoints()),
            &["grant b"],
        ),
        (
            "it is a standby: nothing to wait for",
            ready().pod("a", |pod| {
                pod.labelled(Role::Replica)
                    .in_recovery(2, "0/5000000")
                    .still_among_write_endpoints()
            }),
            &["grant b"],
        ),
        (
            "it has no address",
            ready().pod("a", |pod| pod).edit_pod("a", |pod| {
                pod.ip = None;
                pod.out_of_write_since = None;
            }),
            &["grant b"],
        ),
    ]);
    let plan = out(just).plan();
    let world = out(just);
    assert_eq!(
        plan.wake_at,
        Some(world.observed.at + Duration::from_millis(1)),
        "it wakes when the time is over"
    );
    assert_eq!(plan.verdict, Verdict::SplitBrain);
    assert!(plan.members[&key("b")].why.contains("let go"), "{:?}", plan.members);
}

#[test]
fn whoever_meets_a_higher_claim_stops_and_writes_nothing() {
    let met = |stamp: &str| {
        let stamp = stamp.to_owned();
        ready().pod("a", move |pod| pod.down().stamped(&stamp))
    };
    check([
        ("a higher term on a pod", met("8.0.bbbbbbbb"), &["step down before 8"]),
        (
            "the same term by another holder",
            met("7.0.bbbbbbbb"),
            &["step down before 7"],
        ),
        (
            "the same term and holder, whatever the count",
            met("7.99.aaaaaaaa"),
            &["grant b"],
        ),
        ("a lower term", met("6.99.ffffffff"), &["stamp a"]),
        ("no stamp at all", met("99"), &["stamp a"]),
        (
            "also while paused",
            met("8.0.bbbbbbbb").paused(),
            &["step down before 8"],
        ),
        (
            "a higher floor in the ledger",
            ready().edit(|observed| {
                if let LedgerView::Present { ledger, .. } = &mut observed.ledger {
                    ledger.term_floor = Term(TERM.0 + 2);
                }
            }),
            &["step down before 9"],
        ),
        (
            "a higher stamp on the ledger",
            ready().edit(|observed| {
                if let LedgerView::Present { stamp, .. } = &mut observed.ledger {
                    *stamp = StampState::of(Some("9.0.bbbbbbbb"));
                }
            }),
            &["step down before 9"],
        ),
    ]);
}

#[test]
fn a_contested_label_is_repaired_later_but_a_wrong_primary_goes_at_once() {
    let replica = || {
        World::pair().pod("b", |pod| {
            pod.label_text("x")
                .in_recovery(1, "0/5000000")
                .contested_for(seconds(30))
        })
    };
    let plan = replica().plan();
    assert_eq!(told(&plan), [""; 0]);
    assert!(plan.findings.contains(&Finding::Contested { pod: "b".to_owned() }));
    let granted = ready().pod("b", |pod| pod.writable(2, "0/5000000").contested_for(seconds(30)));
    assert!(
        granted
            .plan()
            .findings
            .contains(&Finding::Contested { pod: "b".to_owned() })
    );
    check([
        (
            "after its time",
            replica().later(seconds(30)),
            &["relabel b to replica"],
        ),
        ("a grant waits too", granted.clone(), &[]),
        (
            "and comes when the time is over",
            granted.later(seconds(30)),
            &["grant b"],
        ),
        (
            "a primary label on a standby",
            World::pair().pod("b", |pod| {
                pod.labelled(Role::Primary)
                    .in_recovery(1, "0/5000000")
                    .contested_for(seconds(30))
            }),
            &["withdraw b to replica"],
        ),
    ]);
}

/// cagriekin/charts 169: a sync that put a role back was not repaired while two servers took writes.
#[test]
fn labels_are_repaired_while_two_servers_take_writes() {
    let settled = || beaten().pod("b", |pod| pod.labelled(Role::Primary).writable(2, "0/5000000"));
    check([
        ("as it should be", settled(), &[]),
        (
            "somebody labels the stale one primary too",
            settled().pod("a", |pod| pod.labelled(Role::Primary).writable(1, "0/5000000")),
            &["withdraw a to orphan"],
        ),
        (
            "somebody labels the stale one replica",
            settled().pod("a", |pod| pod.labelled(Role::Replica).writable(1, "0/5000000")),
            &["relabel a to orphan"],
        ),
        (
            "somebody takes the right one's role",
            settled().edit_pod("b", |pod| pod.label = LabelState::Absent),
            &["grant b"],
        ),
    ]);
}

/// kubeblocks 10200: a role that was lost was never written again, because no event said so.
#[test]
fn a_role_that_was_lost_without_an_event_comes_back() {
    let lost = |label: LabelState| World::pair().edit_pod("a", |pod| pod.label = label);
    check([
        ("taken off", lost(LabelState::Absent), &["grant a"]),
        (
            "changed to replica",
            lost(LabelState::Known(Role::Replica)),
            &["grant a"],
        ),
        (
            "changed to something else",
            lost(LabelState::Foreign("leader".to_owned())),
            &["grant a"],
        ),
    ]);
}

#[test]
fn i9_the_mark_is_kept_up_once_a_minute_and_only_while_the_log_moves() {
    let minute = seconds(60);
    let written = |age, at: &'static str| {
        World::pair()
            .pod("a", move |pod| pod.labelled(Role::Primary).writable(1, at))
            .edit(|observed| observed.reign.mark_written = observed.at - age)
    };
    check([
        (
            "the log has moved for a minute",
            written(minute, "0/5000001"),
            &["mark a 1 0/5000001 (upkeep)"],
        ),
        (
            "not for a minute yet",
            written(minute.saturating_sub(Duration::from_millis(1)), "0/9000000"),
            &[],
        ),
        ("the log has not moved", written(seconds(3600), "0/5000000"), &[]),
        (
            "below the mark: it never falls",
            written(seconds(3600), "0/4FFFFFF"),
            &["withdraw a to orphan"],
        ),
        (
            "it is no primary yet: the grant comes first",
            written(minute, "0/5000001").edit_pod("a", |pod| {
                pod.label = LabelState::Absent;
            }),
            &["grant a"],
        ),
        (
            "the ledger is unsettled",
            written(minute, "0/5000001").edit(|observed| observed.ledger_unknown = true),
            &["stamp ledger"],
        ),
        ("paused", written(minute, "0/5000001").paused(), &[]),
    ]);
    let waiting = written(seconds(59), "0/5000001");
    let woken = waiting.plan().wake_at.expect("a time");
    assert!(woken <= waiting.observed.at + seconds(1));
}

#[test]
fn a_switch_names_the_primary_before_it_and_upkeep_is_none() {
    let switch = |world: World| {
        world.plan().actions.into_iter().find_map(|action| {
            if let Action::SetMark { switch, .. } = action {
                Some(switch.and_then(|switch| switch.pod))
            } else {
                None
            }
        })
    };
    assert_eq!(switch(ready().mark("a", 1, "0/5000000")), Some(Some("a".to_owned())));
    assert_eq!(
        switch(World::new().pod("a", |pod| pod.writable(1, "0/5000000"))),
        Some(None)
    );
    assert_eq!(switch(World::pair().accept("z")), None);
    let kept_up = World::pair()
        .later(seconds(61))
        .see("a", Saw::Writable(1, lsn("0/6000000")));
    assert_eq!(told(&kept_up.plan()), ["mark a 1 0/6000000 (upkeep)"]);
}
