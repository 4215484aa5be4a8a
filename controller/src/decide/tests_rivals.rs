//! Several servers with a claim: when nothing but a person can tell which is the right one. Tests I5, I6 and I9 of
//! docs/invariants.md.

use shared::{role::Role, route::SplitBrainPolicy};

use super::{
    Container, Finding, Verdict,
    fixtures::{ENDED, Pod, Saw, World, check, lsn},
};

/// 16 MiB, the default of `maxBehind`, below 0/5000000, and a byte more.
const NEAR: &str = "0/4000000";
const FAR: &str = "0/3FFFFFF";

#[test]
fn a_tie_is_a_persons_to_decide_and_no_silence_ends_it() {
    let tie = || {
        World::pair()
            .pod("a", |pod| pod.labelled(Role::Primary).writable(1, "0/5000000"))
            .pod("b", |pod| pod.labelled(Role::Replica).writable(2, "0/5000000"))
            .pod("c", |pod| pod.labelled(Role::Replica).writable(2, "0/5000000"))
    };
    let orphans: &[&str] = &["relabel b to orphan", "relabel c to orphan"];
    check([
        (
            "all lose, the old one too",
            tie(),
            &["withdraw a to orphan", orphans[0], orphans[1]],
        ),
        (
            "the old one is silent",
            tie().see("a", Saw::Silent),
            &["withdraw a to none", orphans[0], orphans[1]],
        ),
        (
            "the old one is barred",
            tie().see("a", Saw::Barred),
            &["withdraw a to none", orphans[0], orphans[1]],
        ),
        (
            "I6: one of the two falls silent",
            tie().see("c", Saw::Silent),
            &["withdraw a to orphan", orphans[0]],
        ),
        (
            "one of the two is down: the other is it",
            tie().see("c", Saw::Down),
            &["withdraw a to orphan", "relabel c to none", "mark b 2 0/5000000"],
        ),
        (
            "one of the two was rewound: the other is it",
            tie().see("c", Saw::InRecovery(2, lsn("0/5000000"))),
            &["withdraw a to orphan", "mark b 2 0/5000000"],
        ),
        (
            "a person accepts one",
            tie().accept("c"),
            &["withdraw a to orphan", orphans[0], "mark c 2 0/5000000"],
        ),
    ]);
    let plan = tie().plan();
    assert_eq!(plan.verdict, Verdict::SplitBrain);
    assert!(plan.findings.contains(&Finding::SplitBrain {
        pods: vec!["b".to_owned(), "c".to_owned()],
        tie: true
    }));
}

/// The mark says 0/5000001 on `a`'s data; `a` was promoted one byte behind it, and `b` above `a`, a byte too far behind the mark but not
/// behind `a`.
#[test]
fn i5_the_mark_is_not_handed_on_from_one_lagging_server_to_the_next() {
    let two = |second: &str| {
        World::new()
            .mark("a", 1, "0/5000001")
            .pod("a", |pod| pod.writable(2, "0/5000000"))
            .pod("b", |pod| pod.writable(3, second))
    };
    let orphans: &[&str] = &["relabel a to orphan", "relabel b to orphan"];
    check([
        (
            "the second is near the first and too far from the mark",
            two(NEAR),
            orphans,
        ),
        (
            "it is too far from both: the first is it",
            two(FAR),
            &["relabel b to orphan", "mark a 2 0/5000000"],
        ),
        (
            "it is near the mark too: it is it",
            two("0/4000001"),
            &["relabel a to orphan", "mark b 3 0/4000001"],
        ),
        (
            "I6: nobody gains by its silence",
            two(NEAR).see("b", Saw::Silent),
            &["relabel a to orphan"],
        ),
        (
            "it is down: the first is it",
            two(NEAR).see("b", Saw::Down),
            &["mark a 2 0/5000000"],
        ),
        (
            "a person accepts the second",
            two(NEAR).accept("b"),
            &["relabel a to orphan", "mark b 3 0/4000000"],
        ),
        (
            "the same with Freeze",
            two(NEAR).policy(SplitBrainPolicy::Freeze),
            orphans,
        ),
    ]);
    let mut rest = two(NEAR);
    assert_eq!(rest.settle().len(), 1, "it comes to rest at once");
    assert_eq!(rest.plan().verdict, Verdict::SplitBrain);
}

/// What the kubelet says may be old: `c` was promoted beside `b`, and its pod's status does not tell yet that its container runs again.
#[test]
fn i6_a_server_in_a_container_that_has_not_been_told_of_counts_against_others() {
    let stopped = |since_micros| Container::Stopped { since_micros };
    let beside = |container| {
        World::pair()
            .pod("a", Pod::down)
            .pod("b", |pod| pod.writable(2, "0/5000000"))
            .pod("c", move |pod| {
                pod.labelled(Role::Replica)
                    .writable(2, "0/5000000")
                    .container(container)
            })
    };
    let tie: &[&str] = &["relabel b to orphan", "relabel c to none"];
    let moved: &[&str] = &["relabel c to none", "mark b 2 0/5000000"];
    check([
        ("its server began after the stop", beside(stopped(Some(999_999))), tie),
        (
            "its server began in the second of the stop",
            beside(stopped(Some(1_000_000))),
            tie,
        ),
        (
            "no container of its pod has run, as far as is known",
            beside(stopped(None)),
            tie,
        ),
        ("its server began before the stop, which ended it", beside(ENDED), moved),
        (
            "it has fallen silent since",
            beside(stopped(None)).see("c", Saw::Silent),
            tie,
        ),
        ("it is down", beside(stopped(None)).see("c", Saw::Down), moved),
        (
            "it gets no role itself",
            World::pair()
                .pod("a", Pod::down)
                .pod("b", |pod| pod.writable(2, "0/5000000").container(stopped(None))),
            &[],
        ),
    ]);
}
