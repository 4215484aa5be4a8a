//! Whole stories, turn by turn: what is written, in which order, until nothing is left to do. Tests I1 and I5 of
//! docs/invariants.md.

use shared::role::Role;

use super::{
    LabelState, Verdict,
    fixtures::{Pod, Saw, World, key, lsn, seconds, told},
};
use crate::stamp::StampState;

/// What each turn writes.
fn turns(world: &mut World) -> Vec<Vec<String>> {
    world.settle().iter().map(told).collect()
}

fn is(world: &World, name: &str, role: Option<Role>) -> bool {
    world.label(name).is_some_and(|label| label.is(role))
}

#[test]
fn i5_a_new_route_is_stamped_marked_and_granted() {
    let mut world = World::new()
        .pod("a", |pod| pod.unstamped().writable(1, "0/5000000"))
        .pod("b", |pod| pod.unstamped().in_recovery(1, "0/5000000"));
    assert_eq!(
        turns(&mut world),
        [
            vec!["stamp a", "stamp b", "mark a 1 0/5000000"],
            vec!["relabel b to replica", "grant a"],
        ]
    );
    assert_eq!(world.plan().verdict, Verdict::Settled);
}

#[test]
fn i5_a_route_of_one_pod_needs_no_second() {
    let mut world = World::new().pod("a", |pod| pod.writable(1, "0/5000000"));
    assert_eq!(turns(&mut world), [["mark a 1 0/5000000"], ["grant a"]]);
}

/// cloudnative-pg 10403: the old primary kept its label while the new one was being promoted, and took writes that were lost.
#[test]
fn i1_a_failover_withdraws_long_before_it_grants() {
    let mut world = World::pair().later(seconds(1)).see("a", Saw::Down);
    assert_eq!(turns(&mut world), [["withdraw a to none"]]);
    assert_eq!(world.plan().verdict, Verdict::NoPrimary);
    let mut world = world.later(seconds(1)).see("b", Saw::Writable(2, lsn("0/5000000")));
    assert_eq!(turns(&mut world), [["mark b 2 0/5000000"], ["grant b"]]);
    assert_eq!(world.plan().verdict, Verdict::Settled);
}

#[test]
fn i1_a_planned_switchover_withdraws_first() {
    let mut world = World::pair().see("a", Saw::Starting);
    assert_eq!(turns(&mut world), [["withdraw a to none"]]);
    let mut world = world
        .see("b", Saw::Writable(2, lsn("0/5000000")))
        .see("a", Saw::InRecovery(2, lsn("0/5000000")));
    assert_eq!(
        turns(&mut world),
        [vec!["relabel a to replica", "mark b 2 0/5000000"], vec!["grant b"]]
    );
}

#[test]
fn i1_a_promotion_beside_a_living_primary_waits_for_the_services() {
    let mut world = World::pair().see("b", Saw::Writable(2, lsn("0/5000000")));
    assert_eq!(turns(&mut world), [["withdraw a to orphan", "mark b 2 0/5000000"]]);
    let mut world = world.later(seconds(1));
    assert_eq!(
        turns(&mut world),
        [[""; 0]; 0],
        "the Services have had one second of two"
    );
    let mut world = world.later(seconds(1));
    assert_eq!(turns(&mut world), [["grant b"]]);
    assert_eq!(
        world.plan().verdict,
        Verdict::SplitBrain,
        "both still take writes, and a person should know"
    );
}

/// cagriekin/charts 124 and 140: the old primary came back, took the write Service or served reads of another history.
#[test]
fn the_old_primary_that_comes_back_gets_neither_service() {
    let mut world = World::pair()
        .see("a", Saw::Down)
        .see("b", Saw::Writable(2, lsn("0/5000000")));
    turns(&mut world);
    assert!(is(&world, "b", Some(Role::Primary)));
    let mut world = world.see("a", Saw::Writable(1, lsn("9/0")));
    assert_eq!(turns(&mut world), [["relabel a to orphan"]]);
    let mut world = world.see("b", Saw::Down);
    assert_eq!(turns(&mut world), [["withdraw b to none"]]);
    assert!(is(&world, "a", Some(Role::Orphan)), "also as the only one up");
    let mut world = world
        .see("a", Saw::InRecovery(2, lsn("9/0")))
        .see("b", Saw::Writable(2, lsn("0/5000000")));
    assert_eq!(turns(&mut world), [["relabel a to replica", "grant b"]]);
}

/// CrunchyData/postgres-operator 3617: a node was shut down, and two pods carried the master's label.
#[test]
fn a_node_that_is_shut_down_and_comes_back_never_makes_a_second_primary() {
    let mut world = World::pair().see("a", Saw::Silent).later(seconds(4));
    assert_eq!(turns(&mut world), [["withdraw a to none"]]);
    let mut world = world.see("b", Saw::Writable(2, lsn("0/5000000")));
    assert_eq!(
        turns(&mut world),
        [["mark b 2 0/5000000"]],
        "it was writable before it fell silent"
    );
    let mut world = world.later(seconds(2));
    assert_eq!(turns(&mut world), [["grant b"]]);
    let mut world = world
        .edit_pod("a", |pod| pod.label = LabelState::Known(Role::Primary))
        .see("a", Saw::Writable(1, lsn("0/5000000")));
    assert_eq!(turns(&mut world), [["withdraw a to orphan"]]);
    assert!(is(&world, "b", Some(Role::Primary)));
}

#[test]
fn i5_a_new_reign_stamps_everything_before_it_grants() {
    let earlier = |pod: Pod| pod.stamped("6.9.bbbbbbbb");
    let mut world = World::pair()
        .pod("a", |pod| earlier(pod.labelled(Role::Primary)).down())
        .pod("b", |pod| earlier(pod.labelled(Role::Replica)).writable(2, "0/5000000"))
        .pod("c", |pod| {
            earlier(pod.labelled(Role::Replica)).in_recovery(1, "0/5000000")
        });
    assert_eq!(
        turns(&mut world),
        [
            vec!["stamp b", "stamp c", "withdraw a to none", "mark b 2 0/5000000"],
            vec!["grant b"],
        ]
    );
}

#[test]
fn i5_a_new_reign_in_peace_stamps_and_changes_no_label() {
    let earlier = |pod: Pod| pod.stamped("6.9.bbbbbbbb");
    let mut world = World::pair()
        .pod("a", |pod| earlier(pod.labelled(Role::Primary)).writable(1, "0/5000000"))
        .pod("b", |pod| {
            earlier(pod.labelled(Role::Replica)).in_recovery(1, "0/5000000")
        });
    assert_eq!(turns(&mut world), [["stamp a", "stamp b"]]);
}

#[test]
fn i1_an_unsettled_withdrawal_holds_the_grant_until_a_stamp_is_answered() {
    let mut world = World::pair()
        .mark("b", 2, "0/5000000")
        .pod("a", |pod| {
            pod.labelled(Role::Primary).writable(1, "0/5000000").unknown()
        })
        .pod("b", |pod| pod.writable(2, "0/5000000"));
    assert_eq!(
        turns(&mut world),
        [["withdraw a to orphan"]],
        "the withdrawal carries the stamp"
    );
    world.wait_out();
    assert_eq!(turns(&mut world), [["grant b"]]);
}

#[test]
fn i5_a_role_from_a_template_is_taken_and_then_earned() {
    let mut world = World::new()
        .pod("a", |pod| {
            pod.labelled(Role::Primary).unstamped().writable(1, "0/5000000")
        })
        .pod("b", |pod| {
            pod.labelled(Role::Primary).unstamped().in_recovery(1, "0/5000000")
        });
    assert_eq!(
        turns(&mut world),
        [
            vec!["withdraw a to none", "withdraw b to none", "mark a 1 0/5000000"],
            vec!["relabel b to replica", "grant a"],
        ]
    );
}

#[test]
fn i5_a_restored_cluster_is_accepted_and_granted() {
    let mut world = World::new()
        .mark("a", 4, "9/0")
        .pod("a", |pod| pod.of_system(9).writable(1, "0/1000000"))
        .pod("b", |pod| pod.of_system(9).in_recovery(1, "0/1000000"));
    assert_eq!(turns(&mut world), [["relabel a to orphan"]]);
    assert_eq!(world.plan().verdict, Verdict::NoPrimary);
    let mut world = world.accept("a");
    assert_eq!(
        turns(&mut world),
        [
            vec!["relabel b to replica", "mark a 1 0/1000000"],
            vec!["clear accept", "grant a"],
        ]
    );
}

#[test]
fn i5_a_tie_is_ended_by_a_person() {
    let mut world = World::pair()
        .pod("a", Pod::down)
        .pod("b", |pod| pod.writable(2, "0/5000000"))
        .pod("c", |pod| pod.writable(2, "0/6000000"));
    assert_eq!(turns(&mut world), [["relabel b to orphan", "relabel c to orphan"]]);
    let mut world = world.accept("b");
    assert_eq!(
        turns(&mut world),
        [vec!["mark b 2 0/5000000"], vec!["clear accept", "grant b"]]
    );
    assert_eq!(
        world.plan().verdict,
        Verdict::SplitBrain,
        "the other still takes writes"
    );
}

/// The pod of a Deployment comes back under another name, on the same volume.
#[test]
fn a_new_pod_on_the_primarys_volume_is_primary_again() {
    let mut world = World::pair()
        .without("a")
        .pod("c", |pod| pod.unstamped().with_data("a").writable(1, "0/5000000"));
    assert_eq!(turns(&mut world), [["stamp c"], ["grant c"]]);
}

#[test]
fn what_happens_while_paused_is_put_right_afterwards() {
    let mut world = World::pair()
        .paused()
        .see("a", Saw::Down)
        .see("b", Saw::Writable(2, lsn("0/5000000")));
    assert_eq!(turns(&mut world), [[""; 0]; 0]);
    assert_eq!(world.plan().verdict, Verdict::Paused);
    let mut world = world.edit(|observed| observed.paused = false);
    assert_eq!(
        turns(&mut world),
        [vec!["withdraw a to none", "mark b 2 0/5000000"], vec!["grant b"]]
    );
}

#[test]
fn a_stamp_that_somebody_took_off_costs_the_role_once_and_no_more() {
    let mut world = World::pair().edit_pod("a", |pod| pod.stamp = StampState::Absent);
    assert_eq!(turns(&mut world), [["withdraw a to none"], ["grant a"]]);
    assert_eq!(
        world.plan().members[&key("a")].why,
        "it takes writes and is the chosen one"
    );
}
