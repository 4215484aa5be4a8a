//! The choice: which server may be primary, measured against the mark, and what a person may say. Tests I9 of
//! docs/invariants.md.

use shared::{ledger::PostgresLedgerSpec, role::Role, wal::Timeline};

use super::{
    Finding, Ineligible,
    fixtures::{Pod, Saw, World, check, key},
};

/// 16 MiB, the default of `maxBehind`, above and below 0/5000000.
const WITHIN: &str = "0/4000000";
const BEYOND: &str = "0/3FFFFFF";

/// `a`, the mark's own on timeline 1, is down; `b` is what is built.
fn failover(build: impl FnOnce(Pod) -> Pod) -> World {
    World::pair()
        .pod("a", Pod::down)
        .pod("b", |pod| build(pod.labelled(Role::Replica)))
}

#[test]
fn i9_who_may_be_primary_while_the_marks_own_server_is_down() {
    check([
        (
            "a promoted standby that has everything",
            failover(|pod| pod.writable(2, "0/5000000")),
            &["mark b 2 0/5000000"],
        ),
        (
            "a promoted standby exactly maxBehind behind",
            failover(|pod| pod.writable(2, WITHIN)),
            &["mark b 2 0/4000000"],
        ),
        (
            "a promoted standby one byte further behind",
            failover(|pod| pod.writable(2, BEYOND)),
            &["relabel b to orphan"],
        ),
        (
            "several timelines at once",
            failover(|pod| pod.writable(9, "0/5000000")),
            &["mark b 9 0/5000000"],
        ),
        (
            "the mark's timeline, other data",
            failover(|pod| pod.writable(1, "0/9000000")),
            &["relabel b to orphan"],
        ),
        (
            "the mark's timeline and data, in a new pod",
            failover(|pod| pod.with_data("a").writable(1, "0/5000000")),
            &["grant b"],
        ),
        (
            "the mark's timeline and data, below the mark",
            failover(|pod| pod.with_data("a").writable(1, "0/4FFFFFF")),
            &["relabel b to orphan"],
        ),
        (
            "another cluster, however far",
            failover(|pod| pod.of_system(9).writable(7, "9/0")),
            &["relabel b to orphan"],
        ),
        ("a standby", failover(|pod| pod.in_recovery(1, "0/5000000")), &[]),
    ]);
}

#[test]
fn i9_each_ineligible_server_is_named_with_the_reason() {
    let why = |build: fn(Pod) -> Pod| {
        failover(build).plan().findings.into_iter().find_map(|finding| {
            if let Finding::Orphaned { why, .. } = finding {
                why
            } else {
                None
            }
        })
    };
    assert!(matches!(
        why(|pod| pod.of_system(9).writable(2, "0/5000000")),
        Some(Ineligible::OtherSystem { .. })
    ));
    assert!(matches!(
        why(|pod| pod.writable(1, "0/5000000")),
        Some(Ineligible::OtherData { .. })
    ));
    assert!(matches!(
        why(|pod| pod.with_data("a").writable(1, "0/4FFFFFF")),
        Some(Ineligible::BelowMark { .. })
    ));
    assert!(matches!(
        why(|pod| pod.writable(2, BEYOND)),
        Some(Ineligible::TooFarBehind { .. })
    ));
    let old = failover(|pod| pod.writable(1, "0/5000000"))
        .mark("a", 2, "0/5000000")
        .plan();
    let stale = Ineligible::OldTimeline {
        its: Timeline(1),
        mark: Timeline(2),
    };
    assert!(old.findings.contains(&Finding::Orphaned {
        pod: "b".to_owned(),
        why: Some(stale)
    }));
}

/// The servers that come back alone, each with the route's mark at timeline 2 on `b`'s data, and none is primary. The first is
/// what happened in cagriekin/charts 125: the first pod of a restarted cluster was the stale one.
#[test]
fn i9_a_server_that_comes_back_alone_is_no_primary_because_of_that() {
    let alone = |build: fn(Pod) -> Pod| World::new().mark("b", 2, "0/6000000").pod("a", build);
    let orphan: &[&str] = &["relabel a to orphan"];
    check([
        (
            "charts 125: the old primary, one timeline back",
            alone(|pod| pod.writable(1, "0/5000000")),
            orphan,
        ),
        (
            "the old primary, far ahead on its own",
            alone(|pod| pod.writable(1, "9/0")),
            orphan,
        ),
        (
            "a wiped server: initdb made another cluster",
            alone(|pod| pod.of_system(9).writable(1, "0/1000000")),
            orphan,
        ),
        (
            "another cluster's server",
            alone(|pod| pod.of_system(9).writable(3, "9/0")),
            orphan,
        ),
        (
            "charts 171: the same timeline, another node",
            alone(|pod| pod.writable(2, "0/7000000")),
            orphan,
        ),
        (
            "a restore on a new timeline, far behind",
            alone(|pod| pod.writable(3, "0/1000000")),
            orphan,
        ),
        (
            "a restore into the primary's own volume",
            alone(|pod| pod.with_data("b").writable(2, "0/5000000")),
            orphan,
        ),
        (
            "a restart of the primary's own data",
            alone(|pod| pod.with_data("b").writable(2, "0/6000000")),
            &["grant a"],
        ),
    ]);
}

#[test]
fn i9_a_promotion_beside_a_living_primary_is_measured_against_what_that_one_has_now() {
    let beside = |at: &str| {
        World::pair()
            .pod("a", |pod| pod.labelled(Role::Primary).writable(1, "0/7000000"))
            .pod("b", |pod| pod.labelled(Role::Replica).writable(2, at))
    };
    let kept: &[&str] = &["relabel b to orphan"];
    let moved: &[&str] = &["withdraw a to orphan", "mark b 2 0/6000000"];
    check([
        ("near enough", beside("0/6000000"), moved),
        (
            "a delayed standby: near the mark, far from the primary",
            beside("0/5FFFFFF"),
            kept,
        ),
        (
            "the primary is excluded, and still writes",
            beside("0/5FFFFFF").edit_pod("a", |pod| pod.excluded = true),
            &["withdraw a to none", "relabel b to orphan"],
        ),
        (
            "I6: the primary falls silent, and the delayed standby gains nothing",
            beside("0/5FFFFFF").see("a", Saw::Silent),
            kept,
        ),
        (
            "the primary is down: the mark is what counts",
            beside("0/5FFFFFF").see("a", Saw::Down),
            &["withdraw a to none", "mark b 2 0/5FFFFFF"],
        ),
        (
            "the mark's own volume was restored: the mark still counts",
            beside("0/2000000").pod("a", |pod| pod.labelled(Role::Primary).writable(1, "0/1000000")),
            &["withdraw a to orphan", "relabel b to orphan"],
        ),
    ]);
}

/// cagriekin/charts 124: the lowest name won. 131: positions were compared as text, and decided.
#[test]
fn i9_neither_names_nor_positions_decide_between_two_servers_that_take_writes() {
    let two = |a: (u32, &str), b: (u32, &str)| {
        World::new()
            .mark("z", 1, "0/1000000")
            .pod("a", |pod| pod.writable(a.0, a.1))
            .pod("b", |pod| pod.writable(b.0, b.1))
    };
    check([
        (
            "the higher timeline, though behind and last by name",
            two((2, "9/0"), (3, "0/5000000")),
            &["relabel a to orphan", "mark b 3 0/5000000"],
        ),
        (
            "timelines are numbers: 0x10 is above 0x0A",
            two((0x0A, "0/5000000"), (0x10, "0/5000000")),
            &["relabel a to orphan", "mark b 16 0/5000000"],
        ),
        (
            "timelines are numbers: 0x0A is above 9",
            two((9, "0/5000000"), (0x0A, "0/5000000")),
            &["relabel a to orphan", "mark b 10 0/5000000"],
        ),
        (
            "the same new timeline: neither, however far apart",
            two((2, "9/0"), (2, "0/5000000")),
            &["relabel a to orphan", "relabel b to orphan"],
        ),
    ]);
    let positions = |at: &str, mark: &str| World::new().mark("a", 1, mark).pod("a", |pod| pod.writable(1, at));
    check([
        (
            "10/0 is above 9/FFFFFFFF",
            positions("10/0", "9/FFFFFFFF"),
            &["grant a"],
        ),
        (
            "9/FFFFFFFF is below 10/0",
            positions("9/FFFFFFFF", "10/0"),
            &["relabel a to orphan"],
        ),
        ("0/A0 is above 0/9", positions("0/A0", "0/9"), &["grant a"]),
    ]);
}

#[test]
fn the_first_grant_needs_an_answer_from_all() {
    let first = || {
        World::new()
            .pod("a", |pod| pod.writable(1, "0/5000000"))
            .pod("b", |pod| pod.in_recovery(1, "0/5000000"))
    };
    let nothing: &[&str] = &[];
    let marked: &[&str] = &["mark a 1 0/5000000"];
    check([
        ("all have answered", first(), marked),
        ("one is silent", first().pod("b", Pod::silent), nothing),
        ("one is down", first().pod("b", Pod::down), nothing),
        ("one is starting", first().pod("b", Pod::starting), nothing),
        ("one bars the probe", first().pod("b", Pod::barred), nothing),
        (
            "charts 173: one answers, and not in full",
            first().pod("b", Pod::unclear),
            nothing,
        ),
        ("one was not asked yet", first().pod("c", |pod| pod), nothing),
        (
            "one has ended: it needs no answer",
            first().pod("c", Pod::ended),
            marked,
        ),
        (
            "one is excluded: it needs no answer",
            first().pod("c", Pod::excluded),
            marked,
        ),
        (
            "one is terminating: it does",
            first().pod("c", Pod::terminating),
            nothing,
        ),
    ]);
}

#[test]
fn the_first_grant_needs_one_cluster_and_one_writer() {
    let first = || {
        World::new()
            .pod("a", |pod| pod.writable(1, "0/5000000"))
            .pod("b", |pod| pod.in_recovery(1, "0/5000000"))
    };
    let nothing: &[&str] = &[];
    let marked: &[&str] = &["mark a 1 0/5000000"];
    check([
        (
            "two take writes",
            first().pod("b", |pod| pod.writable(2, "0/5000000")),
            nothing,
        ),
        (
            "two clusters",
            first().pod("b", |pod| pod.of_system(9).in_recovery(1, "0/5000000")),
            nothing,
        ),
        (
            "a standby has seen a later timeline",
            first().pod("b", |pod| pod.in_recovery(2, "0/5000000")),
            nothing,
        ),
        (
            "none takes writes",
            first().pod("a", |pod| pod.in_recovery(1, "0/5000000")),
            nothing,
        ),
        (
            "the ledger is there and holds no mark",
            first().mark("a", 1, "0/0").edit(|observed| {
                if let super::LedgerView::Present { ledger, .. } = &mut observed.ledger {
                    ledger.mark = None;
                }
            }),
            marked,
        ),
    ]);
    let missing = first().pod("b", Pod::silent).plan();
    assert_eq!(
        missing.findings,
        [Finding::NoMark {
            missing: "b has not answered yet".to_owned()
        }]
    );
}

/// cagriekin/charts 174: a marker whose timeline was no number was taken for no marker at all, and a stale server passed.
#[test]
fn i9_a_damaged_mark_is_an_error_and_never_no_mark() {
    let sound = serde_json::json!({
        "systemIdentifier": "7300000000000000001", "timeline": 3, "lsn": "0/5000000",
        "data": { "kind": "PersistentVolumeClaim", "name": "data-a" }, "pod": "a",
    });
    let read = |mark: &serde_json::Value| {
        serde_json::from_value::<PostgresLedgerSpec>(serde_json::json!({ "mark": mark, "termFloor": 7 }))
    };
    let whole = read(&sound).unwrap().mark.unwrap();
    assert_eq!((whole.timeline.0, whole.pod.as_str()), (3, "a"));
    for field in ["systemIdentifier", "timeline", "lsn", "data", "pod"] {
        for damage in [
            None,
            Some(serde_json::json!(null)),
            Some(serde_json::json!("?")),
            Some(serde_json::json!(-1)),
        ] {
            // Any word is a name.
            if field == "pod" && damage.as_ref().is_some_and(serde_json::Value::is_string) {
                continue;
            }
            let mut damaged = sound.clone();
            match damage {
                Some(damage) => damaged[field] = damage,
                None => drop(damaged.as_object_mut().unwrap().remove(field)),
            }
            assert!(read(&damaged).is_err(), "{damaged}");
        }
    }
    assert!(read(&serde_json::json!({})).is_err(), "an empty mark");
}

#[test]
fn without_a_mark_a_lone_primary_keeps_its_role_and_two_do_not() {
    let lost = || {
        World::new()
            .pod("a", |pod| pod.labelled(Role::Primary).writable(1, "0/5000000"))
            .pod("b", |pod| pod.labelled(Role::Replica).barred())
    };
    check([
        ("a ledger that somebody deleted costs no primary", lost(), &[]),
        (
            "but two, by a person's hand, do not stand",
            lost().pod("b", |pod| pod.labelled(Role::Primary).writable(1, "0/5000000")),
            &["withdraw a to none", "withdraw b to none"],
        ),
    ]);
}

#[test]
fn a_server_that_is_not_chosen_is_explained_in_words() {
    let plan = World::pair().pod("b", |pod| pod.writable(1, "0/5000000")).plan();
    assert!(
        plan.members[&key("b")]
            .why
            .contains("on this timeline the primary was data-a"),
        "{:?}",
        plan.members
    );
}
