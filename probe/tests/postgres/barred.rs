//! Servers that are alive and do not let us look.

use chaos::{postgres::Setup, wait::wait_for};
use probe::{Evidence, Password, ProbeError, Session, Target, classify};

use crate::support::{PATIENT, as_role, look, primary, refusal, target};

#[tokio::test]
async fn wrong_credentials_and_missing_rights_are_a_configuration_error() {
    let server = primary(Setup::default().hba("host all banned 127.0.0.1/32 reject")).await;
    server.sql("CREATE DATABASE closed").await.unwrap();
    server
        .sql("REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
        .await
        .unwrap();
    let right = target(&server);
    let wrong_password = Target {
        password: Password::new("wrong"),
        ..right.clone()
    };
    let missing_database = Target {
        database: "nowhere".to_owned(),
        ..right.clone()
    };
    let closed_database = Target {
        database: "closed".to_owned(),
        ..right.clone()
    };
    for (target, code) in [
        (wrong_password, "28P01"),
        (as_role(&server, "nobody"), "28P01"),
        (as_role(&server, "banned"), "28000"),
        (missing_database, "3D000"),
        (closed_database, "42501"),
    ] {
        assert_eq!(
            refusal(&target).await,
            (Evidence::Barred, code.to_owned()),
            "{target:?}"
        );
    }
    let no_password = Target {
        password: Password::default(),
        ..right
    };
    assert_eq!(
        look(&no_password).await,
        (Evidence::Barred, Err(ProbeError::PasswordMissing))
    );
}

#[tokio::test]
async fn a_full_server_is_alive() {
    let (connections, reserved) = (8, 3);
    let setup = Setup::default()
        .setting("max_connections", &connections.to_string())
        .setting("superuser_reserved_connections", &reserved.to_string());
    let server = primary(setup).await;
    let mut kept = Vec::new();
    let mut refused = None;
    // Sessions that made the server ready may still be ending, so how many are left is not known beforehand.
    for _ in 0..=connections - reserved {
        match Session::open(&target(&server), PATIENT).await {
            Ok((session, _)) => kept.push(session),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.sqlstate(), Some("53300"), "{refused}");
    assert_eq!(classify(&Err(refused)), Evidence::Barred);
    // A closed session makes room, in a moment: its slot is the last thing that the server frees.
    kept.pop().unwrap().close().await;
    let room = wait_for("room for one more", PATIENT, || async {
        look(&target(&server)).await.1.map_err(|error| error.to_string())
    });
    room.await.unwrap();
}

#[tokio::test]
async fn the_password_is_not_sent_in_the_open() {
    let setup = Setup::default()
        .hba("host all weak 127.0.0.1/32 password")
        .hba("host all old 127.0.0.1/32 md5");
    let server = primary(setup).await;
    let roles = "SET password_encryption = 'md5'; CREATE ROLE old LOGIN PASSWORD 'correct horse';
                 CREATE ROLE weak LOGIN PASSWORD 'correct horse'";
    server.sql(roles).await.unwrap();
    for (role, method) in [("weak", "clear-text"), ("old", "md5")] {
        let expected = (Evidence::Barred, Err(ProbeError::ClearTextPassword { method }));
        assert_eq!(look(&as_role(&server, role)).await, expected);
    }
}

#[tokio::test]
async fn settings_of_the_role_change_no_answer() {
    let server = primary(Setup::default()).await;
    let shadow = "CREATE SCHEMA shadow;
         CREATE FUNCTION shadow.pg_is_in_recovery() RETURNS bool LANGUAGE sql AS 'SELECT true';
         GRANT USAGE ON SCHEMA shadow TO PUBLIC;
         ALTER ROLE pgsteer SET search_path = shadow, pg_catalog;
         ALTER ROLE pgsteer SET statement_timeout = '1ms';
         ALTER ROLE pgsteer SET bytea_output = 'escape';
         ALTER ROLE pgsteer SET IntervalStyle = 'sql_standard'";
    server.sql(shadow).await.unwrap();
    assert_eq!(look(&target(&server)).await.0, Evidence::Writable);
}
