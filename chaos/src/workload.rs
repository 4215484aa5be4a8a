//! `chaos workload write|read`: a client of the database, run in a pod, that goes through a Service's DNS name as any client would.
//!
//! ```text
//! pod: fresh connections, one after the other ─┐
//!      one kept session ───────────────────────┼─> a JSON line an answer ──> the pod's log ──> the recorder
//!      one session that waits for ever ────────┘
//! ```
//!
//! Every line carries when the answer came, who gave it (system identifier, timeline, address), and when its session began, so that
//! whoever reads the lines can tell a connection that was led astray from one that is older than the switch.

mod client;
pub mod session;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

pub use client::{BadStart, run};

use crate::host_time::{Clock, HostTime};

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Inserts one row an attempt, each with a number of its own.
    Write,
    /// Reads the highest number.
    Read,
}

/// How a client reaches the database.
#[derive(Debug, Clone, Args)]
pub struct WorkloadArgs {
    /// What to do.
    #[arg(value_enum)]
    pub kind: Kind,
    /// The Service's DNS name; the server's certificate must carry it.
    #[arg(long)]
    pub host: String,
    /// The Service's port.
    #[arg(long, default_value_t = 5432)]
    pub port: u16,
    /// Role to log in as; it must be allowed to create a table.
    #[arg(long)]
    pub user: String,
    /// Database.
    #[arg(long)]
    pub database: String,
    /// File with the password.
    #[arg(long)]
    pub password_file: PathBuf,
    /// File with the certificate authority of the servers.
    #[arg(long)]
    pub ca_file: PathBuf,
    /// Pause between two attempts, on the fresh connections and on the kept session each.
    #[arg(long, default_value = "20ms", value_parser = humantime::parse_duration)]
    pub every: Duration,
}

/// One attempt and its end: one line of the client's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Rises by one a line, from 1: a log that is read twice shows the same numbers again.
    pub n: u64,
    /// When the answer (or the failure) was there.
    pub at: HostTime,
    /// When the connection that carried it was begun.
    pub began: HostTime,
    /// The port that the connection was begun from; nothing when it never was, and in recordings that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// When that connection was open and logged in; nothing when it never was.
    pub opened: Option<HostTime>,
    /// Over what.
    pub session: SessionKind,
    /// How it ended.
    pub outcome: Outcome,
}

/// Over what an attempt went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SessionKind {
    /// A connection made for it alone.
    Fresh,
    /// The session that is held as long as it lasts, and given up when a statement is not answered within a second.
    Kept,
    /// A session like that of a pool without time-outs: it waits for its answer for as long as the connection stands.
    Patient,
}

impl SessionKind {
    /// Whether it lasts longer than one attempt.
    pub fn is_held(self) -> bool {
        match self {
            Self::Fresh => false,
            Self::Kept | Self::Patient => true,
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// A row was committed, says the server.
    Written {
        /// The row's number.
        id: u64,
        /// Who said so.
        by: Answerer,
    },
    /// The table was read.
    Read {
        /// The highest number in it.
        highest: u64,
        /// Who answered.
        by: Answerer,
    },
    /// No answer, or a refusal. A row may have been written nevertheless.
    Failed {
        /// What was wrong.
        error: String,
    },
}

/// The server that answered, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answerer {
    /// Its database's system identifier.
    pub system: String,
    /// Its timeline; of a server in recovery that of its last restart point, which may be one behind.
    pub timeline: u32,
    /// The address that the connection arrived at: the pod's.
    pub address: String,
    /// Whether it was in recovery.
    pub in_recovery: bool,
}

impl Line {
    /// The line with its stamps in this host's time, heard of now.
    #[must_use]
    pub fn in_clock_of(self, clock: &mut Clock, now: HostTime) -> Self {
        clock.heard(self.at, now);
        Self {
            at: clock.translate(self.at),
            began: clock.translate(self.began),
            opened: self.opened.map(|opened| clock.translate(opened)),
            ..self
        }
    }
}

impl Outcome {
    /// Who answered.
    pub fn by(&self) -> Option<&Answerer> {
        match self {
            Self::Written { by, .. } | Self::Read { by, .. } => Some(by),
            Self::Failed { .. } => None,
        }
    }
}
