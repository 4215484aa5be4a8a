//! What happened in a run, and when: the one record that is judged, shown and kept. One JSON object a line; docs/history.md says what
//! each means.
//!
//! ```text
//! watches, audit log, observer, clients, faults ──> Recorder ──> FILE.jsonl ──> oracle::check ──> report
//! ```
//!
//! Every event is stamped in nanoseconds of one clock, the host's `CLOCK_MONOTONIC`. Plain data: nothing here looks at a cluster.

mod event;
mod fault;
mod file;

use serde::{Deserialize, Serialize};

pub use event::{
    AuditedWrite, Event, Happening, Heard, Mark, PodSeen, RoleEdit, Rows, ServiceOf, Standing, State, WrittenEndpoints,
};
pub use fault::{Part, Phase, Target};
pub use file::{BadHistory, Writer, read};

use crate::host_time::HostTime;

/// The version of the file's format. A reader refuses any other.
pub const FORMAT: u32 = 1;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// What was recorded, and by which settings it is to be judged.
    pub header: Header,
    /// Everything that happened, by its stamp; what has the same stamp in the order of being heard of.
    pub events: Vec<Event>,
}

/// The first line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// [`FORMAT`].
    pub format: u32,
    /// What was played, such as `primary-killed`.
    pub scenario: String,
    /// When the recording began.
    pub began: HostTime,
    /// The same moment for people: seconds since 1970.
    pub began_unix: u64,
    /// The route, as `namespace/name`.
    pub route: String,
    /// The route's `probe.silentAfter`, in milliseconds: silence withdraws a role after that.
    pub silent_after_millis: u64,
    /// How long after the last heal every role may take to be right, in milliseconds. The scenario says it: a server that has to be
    /// cloned takes longer than one whose process is started again.
    pub settle_within_millis: u64,
    /// How often the observer asks each server, in microseconds: the error of its stamps.
    pub observed_every_micros: u64,
    /// The nodes that the clients' pods run on.
    pub client_nodes: Vec<String>,
}

impl History {
    /// A history of these events, put in the order of their stamps.
    pub fn new(header: Header, mut events: Vec<Event>) -> Self {
        // Stable: what has the same stamp keeps the order in which it was heard of.
        events.sort_by_key(|event| event.at);
        Self { header, events }
    }

    /// The stamp of the last event; of the beginning when there is none.
    pub fn end(&self) -> HostTime {
        self.events.last().map_or(self.header.began, |event| event.at)
    }
}
