//! What a server says of itself, in every state of its life.

use chaos::postgres::{Server, Setup, Shutdown};
use probe::{Evidence, News, Phase, ProbeError, Session, Standing, classify};
use shared::wal::{Lsn, Timeline};

use crate::support::{PATIENT, SHORT, as_role, look, primary, refusal, report, silence, target};

async fn one(server: &Server, query: &str) -> String {
    let rows = server.sql(query).await.unwrap();
    rows[0][0].clone().unwrap()
}

#[tokio::test]
async fn a_primary_reports_what_its_own_functions_say() {
    let server = primary(Setup::default()).await;
    let before: Lsn = one(&server, "SELECT pg_current_wal_flush_lsn()").await.parse().unwrap();
    let report = report(&target(&server)).await;
    let after: Lsn = one(&server, "SELECT pg_current_wal_insert_lsn()")
        .await
        .parse()
        .unwrap();

    assert_eq!((report.standing, report.timeline), (Standing::Writable, Timeline(1)));
    assert!(
        before <= report.lsn && report.lsn <= after,
        "{before} {} {after}",
        report.lsn
    );
    let identifier = one(&server, "SELECT system_identifier FROM pg_control_system()").await;
    assert_eq!(report.system_identifier.to_string(), identifier);
    let started = one(
        &server,
        "SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint",
    )
    .await;
    assert_eq!(report.postmaster_started.0.to_string(), started);
    assert_eq!(
        report.server_version_num.to_string(),
        one(&server, "SHOW server_version_num").await
    );
    assert_eq!(report.data_directory.as_deref(), server.data_directory().to_str());
    assert_eq!(report.hot_standby_reported, report.server_version_num >= 140_000);
    assert!(report.receiver.is_none());
}

#[tokio::test]
async fn a_role_without_pg_monitor_learns_all_but_the_data_directory() {
    let server = primary(Setup::default()).await;
    let (full, bare) = (report(&target(&server)).await, report(&as_role(&server, "plain")).await);
    assert!(full.data_directory.is_some());
    assert_eq!(
        bare,
        probe::Report {
            data_directory: None,
            lsn: bare.lsn,
            ..full
        }
    );
}

#[tokio::test]
async fn a_restart_shows_as_another_start_time() {
    let mut server = primary(Setup::default()).await;
    let first = report(&target(&server)).await;
    server.stop(Shutdown::Fast).await.unwrap();
    let (evidence, answer) = look(&target(&server)).await;
    assert_eq!((evidence, answer), (Evidence::Down, Err(ProbeError::Refused)));
    server.start().await.unwrap();
    let second = report(&target(&server)).await;
    assert!(second.postmaster_started > first.postmaster_started);
    assert_eq!(
        (second.system_identifier, second.timeline),
        (first.system_identifier, first.timeline)
    );
}

#[tokio::test]
async fn a_killed_server_is_down_and_its_kept_session_ends() {
    let mut server = primary(Setup::default()).await;
    let (mut session, _) = Session::open(&target(&server), PATIENT).await.unwrap();
    let (news, killed) = tokio::join!(session.news(), server.kill());
    killed.unwrap();
    assert!(matches!(news, News::Ended(_)), "{news:?}");
    let answer = session.ask(PATIENT).await;
    assert_eq!(
        classify(&answer),
        Evidence::Unclear,
        "a session that ended says nothing: {answer:?}"
    );
    assert_eq!(look(&target(&server)).await, (Evidence::Down, Err(ProbeError::Refused)));
}

#[tokio::test]
async fn a_server_that_recovers_is_starting() {
    let server = primary(Setup::default()).await;
    let copy = server.stuck_copy(Setup::default()).await.unwrap();
    assert_eq!(refusal(&target(&copy)).await, (Evidence::Starting, "57P03".to_owned()));
}

#[tokio::test]
async fn a_server_that_stops_is_starting_while_its_kept_session_still_answers() {
    let mut server = primary(Setup::default()).await;
    let (mut session, _) = Session::open(&target(&server), PATIENT).await.unwrap();
    server.begin_stop(Shutdown::Smart).unwrap();
    // The signal is on its way: the answer of the first look may still be the old one.
    let refused = chaos::wait::wait_for("a refusal", PATIENT, || async {
        let (evidence, answer) = look(&target(&server)).await;
        answer.map_or_else(|error| Ok((evidence, error)), |report| Err(format!("{report:?}")))
    });
    let (evidence, error) = refused.await.unwrap();
    assert_eq!((evidence, error.sqlstate()), (Evidence::Starting, Some("57P03")));
    assert_eq!(session.ask(PATIENT).await.unwrap().standing, Standing::Writable);
    session.close().await;
    server.stop(Shutdown::Fast).await.unwrap();
}

#[tokio::test]
async fn a_hung_postmaster_is_silent_while_its_kept_session_still_answers() {
    let mut server = primary(Setup::default()).await;
    let (mut session, _) = Session::open(&target(&server), PATIENT).await.unwrap();
    server.freeze_postmaster().unwrap();
    assert_eq!(silence(&target(&server)).await, Phase::Login);
    assert_eq!(session.ask(PATIENT).await.unwrap().standing, Standing::Writable);
    assert!(session.pulse(PATIENT).await.is_ok());
    server.thaw().unwrap();
    assert_eq!(report(&target(&server)).await.standing, Standing::Writable);
}

#[tokio::test]
async fn a_frozen_server_is_silent_and_the_kept_session_is_given_up() {
    let mut server = primary(Setup::default()).await;
    let (mut session, _) = Session::open(&target(&server), PATIENT).await.unwrap();
    server.freeze().unwrap();
    let pulse = session.pulse(SHORT).await;
    assert_eq!(pulse, Err(ProbeError::TimedOut { phase: Phase::Query }));
    assert!(!session.is_open());
    silence(&target(&server)).await;
}
