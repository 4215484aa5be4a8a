//! TLS: never less than was asked for.

use chaos::postgres::{Authority, Setup};
use probe::{Evidence, ProbeError, Session, Standing, Target, Tls};

use crate::support::{PATIENT, as_role, look, primary, report, target};

const NAME: &str = "pg.pg.svc";

fn verified(authority: &Authority, name: &str) -> Tls {
    Tls::verify_full(authority.pem().as_bytes(), name).unwrap()
}

fn tls_reason(answer: (Evidence, Result<probe::Report, ProbeError>)) -> String {
    match answer {
        (Evidence::Barred, Err(ProbeError::Tls { reason })) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_mode_takes_the_certificates_that_it_should() {
    let (authority, stranger) = (Authority::new().unwrap(), Authority::new().unwrap());
    let server = primary(Setup::default().tls(authority.issue(NAME).unwrap())).await;
    let over = |tls| Target { tls, ..target(&server) };

    for tls in [Tls::Disable, Tls::Require, verified(&authority, NAME)] {
        let encrypted = tls != Tls::Disable;
        let (session, report) = Session::open(&over(tls), PATIENT).await.unwrap();
        assert_eq!(report.standing, Standing::Writable);
        let query = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'pgsteer'";
        let rows = server.sql(query).await.unwrap();
        assert_eq!(rows, [[Some(if encrypted { "t" } else { "f" }.to_owned())]]);
        session.close().await;
        let gone = "SELECT 1 FROM pg_stat_activity HAVING count(*) FILTER (WHERE usename = 'pgsteer') = 0";
        server.wait_until("the session to end", gone).await.unwrap();
    }
    let other_name = tls_reason(look(&over(verified(&authority, "other.pg.svc"))).await);
    assert!(other_name.contains("other.pg.svc"), "{other_name}");
    let other_authority = tls_reason(look(&over(verified(&stranger, NAME))).await);
    assert!(
        other_authority.contains("invalid peer certificate"),
        "{other_authority}"
    );
}

#[tokio::test]
async fn a_server_without_tls_is_not_asked_in_the_clear() {
    let authority = Authority::new().unwrap();
    let server = primary(Setup::default()).await;
    for tls in [Tls::Require, verified(&authority, NAME)] {
        let reason = tls_reason(look(&Target { tls, ..target(&server) }).await);
        assert!(reason.contains("ssl = off"), "{reason}");
    }
}

#[tokio::test]
async fn a_server_that_insists_on_tls_bars_whoever_comes_in_the_clear() {
    let authority = Authority::new().unwrap();
    let setup = Setup::default()
        .tls(authority.issue(NAME).unwrap())
        .hba("hostnossl all all 127.0.0.1/32 reject");
    let server = primary(setup).await;
    let (evidence, answer) = look(&target(&server)).await;
    assert_eq!(
        (evidence, answer.unwrap_err().sqlstate()),
        (Evidence::Barred, Some("28000"))
    );
    report(&Target {
        tls: Tls::Require,
        ..target(&server)
    })
    .await;
}

#[tokio::test]
async fn only_a_verified_server_may_ask_for_the_password_itself() {
    let authority = Authority::new().unwrap();
    let setup = Setup::default()
        .tls(authority.issue(NAME).unwrap())
        .hba("host all weak 127.0.0.1/32 password")
        .hba("host all old 127.0.0.1/32 md5");
    let server = primary(setup).await;
    let roles = "SET password_encryption = 'md5'; CREATE ROLE old LOGIN PASSWORD 'correct horse';
                 CREATE ROLE weak LOGIN PASSWORD 'correct horse'";
    server.sql(roles).await.unwrap();
    for (role, method) in [("weak", "clear-text"), ("old", "md5")] {
        let over = |tls| Target {
            tls,
            ..as_role(&server, role)
        };
        let refused = (Evidence::Barred, Err(ProbeError::ClearTextPassword { method }));
        assert_eq!(look(&over(Tls::Require)).await, refused);
        assert_eq!(
            report(&over(verified(&authority, NAME))).await.standing,
            Standing::Writable
        );
    }
}
