//! The kept session.

use chaos::postgres::Setup;
use probe::{News, ProbeError, Pulse, Session, Standing};

use crate::support::{PATIENT, SHORT, primary, target};

#[tokio::test]
async fn a_terminated_session_says_so_and_the_server_is_still_there() {
    let server = primary(Setup::default()).await;
    let (mut session, first) = Session::open(&target(&server), PATIENT).await.unwrap();
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgsteer'";
    let (news, terminated) = tokio::join!(session.news(), server.sql(terminate));
    terminated.unwrap();
    let News::Ended(error) = news else { panic!("{news:?}") };
    assert_eq!(error.sqlstate(), Some("57P01"), "{error:?}");
    assert!(!session.is_open());
    assert!(
        matches!(session.news().await, News::Ended(ProbeError::Lost { .. })),
        "once over, always over"
    );
    assert!(matches!(session.pulse(PATIENT).await, Err(ProbeError::Lost { .. })));
    let (_, second) = Session::open(&target(&server), PATIENT).await.unwrap();
    assert_eq!(second.postmaster_started, first.postmaster_started);
}

#[tokio::test]
async fn waiting_for_news_can_be_given_up_at_any_time_and_questions_go_on() {
    let server = primary(Setup::default()).await;
    let (mut session, _) = Session::open(&target(&server), PATIENT).await.unwrap();
    for _ in 0..100 {
        tokio::select! {
            biased;
            news = session.news() => panic!("{news:?}"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(
            session.pulse(PATIENT).await,
            Ok(Pulse {
                standing: Some(Standing::Writable)
            })
        );
    }
    // A question that is given up half-way leaves the session in order, too.
    for _ in 0..100 {
        give_up(session.ask(PATIENT)).await;
        assert!(session.pulse(PATIENT).await.is_ok());
    }
    assert_eq!(session.ask(PATIENT).await.unwrap().standing, Standing::Writable);
    assert!(
        tokio::time::timeout(SHORT, session.news()).await.is_err(),
        "nothing happened"
    );
}

/// Begins it, and drops it before there can be an answer.
async fn give_up<T>(question: impl Future<Output = T>) {
    tokio::select! {
        biased;
        _ = question => {}
        () = std::future::ready(()) => {}
    }
}

#[tokio::test]
async fn questions_that_are_given_up_do_not_pile_up_before_a_server_that_never_answers() {
    let mut server = primary(Setup::default()).await;
    let (mut session, _) = Session::open(&target(&server), PATIENT).await.unwrap();
    server.freeze().unwrap();
    for _ in 0..100 {
        give_up(session.pulse(PATIENT)).await;
    }
    assert!(!session.is_open());
}

#[tokio::test]
async fn a_promotion_that_the_answer_to_a_dropped_pulse_tells_is_news() {
    let primary = primary(Setup::default()).await;
    let standby = primary.standby(Setup::default()).await.unwrap();
    let (mut session, _) = Session::open(&target(&standby), PATIENT).await.unwrap();
    standby.promote().await.unwrap();
    give_up(session.pulse(PATIENT)).await;
    let news = tokio::time::timeout(PATIENT, session.news()).await.unwrap();
    assert_eq!(news, News::Standing(Standing::Writable));
    assert!(
        tokio::time::timeout(SHORT, session.news()).await.is_err(),
        "it is told once"
    );
}

#[test]
fn a_session_can_live_in_a_task_of_its_own() {
    fn movable<T: Send>(_: &T) {}
    async fn prober(target: probe::Target) {
        let Ok((mut session, _)) = Session::open(&target, PATIENT).await else {
            return;
        };
        drop(session.pulse(PATIENT).await);
        drop(session.ask(PATIENT).await);
        drop(session.news().await);
        session.close().await;
    }
    movable(&prober(crate::support::at(std::net::SocketAddr::from((
        [127, 0, 0, 1],
        1,
    )))));
}

#[tokio::test]
async fn a_session_that_is_closed_or_dropped_leaves_nothing_behind() {
    let server = primary(Setup::default()).await;
    let gone = "SELECT 1 FROM pg_stat_activity HAVING count(*) FILTER (WHERE application_name = 'pgsteer') = 0";
    let (session, _) = Session::open(&target(&server), PATIENT).await.unwrap();
    session.close().await;
    server.wait_until("the closed session to be gone", gone).await.unwrap();
    let (session, _) = Session::open(&target(&server), PATIENT).await.unwrap();
    drop(session);
    server.wait_until("the dropped session to be gone", gone).await.unwrap();
    probe::ask(&target(&server), PATIENT).await.unwrap();
    server
        .wait_until("the session of one question to be gone", gone)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_knock_tells_whether_a_server_takes_connections() {
    let mut server = primary(Setup::default()).await;
    assert_eq!(probe::knock(&target(&server), PATIENT).await, Ok(()));
    // Who may come in without a proof is let in, and leaves in order.
    let trusted = crate::support::as_role(&server, "postgres");
    let missing = probe::Target {
        database: "nowhere".to_owned(),
        ..trusted.clone()
    };
    let trusting = primary(Setup::default().hba("host all postgres 127.0.0.1/32 trust")).await;
    let [trusted, missing] = [trusted, missing].map(|target| probe::Target {
        address: trusting.address(),
        ..target
    });
    assert_eq!(probe::knock(&trusted, PATIENT).await, Ok(()));
    let refused = probe::knock(&missing, PATIENT).await.unwrap_err();
    assert_eq!(refused.sqlstate(), Some("3D000"), "{refused:?}");
    let wrong = probe::Target {
        password: probe::Password::default(),
        ..target(&server)
    };
    assert_eq!(probe::knock(&wrong, PATIENT).await, Err(ProbeError::PasswordMissing));

    let (mut kept, _) = Session::open(&target(&server), PATIENT).await.unwrap();
    server.freeze_postmaster().unwrap();
    assert!(kept.pulse(PATIENT).await.is_ok(), "the kept session hides it");
    let hung = probe::knock(&target(&server), SHORT).await;
    assert!(matches!(hung, Err(ProbeError::TimedOut { .. })), "{hung:?}");
    server.kill().await.unwrap();
    assert_eq!(probe::knock(&target(&server), PATIENT).await, Err(ProbeError::Refused));
}
