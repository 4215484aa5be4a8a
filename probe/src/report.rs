//! What a server says about itself.

use serde::Serialize;
use shared::wal::{Lsn, SystemIdentifier, Timeline};

/// Whether a server takes writes, in its own words (`pg_is_in_recovery()`); never a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// `pg_is_in_recovery()` is false. Once a server has said so, it says so until it is restarted.
    Writable,
    /// `pg_is_in_recovery()` is true: it replays another server's log.
    InRecovery,
}

/// Microseconds since 1970-01-01 00:00 UTC, by the clock of the server that says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct UnixMicros(pub i64);

/// One server's answer, consistent in itself: all of it was true at one moment between the question and the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether it takes writes.
    pub standing: Standing,
    /// Which PostgreSQL cluster's data it holds.
    pub system_identifier: SystemIdentifier,
    /// Writable: the timeline it writes. In recovery: the highest that it is known to have received or replayed. Without
    /// `pg_monitor` that is what its control file says, which may be one promotion behind.
    pub timeline: Timeline,
    /// Writable: what is flushed to its disk. In recovery: what is received or replayed, whichever is more.
    pub lsn: Lsn,
    /// When its postmaster started; another value means another postmaster.
    pub postmaster_started: UnixMicros,
    /// The server's `data_directory`; none without `pg_read_all_settings` (part of `pg_monitor`).
    pub data_directory: Option<String>,
    /// Whether the server reports `in_hot_standby` (PostgreSQL 14 and later), so that a pulse carries the standing.
    /// Where it does not, only the full question tells.
    pub hot_standby_reported: bool,
    /// Its WAL receiver, while one runs: none on a writable server, and none once the connection to the primary ended.
    pub receiver: Option<Receiver>,
    /// PostgreSQL's version as a number, such as 150014.
    pub server_version_num: u32,
}

/// A standby's connection to the server that it streams from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Receiver {
    /// How far it has received and flushed; none before the first byte came.
    pub received: Option<Lsn>,
    /// The timeline of what it received; none without `pg_monitor`.
    pub timeline: Option<Timeline>,
    /// How long ago the last message came, in microseconds, by the standby's clock; none without `pg_monitor`.
    pub last_message_age_us: Option<u64>,
}
