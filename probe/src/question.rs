//! The question, and how its answer is read.
//!
//! All of it is one statement, so that one round trip brings one consistent answer even while a promotion is under way:
//! the server says *once* whether it is in recovery, and only then is what fits that word looked up. Leaving recovery is
//! final within a session, so functions that fail during recovery are safe behind a `false`; those behind a `true` never
//! fail. Everything asked is open to any role that may log in, or is asked only where the role may.

use std::str::FromStr;

use shared::wal::Timeline;
use tokio_postgres::SimpleQueryMessage;

use crate::{ProbeError, Receiver, Report, Standing, UnixMicros};

/// Asked every time.
///
/// `pg_walfile_name()` gives the timeline that a writable server writes now; its control file would give the one before
/// for as long as the first checkpoint after a promotion is not done. For a server in recovery the control file tells the
/// timeline that it must at least replay to be consistent, and that of its last restart point.
pub const STANDING: &str = "\
WITH asked AS (SELECT pg_is_in_recovery() AS in_recovery)
SELECT asked.in_recovery,
       (SELECT system_identifier FROM pg_control_system()) AS system_identifier,
       CASE WHEN NOT asked.in_recovery THEN pg_walfile_name(pg_current_wal_lsn()) END AS wal_file,
       CASE WHEN asked.in_recovery
            THEN (SELECT greatest(r.min_recovery_end_timeline, c.timeline_id)
                    FROM pg_control_recovery() AS r, pg_control_checkpoint() AS c) END AS control_timeline,
       CASE WHEN asked.in_recovery THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
            ELSE pg_current_wal_flush_lsn() END AS lsn,
       receiver.pid IS NOT NULL AS receiver_runs,
       CASE WHEN receiver.pid IS NOT NULL THEN pg_last_wal_receive_lsn() END AS received_lsn,
       receiver.received_tli AS received_timeline,
       (extract(epoch FROM clock_timestamp() - receiver.last_msg_receipt_time) * 1000000)::bigint AS message_age_us,
       (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS started_us,
       CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') THEN current_setting('data_directory') END
            AS data_directory,
       current_setting('server_version_num') AS server_version_num,
       has_function_privilege('pg_ls_waldir()', 'EXECUTE') AS may_list_wal
  FROM asked LEFT JOIN pg_stat_wal_receiver AS receiver ON asked.in_recovery";

/// Asked of a server in recovery whose receiver does not tell its timeline, where the role may: with the primary dead the
/// receiver is gone, and what it received last is known from the files alone. Names beyond the timeline (history files,
/// partial ones) do not count.
pub const WAL_FILES: &str = "\
SELECT pg_is_in_recovery() AS in_recovery, max(name COLLATE \"C\") AS wal_file
  FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'";

/// An answer to [`STANDING`].
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the server says.
    pub report: Report,
    /// [`WAL_FILES`] may know a higher timeline.
    pub files_may_tell: bool,
}

/// The one row that a question must bring.
pub(crate) fn one_row(messages: &[SimpleQueryMessage]) -> Result<&tokio_postgres::SimpleQueryRow, ProbeError> {
    let mut rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    match (rows.next(), rows.next()) {
        (Some(row), None) => Ok(row),
        _ => Err(ProbeError::Answer {
            reason: "it is not exactly one row".to_owned(),
        }),
    }
}

/// Reads the answer to [`STANDING`]; `reported` is the `in_hot_standby` that the server reported behind it.
///
/// None when the two differ: a promotion came in between, and asking again gives the new standing.
pub fn read<'a>(
    column: impl Fn(&'static str) -> Option<&'a str>,
    reported: Option<Standing>,
) -> Result<Option<Answer>, ProbeError> {
    let standing = if truth(&column, "in_recovery")? {
        Standing::InRecovery
    } else {
        Standing::Writable
    };
    if reported.is_some_and(|reported| reported != standing) {
        return Ok(None);
    }
    let receiver = if truth(&column, "receiver_runs")? {
        Some(receiver(&column)?)
    } else {
        None
    };
    let timeline = match standing {
        Standing::Writable => wal_file_timeline(column("wal_file"))?,
        Standing::InRecovery => {
            let control = Timeline(number(&column, "control_timeline")?);
            receiver
                .and_then(|receiver| receiver.timeline)
                .map_or(control, |received| received.max(control))
        }
    };
    let files_may_tell = standing == Standing::InRecovery
        && receiver.and_then(|receiver| receiver.timeline).is_none()
        && truth(&column, "may_list_wal")?;
    let report = Report {
        standing,
        // PostgreSQL shows these 64 bits as a signed number.
        system_identifier: shared::wal::SystemIdentifier(number::<i64>(&column, "system_identifier")?.cast_unsigned()),
        timeline,
        lsn: number(&column, "lsn")?,
        postmaster_started: UnixMicros(number(&column, "started_us")?),
        data_directory: column("data_directory").map(str::to_owned),
        hot_standby_reported: reported.is_some(),
        receiver,
        server_version_num: number(&column, "server_version_num")?,
    };
    if report.timeline == Timeline(0) {
        return Err(senseless("timeline", Some("0")));
    }
    Ok(Some(Answer { report, files_may_tell }))
}

/// Reads the answer to [`WAL_FILES`]: the highest timeline among the files and what was `known` before.
///
/// None when the server is no longer in recovery: asking again gives the new standing.
pub fn read_files<'a>(
    column: impl Fn(&'static str) -> Option<&'a str>,
    known: Timeline,
) -> Result<Option<Timeline>, ProbeError> {
    if !truth(&column, "in_recovery")? {
        return Ok(None);
    }
    match column("wal_file") {
        None => Ok(Some(known)),
        name => wal_file_timeline(name).map(|timeline| Some(timeline.max(known))),
    }
}

/// The value of `in_hot_standby`, where the server reports it.
pub(crate) fn reported(value: Option<&str>) -> Option<Standing> {
    match value? {
        "on" => Some(Standing::InRecovery),
        "off" => Some(Standing::Writable),
        _ => None,
    }
}

fn receiver<'a>(column: &impl Fn(&'static str) -> Option<&'a str>) -> Result<Receiver, ProbeError> {
    let timeline = optional(column, "received_timeline")?.map(Timeline);
    Ok(Receiver {
        received: optional(column, "received_lsn")?,
        timeline: timeline.filter(|timeline| *timeline != Timeline(0)),
        // A clock that was set back makes an age negative: then the message is as young as can be.
        last_message_age_us: optional::<i64>(column, "message_age_us")?.map(|age| age.max(0).cast_unsigned()),
    })
}

fn wal_file_timeline(name: Option<&str>) -> Result<Timeline, ProbeError> {
    let sound = name.and_then(|name| Timeline::of_wal_file(name).ok());
    sound.ok_or_else(|| senseless("wal_file", name))
}

fn truth<'a>(column: &impl Fn(&'static str) -> Option<&'a str>, name: &'static str) -> Result<bool, ProbeError> {
    match column(name) {
        Some("t") => Ok(true),
        Some("f") => Ok(false),
        other => Err(senseless(name, other)),
    }
}

fn number<'a, T: FromStr>(
    column: &impl Fn(&'static str) -> Option<&'a str>,
    name: &'static str,
) -> Result<T, ProbeError> {
    optional(column, name)?.ok_or_else(|| senseless(name, None))
}

fn optional<'a, T: FromStr>(
    column: &impl Fn(&'static str) -> Option<&'a str>,
    name: &'static str,
) -> Result<Option<T>, ProbeError> {
    let text = column(name);
    let value = text.map(str::parse).transpose();
    value.map_err(|_unparsable: T::Err| senseless(name, text))
}

fn senseless(name: &str, value: Option<&str>) -> ProbeError {
    let value: String = value.unwrap_or("NULL").chars().take(64).collect();
    ProbeError::Answer {
        reason: format!("{name} is {value:?}"),
    }
}

#[cfg(test)]
mod tests;
