//! What a person may say: accept a server, label by hand, choose a policy for two servers that take writes.

use shared::{
    role::Role,
    route::SplitBrainPolicy::{DropAll, Freeze},
};

use super::{
    Finding, LabelState, LedgerView, Verdict,
    fixtures::{ENDED, Pod, Saw, World, check, told},
};

#[test]
fn two_primary_labels_by_a_persons_hand_do_not_both_stand() {
    let barred = |pod: Pod| pod.labelled(Role::Primary).barred();
    check([
        (
            "the mark's own is kept",
            World::pair().pod("a", barred).pod("b", barred),
            &["withdraw b to none"],
        ),
        (
            "neither is the mark's own",
            World::pair().pod("a", Pod::down).pod("b", barred).pod("c", barred),
            &["withdraw b to none", "withdraw c to none"],
        ),
        (
            "on a standby beside the right one",
            World::pair().edit_pod("b", |pod| pod.label = LabelState::Known(Role::Primary)),
            &["withdraw b to replica"],
        ),
    ]);
}

#[test]
fn a_person_may_accept_what_nobody_else_can_tell() {
    let orphan = |build: fn(Pod) -> Pod| {
        World::pair()
            .pod("a", Pod::down)
            .pod("b", |pod| build(pod.labelled(Role::Orphan)))
            .accept("b")
    };
    check([
        (
            "upwards: a delayed standby",
            orphan(|pod| pod.writable(2, "0/1000000")),
            &["mark b 2 0/1000000"],
        ),
        (
            "downwards: a restore",
            orphan(|pod| pod.writable(1, "0/1000000")),
            &["mark b 1 0/1000000"],
        ),
        (
            "another system identifier: pg_upgrade",
            orphan(|pod| pod.of_system(9).writable(1, "0/1000000")),
            &["mark b 1 0/1000000"],
        ),
        (
            "without a mark",
            orphan(|pod| pod.writable(1, "0/1000000")).edit(|observed| {
                observed.ledger = LedgerView::Absent;
            }),
            &["mark b 1 0/1000000"],
        ),
        (
            "the mark's own, below the mark",
            World::pair().mark("a", 1, "0/6000000").accept("a"),
            &["mark a 1 0/5000000"],
        ),
        (
            "the mark's own, below the mark and without its role: the mark first",
            World::new()
                .mark("a", 1, "0/6000000")
                .pod("a", |pod| pod.writable(1, "0/5000000"))
                .accept("a"),
            &["mark a 1 0/5000000"],
        ),
        ("what is already so", World::pair().accept("a"), &["clear accept"]),
    ]);
}

#[test]
fn a_persons_word_is_refused_where_it_could_not_hold() {
    let refused = |world: World| {
        let plan = world.plan();
        let mark = told(&plan).into_iter().find(|text| text.starts_with("mark"));
        assert_eq!(mark, None);
        plan.findings.iter().find_map(|finding| {
            if let Finding::AcceptRefused { why } = finding {
                Some(why.clone())
            } else {
                None
            }
        })
    };
    let orphan = || World::pair().pod("b", |pod| pod.labelled(Role::Orphan).writable(1, "0/5000000"));
    for (world, word) in [
        (World::pair().accept("z"), "no pod"),
        (World::pair().accept("b"), "does not take writes"),
        (
            orphan()
                .pod("b", |pod| pod.excluded().writable(1, "0/5000000"))
                .accept("b"),
            "excluded",
        ),
        (
            orphan()
                .mark("a", 2, "0/5000000")
                .pod("a", |pod| pod.labelled(Role::Primary).writable(2, "0/5000000"))
                .accept("b"),
            "higher timeline",
        ),
        (
            World::pair()
                .pod("b", |pod| {
                    pod.labelled(Role::Orphan).with_data("a").writable(1, "0/6000000")
                })
                .accept("a"),
            "not the only one",
        ),
    ] {
        let why = refused(world).expect(word);
        assert!(why.contains(word), "{why}");
    }
}

/// While a person's word is being carried out nothing is granted by the mark that it ends.
#[test]
fn no_grant_by_the_old_mark_while_a_person_moves_it() {
    let world = World::pair()
        .pod("a", |pod| pod.labelled(Role::Replica).writable(1, "0/5000000"))
        .pod("b", |pod| pod.writable(1, "0/5000000"));
    check([
        (
            "without a word: the mark's own",
            world.clone(),
            &["relabel b to orphan", "grant a"],
        ),
        (
            "with one: the mark moves first",
            world.accept("b"),
            &["relabel a to orphan", "mark b 1 0/5000000"],
        ),
    ]);
}

#[test]
fn freeze_leaves_everything_to_a_person_while_two_are_eligible() {
    let two = || {
        World::pair()
            .policy(Freeze)
            .pod("b", |pod| pod.labelled(Role::Replica).writable(2, "0/5000000"))
    };
    let orphan: &[&str] = &["relabel b to orphan"];
    check([
        ("the mark's own keeps its label", two(), orphan),
        (
            "and gets none that it had lost",
            two().edit_pod("a", |pod| pod.label = LabelState::Absent),
            &["relabel a to orphan", "relabel b to orphan"],
        ),
        ("I6: its silence is nobody's gain", two().see("a", Saw::Silent), orphan),
        (
            "once it is down only one is left",
            two().see("a", Saw::Down),
            &["withdraw a to none", "mark b 2 0/5000000"],
        ),
        (
            "its container has ended: the same",
            two().edit_pod("a", |pod| pod.container = ENDED),
            &["withdraw a to none", "mark b 2 0/5000000"],
        ),
        (
            "a person accepts the new one",
            two().accept("b"),
            &["withdraw a to orphan", "mark b 2 0/5000000"],
        ),
        (
            "a stale server beside the right one is no contest",
            two().pod("b", |pod| pod.labelled(Role::Replica).writable(1, "0/5000000")),
            orphan,
        ),
    ]);
    assert_eq!(two().plan().verdict, Verdict::SplitBrain);
}

#[test]
fn drop_all_leaves_none_until_one_is_left() {
    let two = |timeline| {
        World::pair().policy(DropAll).pod("b", move |pod| {
            pod.labelled(Role::Replica).writable(timeline, "0/5000000")
        })
    };
    let none: &[&str] = &["withdraw a to orphan", "relabel b to orphan"];
    check([
        ("one takes writes: as ever", World::pair().policy(DropAll), &[]),
        ("a promoted one beside the old one", two(2), none),
        ("a stale one beside the right one", two(1), none),
        (
            "I6: silence is not an end",
            two(2).see("a", Saw::Silent),
            &["withdraw a to none", "relabel b to orphan"],
        ),
        (
            "nobody answers: what is labelled is held",
            two(2).see("a", Saw::Silent).see("b", Saw::Silent),
            &[],
        ),
        (
            "the old one is down",
            two(2).see("a", Saw::Down),
            &["withdraw a to none", "mark b 2 0/5000000"],
        ),
        (
            "the old one is excluded",
            two(2).edit_pod("a", |pod| pod.excluded = true),
            &["withdraw a to none", "mark b 2 0/5000000"],
        ),
        (
            "no mark, and two",
            two(2).edit(|observed| observed.ledger = LedgerView::Absent),
            none,
        ),
    ]);
    assert_eq!(two(2).plan().verdict, Verdict::SplitBrain);
}
