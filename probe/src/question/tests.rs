use std::collections::BTreeMap;

use shared::wal::{Lsn, SystemIdentifier};

use super::*;

type Row = BTreeMap<&'static str, &'static str>;

fn writable() -> Row {
    BTreeMap::from([
        ("in_recovery", "f"),
        ("system_identifier", "7421837563912837465"),
        ("wal_file", "0000000A0000000000000003"),
        ("lsn", "0/3000148"),
        ("receiver_runs", "f"),
        ("started_us", "1795446000123456"),
        ("server_version_num", "150014"),
        ("may_list_wal", "t"),
    ])
}

fn in_recovery() -> Row {
    let mut row = writable();
    row.remove("wal_file");
    row.extend([("in_recovery", "t"), ("control_timeline", "1")]);
    row
}

fn streaming() -> Row {
    let mut row = in_recovery();
    row.extend([
        ("receiver_runs", "t"),
        ("received_lsn", "0/3000000"),
        ("received_timeline", "2"),
    ]);
    row.extend([("message_age_us", "1500")]);
    row
}

fn answer(row: &Row, reported: Option<Standing>) -> Result<Option<Answer>, ProbeError> {
    read(|name| row.get(name).copied(), reported)
}

fn sound(row: &Row) -> Answer {
    answer(row, None).unwrap().unwrap()
}

#[test]
fn a_writable_servers_timeline_is_that_of_the_file_it_writes_in_hexadecimal() {
    let Answer { report, files_may_tell } = sound(&writable());
    assert_eq!(
        (report.standing, report.timeline, report.lsn),
        (Standing::Writable, Timeline(10), "0/3000148".parse::<Lsn>().unwrap())
    );
    assert!(!files_may_tell && report.receiver.is_none());
}

#[test]
fn a_standbys_timeline_is_the_highest_that_is_known() {
    let Answer { report, files_may_tell } = sound(&streaming());
    assert_eq!((report.timeline, files_may_tell), (Timeline(2), false));
    let mut row = streaming();
    row.insert("control_timeline", "3");
    assert_eq!(sound(&row).report.timeline, Timeline(3));
}

#[test]
fn the_files_are_looked_at_only_where_the_receiver_does_not_tell_and_the_role_may() {
    assert!(sound(&in_recovery()).files_may_tell);
    let mut starting = streaming();
    starting.insert("received_timeline", "0");
    assert!(sound(&starting).files_may_tell);
    let mut unprivileged = streaming();
    unprivileged.remove("received_timeline");
    unprivileged.insert("may_list_wal", "f");
    let Answer { report, files_may_tell } = sound(&unprivileged);
    assert_eq!((report.timeline, files_may_tell), (Timeline(1), false));
}

#[test]
fn an_answer_that_a_promotion_fell_into_is_none() {
    for (row, fits) in [(writable(), Standing::Writable), (in_recovery(), Standing::InRecovery)] {
        for reported in [Standing::Writable, Standing::InRecovery] {
            assert_eq!(
                answer(&row, Some(reported)).unwrap().is_some(),
                reported == fits,
                "{row:?} {reported:?}"
            );
        }
    }
}

#[test]
fn every_value_that_must_be_there_is_missed_by_name() {
    for whole in [writable(), streaming()] {
        let optional = ["received_lsn", "received_timeline", "message_age_us"];
        for name in whole.keys().filter(|name| !optional.contains(*name)) {
            for wrong in [None, Some("x")] {
                let mut row = whole.clone();
                row.remove(name);
                row.extend(wrong.map(|wrong| (*name, wrong)));
                let result = answer(&row, None);
                match (*name, result) {
                    ("may_list_wal", Ok(Some(_))) => {} // Not needed here, and not looked at.
                    (_, Err(ProbeError::Answer { reason })) => assert!(reason.contains(name), "{reason}"),
                    (_, other) => panic!("{name} = {wrong:?}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn odd_values_are_read_as_what_they_mean() {
    let mut row = streaming();
    row.extend([("message_age_us", "-20"), ("system_identifier", "-1")]);
    let report = sound(&row).report;
    assert_eq!(report.system_identifier, SystemIdentifier(u64::MAX));
    assert_eq!(report.receiver.unwrap().last_message_age_us, Some(0));
    let mut row = writable();
    row.insert("wal_file", "000000000000000000000003");
    assert!(answer(&row, None).is_err(), "there is no timeline 0");
}

#[test]
fn the_files_answer_only_for_a_server_still_in_recovery() {
    let files = |row: &Row| read_files(|name| row.get(name).copied(), Timeline(2)).unwrap();
    assert_eq!(
        files(&BTreeMap::from([
            ("in_recovery", "f"),
            ("wal_file", "000000030000000000000001")
        ])),
        None
    );
    assert_eq!(files(&BTreeMap::from([("in_recovery", "t")])), Some(Timeline(2)));
    for (file, timeline) in [("000000010000000000000001", 2), ("000000110000000000000001", 17)] {
        assert_eq!(
            files(&BTreeMap::from([("in_recovery", "t"), ("wal_file", file)])),
            Some(Timeline(timeline))
        );
    }
}
