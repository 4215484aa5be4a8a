//! What can happen in a run.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{Phase, Target};
use crate::host_time::HostTime;
use crate::workload::{Kind, Line};

/// Something that happened: one line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When: for what a client, the audit log or the observer tells, their own stamp; for what a watch tells, when it was heard of.
    pub at: HostTime,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Happening {
    /// A pod of the route is like this now.
    Pod(PodSeen),
    /// A pod of the route does not exist any more.
    PodGone {
        /// Its name.
        pod: String,
        /// Its uid.
        uid: String,
    },
    /// The endpoints of all slices of a Service are these now.
    Endpoints {
        /// Which Service.
        service: ServiceOf,
        /// Addresses that are ready.
        ready: BTreeSet<String>,
        /// Addresses of pods that are being deleted and still serve: kube-proxy sends to them while none is ready.
        terminating: BTreeSet<String>,
    },
    /// The controllers' Lease is this now.
    Lease {
        /// Who holds it, if anybody.
        holder: Option<String>,
        /// How often it has changed hands.
        transitions: u32,
    },
    /// The route's ledger holds this mark now, or none.
    Ledger {
        /// The mark.
        mark: Option<Mark>,
    },
    /// The API server has answered a request to write, says its audit log.
    Write(AuditedWrite),
    /// What a server says of itself has changed, says the observer, who asks it past every Service.
    Standing(Standing),
    /// How closely the observer has looked at a server, said when it stops looking.
    Observed {
        /// Its pod.
        pod: String,
        /// Its pod's uid.
        uid: String,
        /// How many answers it has had.
        questions: u64,
        /// The longest time between two answers while the server did answer: nothing shorter can have been missed for longer.
        longest_micros: u64,
    },
    /// A client of the database had an answer, or none.
    Client {
        /// Which client: its pod.
        client: String,
        /// What it does.
        kind: Kind,
        /// What it said.
        line: Line,
    },
    /// A fault begins or ends.
    Fault {
        /// What it is called.
        name: String,
        /// What it strikes.
        target: Target,
        /// Whether it begins or ends.
        phase: Phase,
    },
    /// Somebody asks a standby to promote itself.
    Promotion {
        /// Its pod.
        pod: String,
    },
    /// Somebody outside did something else: a hand edit, a step of the scenario.
    Note {
        /// What.
        text: String,
    },
    /// The rows that a server holds at the end.
    Rows(Rows),
    /// The recorder may have missed something.
    Gap {
        /// Of what.
        of: Heard,
        /// Since when.
        since: HostTime,
        /// Why.
        why: String,
    },
    /// The recording ended as it should. A file without this line was cut off.
    End,
}

/// A pod of the route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSeen {
    /// Its name.
    pub pod: String,
    /// Its uid: a pod of the same name with another one is another pod.
    pub uid: String,
    /// Its address, once it has one.
    pub address: Option<String>,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// Its role label.
    pub role: Option<String>,
    /// Whether the kubelet calls it ready.
    pub is_ready: bool,
    /// Whether it is being deleted.
    pub is_terminating: bool,
}

/// One of the route's two Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ServiceOf {
    /// The one for writes.
    Writes,
    /// The one for reads.
    Reads,
}

/// What the ledger remembers of the last primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// Its system identifier.
    pub system: String,
    /// Its timeline.
    pub timeline: u32,
    /// The log position that was seen last.
    pub lsn: String,
    /// The pod's name.
    pub pod: String,
}

/// A write that the API server answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditedWrite {
    /// When the request came.
    pub received: HostTime,
    /// `patch`, `create` and so on.
    pub verb: String,
    /// Such as `pods` or `postgresledgers`.
    pub resource: String,
    /// Such as `status`.
    pub subresource: Option<String>,
    /// The object's name.
    pub name: String,
    /// Who asked.
    pub user: String,
    /// The pod that the asking token was made for.
    pub from_pod: Option<String>,
    /// The stamp that the request carries.
    pub stamp: Option<String>,
    /// What the request does to the role label: not in it, taken off, or set.
    #[serde(default, skip_serializing_if = "RoleEdit::is_none")]
    pub role: RoleEdit,
    /// What the request puts into an EndpointSlice of one of the two Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<WrittenEndpoints>,
    /// The HTTP status of the answer.
    pub code: u16,
}

/// The ready addresses of an EndpointSlice that somebody writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WrittenEndpoints {
    /// Whose slice it is.
    pub service: ServiceOf,
    /// The addresses.
    pub ready: BTreeSet<String>,
}

/// What a request does to a role label.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RoleEdit {
    /// It does not speak of it.
    #[default]
    None,
    /// It takes it off.
    Off,
    /// It puts this on.
    To(String),
}

impl RoleEdit {
    /// Whether the request does not speak of the label.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Its pod.
    pub pod: String,
    /// Its pod's uid.
    pub uid: String,
    /// Its address.
    pub address: String,
    /// What it says.
    pub state: State,
    /// When it last said something else: the change lies between that moment and this event's stamp.
    pub not_before: HostTime,
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum State {
    /// It takes writes.
    Writable {
        /// Its system identifier.
        system: String,
        /// The timeline that it writes.
        timeline: u32,
    },
    /// It is in recovery.
    InRecovery {
        /// Its system identifier.
        system: String,
        /// The highest timeline that it has heard of.
        timeline: u32,
    },
    /// It refuses connections, or has ended them.
    Down {
        /// What was said.
        why: String,
    },
    /// It does not answer.
    Silent,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Writable { timeline, .. } => write!(f, "takes writes, timeline {timeline}"),
            Self::InRecovery { timeline, .. } => write!(f, "in recovery, timeline {timeline}"),
            Self::Down { why } => write!(f, "down: {why}"),
            Self::Silent => f.write_str("silent"),
        }
    }
}

/// The rows of the clients' table that a server holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rows {
    /// The server's pod.
    pub pod: String,
    /// Its system identifier.
    pub system: String,
    /// Its timeline.
    pub timeline: u32,
    /// When they were asked for: a write that was acknowledged later may be missing. Nothing in a recording that does not tell.
    #[serde(default)]
    pub asked: Option<HostTime>,
    /// The rows' numbers, as ranges that rise.
    pub ids: Vec<RangeInclusive<u64>>,
}

impl Rows {
    /// Whether a write that was acknowledged then is missing.
    pub fn lack(&self, id: u64, acknowledged: HostTime) -> bool {
        let is_asked_later = self.asked.is_none_or(|asked| acknowledged <= asked);
        is_asked_later && !self.hold(id)
    }

    fn hold(&self, id: u64) -> bool {
        let after = self.ids.partition_point(|range| *range.start() <= id);
        after.checked_sub(1).is_some_and(|index| self.ids[index].contains(&id))
    }
}

/// Where the recorder hears of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Heard {
    /// The watches on the API server.
    Watch,
    /// The API server's audit log.
    AuditLog,
    /// The observer of the servers.
    Observer,
    /// A client's log.
    Client,
    /// The rows at the end.
    Rows,
    /// The recorder's own memory.
    Recorder,
}
