use std::{net::Ipv4Addr, time::Duration};

use probe::{Receiver, Standing, UnixMicros};
use shared::wal::{SystemIdentifier, Timeline};

use super::*;

fn at(seconds: u64) -> Tick {
    Tick::default() + Duration::from_secs(seconds)
}

fn sighting(seconds: u64, evidence: Evidence) -> Sighting {
    Sighting {
        at: at(seconds),
        took: Duration::from_millis(1),
        ip: Ipv4Addr::LOCALHOST.into(),
        evidence,
        report: None,
        reply: evidence != Evidence::Silent,
        refused: false,
        detail: String::new(),
    }
}

/// A standby that says how much it has received, or does not know.
fn received(seconds: u64, received: Option<u64>) -> Sighting {
    let report = Report {
        standing: Standing::InRecovery,
        system_identifier: SystemIdentifier(1),
        timeline: Timeline(1),
        lsn: Lsn(0),
        postmaster_started: UnixMicros(0),
        data_directory: None,
        hot_standby_reported: true,
        receiver: Some(Receiver {
            received: received.map(Lsn),
            timeline: None,
            last_message_age_us: None,
        }),
        server_version_num: 150_014,
    };
    Sighting {
        report: Some(report),
        ..sighting(seconds, Evidence::InRecovery)
    }
}

#[test]
fn a_standby_has_received_something_only_when_it_has_more_than_before() {
    for (name, steps, expected) in [
        ("the first word says nothing of before", vec![Some(5)], None),
        ("more than before", vec![Some(5), Some(6)], Some((1, 2))),
        ("as much as before", vec![Some(5), Some(5)], None),
        ("less: it was rewound", vec![Some(5), Some(4)], None),
        (
            "more than after the rewind",
            vec![Some(5), Some(3), Some(4)],
            Some((2, 3)),
        ),
        (
            "a word without a position changes nothing",
            vec![Some(5), None, Some(6)],
            Some((1, 3)),
        ),
        ("the last advance stays", vec![Some(5), Some(6), Some(6)], Some((1, 2))),
    ] {
        let mut sightings = Sightings::default();
        for (step, position) in (1..).zip(steps) {
            sightings.record(Via::Kept, received(step, position));
        }
        let advance = sightings.advance.map(|advance| (advance.from, advance.to));
        assert_eq!(advance, expected.map(|(from, to)| (at(from), at(to))), "{name}");
    }
}

#[test]
fn a_change_is_dated_by_the_first_sighting_of_what_is_now() {
    use Evidence::{Down, InRecovery, Silent, Writable};
    for (name, steps, expected) in [
        ("nothing seen", vec![], None),
        ("the first", vec![(Via::Fresh, InRecovery)], Some(1)),
        (
            "the same again",
            vec![(Via::Fresh, InRecovery), (Via::Kept, InRecovery)],
            Some(1),
        ),
        (
            "promoted",
            vec![(Via::Fresh, InRecovery), (Via::Kept, Writable), (Via::Fresh, Writable)],
            Some(2),
        ),
        (
            "back again",
            vec![(Via::Fresh, Writable), (Via::Fresh, Silent), (Via::Fresh, Writable)],
            Some(3),
        ),
        (
            "a kept session's good news does not decide",
            vec![(Via::Fresh, Down), (Via::Kept, Writable)],
            Some(1),
        ),
    ] {
        let mut sightings = Sightings::default();
        for (step, (via, evidence)) in (1..).zip(steps) {
            sightings.record(via, sighting(step, evidence));
        }
        assert_eq!(sightings.since, expected.map(at), "{name}");
    }
}

#[test]
fn a_refusal_is_a_reply_and_only_an_answer_or_a_bar_is_life() {
    for (evidence, replied, alive) in [
        (Evidence::Writable, true, true),
        (Evidence::InRecovery, true, true),
        (Evidence::Barred, true, true),
        (Evidence::Down, true, false),
        (Evidence::Starting, true, false),
        (Evidence::Unclear, true, false),
        (Evidence::Silent, false, false),
    ] {
        let mut sightings = Sightings::default();
        sightings.record(Via::Fresh, sighting(1, evidence));
        assert_eq!(sightings.replied.is_some(), replied, "{evidence:?}");
        assert_eq!(sightings.alive.is_some(), alive, "{evidence:?}");
    }
}

#[test]
fn a_kept_session_keeps_nothing_alive_while_the_door_is_shut() {
    use Evidence::{Down, InRecovery, Silent, Unclear, Writable};
    for (name, steps, expected) in [
        (
            "both answer",
            vec![(Via::Fresh, Writable), (Via::Kept, Writable)],
            Some(2),
        ),
        (
            "the postmaster hangs",
            vec![(Via::Fresh, Writable), (Via::Fresh, Silent), (Via::Kept, Writable)],
            Some(1),
        ),
        (
            "nobody listens any more",
            vec![(Via::Kept, InRecovery), (Via::Fresh, Down), (Via::Kept, InRecovery)],
            Some(1),
        ),
        (
            "it goes on",
            vec![(Via::Fresh, Silent), (Via::Kept, Writable), (Via::Fresh, Writable)],
            Some(3),
        ),
        (
            "an accident of one connection",
            vec![(Via::Fresh, Unclear), (Via::Kept, Writable)],
            Some(2),
        ),
    ] {
        let mut sightings = Sightings::default();
        for (step, (via, evidence)) in (1..).zip(steps) {
            sightings.record(via, sighting(step, evidence));
        }
        assert_eq!(sightings.alive, expected.map(at), "{name}");
    }
}
