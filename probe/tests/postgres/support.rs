//! What the tests share: servers with the probe's roles in them, and targets that ask them.

use std::{net::SocketAddr, time::Duration};

use chaos::postgres::{Server, Setup};
use probe::{Evidence, Password, Phase, ProbeError, Report, Target, Tls, ask, classify};

/// For answers that are expected: so long that a busy host does not fail a test.
pub(crate) const PATIENT: Duration = Duration::from_secs(10);

/// For answers that must not come: every test of silence waits this long.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

pub(crate) const PASSWORD: &str = "correct horse";

/// As the documentation has it, and a role that may log in and nothing else.
const ROLES: &str = "CREATE ROLE pgsteer LOGIN PASSWORD 'correct horse' IN ROLE pg_monitor;
     CREATE ROLE plain LOGIN PASSWORD 'correct horse'";

pub(crate) async fn primary(setup: Setup) -> Server {
    let server = Server::primary(setup).await.expect("a primary");
    server.sql(ROLES).await.expect("the roles");
    server
}

pub(crate) fn at(address: SocketAddr) -> Target {
    Target {
        address,
        user: "pgsteer".to_owned(),
        database: "postgres".to_owned(),
        password: Password::new(PASSWORD),
        tls: Tls::Disable,
    }
}

pub(crate) fn target(server: &Server) -> Target {
    at(server.address())
}

pub(crate) fn as_role(server: &Server, role: &str) -> Target {
    Target {
        user: role.to_owned(),
        ..target(server)
    }
}

/// One fresh answer and what it is worth.
pub(crate) async fn look(target: &Target) -> (Evidence, Result<Report, ProbeError>) {
    let answer = ask(target, PATIENT).await;
    (classify(&answer), answer)
}

pub(crate) async fn report(target: &Target) -> Report {
    ask(target, PATIENT).await.expect("an answer")
}

/// The evidence and SQLSTATE of a server that answers with an error.
pub(crate) async fn refusal(target: &Target) -> (Evidence, String) {
    let (evidence, answer) = look(target).await;
    let error = answer.expect_err("no report");
    (
        evidence,
        error.sqlstate().map_or_else(|| format!("{error:?}"), str::to_owned),
    )
}

/// A server that says nothing: where the probe was waiting.
pub(crate) async fn silence(target: &Target) -> Phase {
    let answer = ask(target, SHORT).await;
    assert_eq!(classify(&answer), Evidence::Silent, "{answer:?}");
    match answer {
        Err(ProbeError::TimedOut { phase }) => phase,
        other => panic!("{other:?}"),
    }
}
