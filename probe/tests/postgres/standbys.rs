//! Standbys, and the moment in which one is promoted.

use chaos::{
    postgres::{Server, Setup},
    wait::wait_for,
};
use probe::{Report, Session, Standing};
use shared::wal::{Lsn, Timeline};

use crate::support::{PATIENT, as_role, primary, report, target};

async fn write(server: &Server) -> Lsn {
    let rows = server
        .sql("SELECT pg_switch_wal(); SELECT pg_current_wal_flush_lsn()")
        .await
        .unwrap();
    rows[1][0].as_ref().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_standby_reports_how_far_it_has_come_and_from_whom_it_streams() {
    let primary = primary(Setup::default()).await;
    // A standby refuses such transactions, whatever its configuration says.
    let serializable = Setup::default().setting("default_transaction_isolation", "serializable");
    let standby = primary.standby(serializable).await.unwrap();
    let written = write(&primary).await;
    let caught_up = wait_for("the standby to catch up", PATIENT, || async {
        let report = report(&target(&standby)).await;
        if report.lsn >= written {
            Ok(report)
        } else {
            Err(format!("{} of {written}", report.lsn))
        }
    });
    let there = caught_up.await.unwrap();
    let here = report(&target(&primary)).await;

    assert_eq!((there.standing, there.timeline), (Standing::InRecovery, Timeline(1)));
    assert_eq!(there.system_identifier, here.system_identifier);
    assert_ne!(there.data_directory, here.data_directory);
    let receiver = there.receiver.unwrap();
    assert_eq!(receiver.timeline, Some(Timeline(1)));
    assert!(receiver.received >= Some(written));
    assert!(
        receiver.last_message_age_us.is_some_and(|age| age < 60_000_000),
        "{receiver:?}"
    );

    // Without pg_monitor: the same, less what PostgreSQL keeps from such a role.
    let bare = report(&as_role(&standby, "plain")).await;
    assert_eq!((bare.standing, bare.timeline), (Standing::InRecovery, Timeline(1)));
    let bare_receiver = bare.receiver.unwrap();
    assert_eq!(
        (bare_receiver.timeline, bare_receiver.last_message_age_us),
        (None, None)
    );
    assert!(bare_receiver.received >= Some(written));
}

#[tokio::test]
async fn a_standby_whose_primary_died_still_knows_the_timeline_that_it_received() {
    let first = primary(Setup::default()).await;
    let mut second = first.standby(Setup::default()).await.unwrap();
    let third = second.standby(Setup::default()).await.unwrap();
    second.promote().await.unwrap();
    let written = write(&second).await;
    let followed = wait_for("the third to follow the second", PATIENT, || async {
        let report = report(&target(&third)).await;
        if report.lsn >= written {
            Ok(())
        } else {
            Err(format!("{report:?}"))
        }
    });
    followed.await.unwrap();
    second.kill().await.unwrap();
    let alone = wait_for("the receiver to end", PATIENT, || async {
        let report = report(&target(&third)).await;
        if report.receiver.is_none() {
            Ok(report)
        } else {
            Err(format!("{report:?}"))
        }
    });
    assert_eq!(alone.await.unwrap().timeline, Timeline(2));
    let bare = report(&as_role(&third, "plain")).await;
    assert!(
        bare.timeline <= Timeline(2) && bare.standing == Standing::InRecovery,
        "{bare:?}"
    );
}

#[tokio::test]
async fn a_promotion_is_told_by_the_next_pulse() {
    let primary = primary(Setup::default()).await;
    let standby = primary.standby(Setup::default()).await.unwrap();
    let (mut session, before) = Session::open(&target(&standby), PATIENT).await.unwrap();
    assert_eq!(
        session.pulse(PATIENT).await.unwrap().standing,
        Some(Standing::InRecovery)
    );
    standby.promote().await.unwrap();
    assert_eq!(session.pulse(PATIENT).await.unwrap().standing, Some(Standing::Writable));
    let after = session.ask(PATIENT).await.unwrap();
    assert_eq!((after.standing, after.timeline), (Standing::Writable, Timeline(2)));
    assert_eq!(after.postmaster_started, before.postmaster_started);
}

/// Asks, as fast as answers come, until a server is writable.
async fn answers_until_writable<Answer: Future<Output = Report>>(mut ask: impl FnMut() -> Answer) -> Vec<Report> {
    let mut answers = Vec::new();
    while answers
        .last()
        .is_none_or(|report: &Report| report.standing == Standing::InRecovery)
    {
        answers.push(ask().await);
    }
    answers
}

#[tokio::test]
async fn every_answer_around_a_promotion_is_in_one_piece() {
    let primary = primary(Setup::default()).await;
    let standby = primary.standby(Setup::default()).await.unwrap();
    let standby_target = target(&standby);
    let (session, before) = Session::open(&standby_target, PATIENT).await.unwrap();
    assert_eq!(before.standing, Standing::InRecovery);

    let session = tokio::sync::Mutex::new(session);
    let kept = answers_until_writable(|| async { session.lock().await.ask(PATIENT).await.unwrap() });
    let fresh = answers_until_writable(|| report(&standby_target));
    let all = async { tokio::join!(kept, fresh, standby.promote()) };
    let (kept, fresh, promoted) = tokio::time::timeout(PATIENT, all).await.unwrap();
    promoted.unwrap();
    for report in kept.iter().chain(&fresh) {
        assert!(report.lsn >= before.lsn, "{report:?}");
        match report.standing {
            Standing::Writable => assert_eq!((report.timeline, report.receiver), (Timeline(2), None), "{report:?}"),
            Standing::InRecovery => assert!(report.timeline <= Timeline(2), "{report:?}"),
        }
        let same = (report.system_identifier, report.postmaster_started);
        assert_eq!(same, (before.system_identifier, before.postmaster_started));
    }
}
