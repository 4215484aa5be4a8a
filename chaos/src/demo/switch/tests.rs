use std::collections::BTreeSet;

use super::*;
use crate::history::PodSeen;

const MILLI: u64 = 1_000_000;

fn ms(at: u64) -> HostTime {
    HostTime(at * MILLI)
}

fn event(at: u64, what: Happening) -> Event {
    Event { at: ms(at), what }
}

fn role(at: u64, pod: &str, role: &str) -> Event {
    let seen = PodSeen {
        pod: pod.to_owned(),
        uid: pod.to_owned(),
        address: Some(pod.to_owned()),
        node: None,
        role: (role != "none").then(|| role.to_owned()),
        is_ready: true,
        is_terminating: false,
    };
    event(at, Happening::Pod(seen))
}

fn endpoints(at: u64, service: ServiceOf, addresses: &[&str]) -> Event {
    let ready = addresses.iter().map(|&address| address.to_owned()).collect();
    let terminating = BTreeSet::new();
    let what = Happening::Endpoints {
        service,
        ready,
        terminating,
    };
    event(at, what)
}

fn by(address: &str, timeline: u32) -> Answerer {
    Answerer {
        system: "7".to_owned(),
        timeline,
        address: address.to_owned(),
        in_recovery: address == "old" && timeline > 1,
    }
}

/// A client's line.
fn said(kind: Kind, at: u64, began: u64, session: SessionKind, outcome: Outcome) -> Event {
    let line = Line {
        n: at,
        at: ms(at),
        began: ms(began),
        port: None,
        opened: Some(ms(began)),
        session,
        outcome,
    };
    let client = "client".to_owned();
    event(at, Happening::Client { client, kind, line })
}

fn written(id: u64, at: u64, by: Answerer) -> Event {
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

fn history() -> Vec<Event> {
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
    for event in &mut history {
        if let Happening::Client { line, .. } = &mut event.what {
            line.session = SessionKind::Kept;
        }
    }
    let switch = Switch::of(cut(), &history);
    assert_eq!((switch.first_write, switch.first_read), (None, None));
}

#[test]
fn failures_are_counted_by_what_was_said() {
    let failed = Outcome::Failed {
        error: "reset".to_owned(),
    };
    let events = [
        written(1, 990, by("old", 1)),
        said(Kind::Write, 1001, 1000, SessionKind::Fresh, failed),
    ];
    assert_eq!(
        failures(&events, Kind::Write),
        BTreeMap::from([("reset".to_owned(), 1)])
    );
    assert!(failures(&events, Kind::Read).is_empty());
}

#[test]
fn the_exposure_is_counted_from_the_promotion_to_the_old_primarys_last_answer() {
    let mut history = history();
    history.push(written(3, 1925, by("old", 1)));
    assert_eq!(Switch::of(cut(), &history).exposure_millis(), 600);
}
