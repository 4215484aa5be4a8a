//! What one answer is worth.

use serde::Serialize;

use crate::{ProbeError, Report, Standing};

/// What one answer, or the lack of one, says about a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Evidence {
    /// It takes writes.
    Writable,
    /// It replays another server's log.
    InRecovery,
    /// Nobody listens there: refused, or reset before the server's first message.
    Down,
    /// It says itself that it takes no sessions now: it is starting, stopping or recovering from a crash.
    Starting,
    /// No answer in time, or no way there.
    Silent,
    /// Alive, but we may not look: full, wrong credentials, no such database, TLS. A person has to act.
    Barred,
    /// An answer that says nothing about the standing.
    Unclear,
}

/// SQLSTATEs of a server that is alive and does not let us look; beside these the whole class 28 (invalid authorization).
const BARRED: [&str; 3] = [
    "53300", // too many connections
    "3D000", // no such database
    "42501", // insufficient privilege
];
const CLASS_AUTHORIZATION: &str = "28";
const CANNOT_CONNECT_NOW: &str = "57P03";

/// What an answer on a fresh connection is worth. On a kept session an error says nothing (the session may have been
/// ended for many a reason): open a fresh connection at once and classify that.
pub fn classify(answer: &Result<Report, ProbeError>) -> Evidence {
    use ProbeError as E;
    match answer {
        Ok(Report {
            standing: Standing::Writable,
            ..
        }) => Evidence::Writable,
        Ok(Report {
            standing: Standing::InRecovery,
            ..
        }) => Evidence::InRecovery,
        Err(E::Refused | E::Reset) => Evidence::Down,
        Err(E::TimedOut { .. } | E::Unreachable { .. }) => Evidence::Silent,
        Err(E::Sqlstate { code, .. }) => of_sqlstate(code),
        Err(E::Tls { .. } | E::ClearTextPassword { .. } | E::PasswordMissing | E::Authentication { .. }) => {
            Evidence::Barred
        }
        Err(E::Lost { .. } | E::NotPostgres { .. } | E::Answer { .. } | E::Local { .. }) => Evidence::Unclear,
    }
}

fn of_sqlstate(code: &str) -> Evidence {
    if code == CANNOT_CONNECT_NOW {
        Evidence::Starting
    } else if BARRED.contains(&code) || code.starts_with(CLASS_AUTHORIZATION) {
        Evidence::Barred
    } else {
        Evidence::Unclear
    }
}

#[cfg(test)]
mod tests {
    use shared::wal::{Lsn, SystemIdentifier, Timeline};

    use super::*;
    use crate::{Phase, UnixMicros};

    fn report(standing: Standing) -> Report {
        Report {
            standing,
            system_identifier: SystemIdentifier(7_000),
            timeline: Timeline(1),
            lsn: Lsn(0x300_0148),
            postmaster_started: UnixMicros(1),
            data_directory: None,
            hot_standby_reported: true,
            receiver: None,
            server_version_num: 150_014,
        }
    }

    fn sqlstate(code: &str) -> ProbeError {
        ProbeError::Sqlstate {
            code: code.to_owned(),
            message: "says the server".to_owned(),
        }
    }

    fn reason() -> String {
        "a reason".to_owned()
    }

    /// One row a line: the answer, its evidence, whether somebody replied, whether new credentials may help.
    #[test]
    fn every_answer_has_its_place_in_the_table() {
        #[rustfmt::skip]
        let table = [
            (Ok(report(Standing::Writable)),                             Evidence::Writable,   true,  false),
            (Ok(report(Standing::InRecovery)),                           Evidence::InRecovery, true,  false),
            (Err(ProbeError::Refused),                                   Evidence::Down,       true,  false),
            (Err(ProbeError::Reset),                                     Evidence::Down,       true,  false),
            (Err(sqlstate("57P03")),                                     Evidence::Starting,   true,  false),
            (Err(ProbeError::TimedOut { phase: Phase::Connect }),        Evidence::Silent,     false, false),
            (Err(ProbeError::TimedOut { phase: Phase::Query }),          Evidence::Silent,     false, false),
            (Err(ProbeError::Unreachable { reason: reason() }),          Evidence::Silent,     false, false),
            (Err(sqlstate("53300")),                                     Evidence::Barred,     true,  false),
            (Err(sqlstate("28000")),                                     Evidence::Barred,     true,  true),
            (Err(sqlstate("28P01")),                                     Evidence::Barred,     true,  true),
            (Err(sqlstate("3D000")),                                     Evidence::Barred,     true,  false),
            (Err(sqlstate("42501")),                                     Evidence::Barred,     true,  false),
            (Err(ProbeError::Tls { reason: reason() }),                  Evidence::Barred,     true,  true),
            (Err(ProbeError::ClearTextPassword { method: "md5" }),       Evidence::Barred,     true,  false),
            (Err(ProbeError::PasswordMissing),                           Evidence::Barred,     true,  true),
            (Err(ProbeError::Authentication { reason: reason() }),       Evidence::Barred,     true,  false),
            (Err(sqlstate("57014")),                                     Evidence::Unclear,    true,  false),
            (Err(sqlstate("57P01")),                                     Evidence::Unclear,    true,  false),
            (Err(sqlstate("57P02")),                                     Evidence::Unclear,    true,  false),
            (Err(sqlstate("58030")),                                     Evidence::Unclear,    true,  false),
            (Err(sqlstate("53200")),                                     Evidence::Unclear,    true,  false),
            (Err(sqlstate("XX000")),                                     Evidence::Unclear,    true,  false),
            (Err(sqlstate("")),                                          Evidence::Unclear,    true,  false),
            (Err(ProbeError::NotPostgres { reason: reason() }),          Evidence::Unclear,    true,  false),
            (Err(ProbeError::Answer { reason: reason() }),               Evidence::Unclear,    true,  false),
            (Err(ProbeError::Lost { reason: reason() }),                 Evidence::Unclear,    true,  false),
            (Err(ProbeError::Local { reason: reason() }),                Evidence::Unclear,    false, false),
        ];
        for (answer, evidence, reply, credentials) in table {
            assert_eq!(classify(&answer), evidence, "{answer:?}");
            let Err(error) = &answer else { continue };
            assert_eq!(error.is_reply(), reply, "{answer:?}");
            assert_eq!(error.wants_new_credentials(), credentials, "{answer:?}");
        }
    }
}
