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
        tokio::select! {
            biased;
            answer = session.ask(PATIENT) => { answer.unwrap(); }
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(session.ask(PATIENT).await.unwrap().standing, Standing::Writable);
    assert!(
        tokio::time::timeout(SHORT, session.news()).await.is_err(),
        "nothing happened"
    );
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
