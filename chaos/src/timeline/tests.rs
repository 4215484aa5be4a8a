use std::collections::BTreeSet;

use super::*;
use crate::workload::Kind;

const MILLI: u64 = 1_000_000;

fn ms(at: u64) -> HostTime {
    HostTime(at * MILLI)
}

fn entry(at: u64, what: Happening) -> Entry {
    Entry { at: ms(at), what }
}

fn role(at: u64, pod: &str, role: &str) -> Entry {
    let role = (role != "none").then(|| role.to_owned());
    let pod = pod.to_owned();
    entry(at, Happening::Role { pod, role })
}

fn endpoints(at: u64, name: ServiceOf, addresses: &[&str]) -> Entry {
    let addresses = addresses.iter().map(|&address| address.to_owned()).collect();
    entry(at, Happening::Endpoints { name, addresses })
}

fn by(address: &str, timeline: u32) -> Answerer {
    Answerer {
        system: "7".to_owned(),
        timeline,
        address: address.to_owned(),
        in_recovery: address == "old" && timeline > 1,
    }
}

/// A client's line, heard of 40 ms after it was said.
fn said(kind: Kind, at: u64, began: u64, session: SessionKind, outcome: Outcome) -> Entry {
    let line = Line {
        n: at,
        at: ms(at),
        began: ms(began),
        opened: Some(ms(began)),
        session,
        outcome,
    };
    entry(at + 40, Happening::Client { kind, line })
}

fn written(id: u64, at: u64, by: Answerer) -> Entry {
    said(Kind::Write, at, at - 5, SessionKind::Fresh, Outcome::Written { id, by })
}

fn cut() -> Cut {
    let server = |name: &str| Server {
        pod: name.to_owned(),
        address: name.to_owned(),
    };
    Cut {
        began: ms(1000),
        asked: ms(1300),
        promoted: ms(1325),
        old: server("old"),
        new: server("new"),
        old_timeline: 1,
    }
}

fn history() -> Vec<Entry> {
    vec![
        role(100, "old", "primary"),
        role(110, "new", "replica"),
        endpoints(120, ServiceOf::Writes, &["old"]),
        written(1, 990, by("old", 1)),
        role(1015, "old", "none"),
        endpoints(1030, ServiceOf::Writes, &[]),
        role(1340, "new", "primary"),
        endpoints(1360, ServiceOf::Writes, &["new"]),
        written(2, 1900, by("new", 2)),
        role(4000, "old", "replica"),
        said(
            Kind::Read,
            4500,
            4490,
            SessionKind::Fresh,
            Outcome::Read {
                highest: 2,
                by: by("old", 2),
            },
        ),
    ]
}

#[test]
fn a_switch_is_told_in_milliseconds_since_it_began() {
    let switch = Switch::of(cut(), &history());
    assert_eq!(switch.missing(), Vec::<&str>::new());
    let mut millis: Vec<i64> = switch.steps().into_iter().filter_map(|(_, at)| at).collect();
    millis.sort_unstable();
    assert_eq!(millis, [15, 30, 300, 325, 340, 360, 900, 3000, 3500]);
    assert_eq!(switch.exposure_millis(), 0);
}

#[test]
fn what_happened_before_the_switch_does_not_count_for_it() {
    let mut history = history();
    history.truncate(4);
    history.insert(0, role(90, "new", "primary"));
    let switch = Switch::of(cut(), &history);
    assert_eq!(switch.missing().len(), 7);
}

#[test]
fn an_answer_over_the_kept_session_does_not_show_where_the_name_leads() {
    let mut history = history();
    for entry in &mut history {
        if let Happening::Client { line, .. } = &mut entry.what {
            line.session = SessionKind::Kept;
        }
    }
    let switch = Switch::of(cut(), &history);
    assert_eq!((switch.first_write, switch.first_read), (None, None));
}

#[test]
fn two_primaries_at_once_are_seen_and_a_pod_that_is_gone_is_none() {
    assert_eq!(most_primaries(&history()), 1);
    let gone = entry(3, Happening::PodGone { pod: "a".to_owned() });
    assert_eq!(
        most_primaries(&[role(1, "a", "primary"), gone, role(4, "b", "primary")]),
        1
    );
    assert_eq!(most_primaries(&[role(1, "a", "primary"), role(4, "b", "primary")]), 2);
    let both = endpoints(1, ServiceOf::Writes, &["old", "new"]);
    assert_eq!(
        (most_write_endpoints(&history()), most_write_endpoints(&[both])),
        (1, 2)
    );
}

#[test]
fn a_lost_write_is_laid_at_the_right_door() {
    use SessionKind::{Fresh, Kept};
    // The old primary was out of the slice at 1030; kube-proxy's rules count as replaced at 2530.
    let cases = [
        (
            "before anybody promoted",
            1290,
            1280,
            Fresh,
            by("old", 1),
            Cause::Failover,
        ),
        (
            "during the promotion",
            1320,
            1310,
            Fresh,
            by("old", 1),
            Cause::Promotion,
        ),
        (
            "by kube-proxy's old rules",
            1500,
            1495,
            Fresh,
            by("old", 1),
            Cause::Exposure,
        ),
        ("over an old session", 5000, 900, Kept, by("old", 1), Cause::OpenSession),
        (
            "over a session begun too late",
            5000,
            2600,
            Kept,
            by("old", 1),
            Cause::Routing,
        ),
        (
            "by a name that led astray",
            2605,
            2600,
            Fresh,
            by("old", 1),
            Cause::Routing,
        ),
        (
            "on a timeline that nothing ended",
            5000,
            4990,
            Fresh,
            by("new", 2),
            Cause::Routing,
        ),
    ];
    let switch = Switch::of(cut(), &history());
    for (name, at, began, session, by, cause) in cases {
        let entry = said(Kind::Write, at, began, session, Outcome::Written { id: 9, by });
        let lost = losses(&acknowledged(&[entry]), &BTreeSet::new(), std::slice::from_ref(&switch));
        assert_eq!(
            lost,
            [Loss {
                id: 9,
                at: ms(at),
                cause
            }],
            "{name}"
        );
    }
}

#[test]
fn a_write_that_is_there_is_not_lost_and_one_that_failed_was_not_acknowledged() {
    let failed = Outcome::Failed {
        error: "reset".to_owned(),
    };
    let history = [
        written(1, 990, by("old", 1)),
        said(Kind::Write, 1001, 1000, SessionKind::Fresh, failed),
    ];
    let acknowledged = acknowledged(&history);
    assert_eq!(acknowledged.len(), 1);
    assert_eq!(losses(&acknowledged, &BTreeSet::from([1]), &[]), []);
    assert_eq!(failures(&history, Kind::Write).get("reset"), Some(&1));
}

#[test]
fn the_exposure_is_counted_from_the_promotion_to_the_old_primarys_last_answer() {
    let mut history = history();
    history.push(written(3, 1925, by("old", 1)));
    assert_eq!(Switch::of(cut(), &history).exposure_millis(), 600);
}
