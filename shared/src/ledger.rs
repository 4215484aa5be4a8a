//! `PostgresLedger`: the route's durable memory.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    term::Term,
    wal::{Lsn, SystemIdentifier, Timeline},
};

/// How many of the last switches the ledger keeps; older ones are in the traces and in the Events.
pub const SWITCHES_KEPT: usize = 20;

/// What pgsteer remembers of a route of the same name: which data was last primary, and how far it had come.
/// Written by the leading controller alone, by compare-and-swap. It has no owner, so it outlives its route: a route that is
/// deleted and created again is not a new cluster.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "pgsteer.io",
    version = "v1alpha1",
    kind = "PostgresLedger",
    namespaced,
    derive = "PartialEq",
    shortname = "pgledger",
    category = "pgsteer",
    doc = "What pgsteer remembers of the PostgresRoute of the same name. Written by the leading controller alone; to move the mark by hand, use the route's annotation pgsteer.io/accept.",
    printcolumn = r#"{"name":"Pod","type":"string","jsonPath":".spec.mark.pod","description":"The pod that was last primary"}"#,
    printcolumn = r#"{"name":"Timeline","type":"integer","jsonPath":".spec.mark.timeline"}"#,
    printcolumn = r#"{"name":"LSN","type":"string","jsonPath":".spec.mark.lsn"}"#,
    printcolumn = r#"{"name":"System","type":"string","jsonPath":".spec.mark.systemIdentifier","priority":1}"#,
    printcolumn = r#"{"name":"Term floor","type":"integer","jsonPath":".spec.termFloor","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct PostgresLedgerSpec {
    /// The data that was last primary. A server below it is stale and stays out of both Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// A promotion or switchover that was decided and is not finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intention: Option<Intention>,
    /// The highest term that ever led this route. No leader of a lower or equal term, but that one, may write here.
    #[serde(default)]
    pub term_floor: Term,
    /// The last switches, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub switches: Vec<Switch>,
}

/// The data that was last primary, and how far it had come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// What `initdb` called this cluster.
    pub system_identifier: SystemIdentifier,
    /// The timeline that was written last.
    pub timeline: Timeline,
    /// The flushed write-ahead log position that was seen last; refreshed at most once a minute.
    pub lsn: Lsn,
    /// Which data it was, in a way that survives a new pod on the same volume.
    pub data: DataIdentity,
    /// The pod's name, for people.
    pub pod: String,
}

/// Which data a server serves: a volume that outlives the pod where there is one, else the pod itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataIdentity {
    /// What the name names.
    pub kind: DataKind,
    /// The claim's name; for a host path `<node>:<path>`; else the pod's uid.
    pub name: String,
}

/// What a [`DataIdentity`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DataKind {
    /// A PersistentVolumeClaim in the route's namespace.
    PersistentVolumeClaim,
    /// A folder of a node.
    HostPath,
    /// The pod itself: its data goes with it.
    Pod,
}

/// A promotion or switchover that was decided: written before the first step, so that whoever leads next finishes or revokes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Intention {
    /// Why a new primary is wanted.
    pub kind: IntentionKind,
    /// The cluster that it is about.
    pub system_identifier: SystemIdentifier,
    /// The timeline that it ends: nobody on it is granted the primary role any more.
    pub ends_timeline: Timeline,
    /// The pod to be promoted.
    pub candidate: String,
    /// Its server's start, in microseconds since 1970 on its own clock.
    pub candidate_started_micros: i64,
    /// The last moment, in microseconds since 1970 on the candidate's own clock, at which it may obey.
    pub not_after_micros: i64,
    /// How often it has been sent; every sending is counted before it goes out.
    pub attempt: u32,
    /// The term of the leader that wrote it.
    pub term: Term,
}

/// Why a new primary is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IntentionKind {
    /// The primary is gone.
    Failover,
    /// A person asked for it.
    Switchover,
}

/// One change of the primary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Switch {
    /// When the new primary was granted its role.
    pub at: Time,
    /// The pod that was primary before; absent for the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The pod that is primary since.
    pub to: String,
    /// The new primary's timeline.
    pub timeline: Timeline,
    /// Why: a word of the list in docs/metrics.md, such as `down` or `promoted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The trace that tells more about it, where traces are exported: 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// How long its parts took. It is known only when the switch is over, and gets here with the next write: until then the route's status
    /// has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phases: Option<Phases>,
}

impl Eq for Switch {}

/// When the parts of a switch were done, in milliseconds after the first sighting that differed; and how long clients were hurt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Phases {
    /// The old primary's role was off; absent where nobody had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_millis: Option<u32>,
    /// The new primary's role was on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_millis: Option<u32>,
    /// The write Service's endpoints held the new primary and nobody else; absent where they had not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub followed_millis: Option<u32>,
    /// Nothing was left to do.
    pub settled_millis: u32,
    /// How long nobody could write through the Service, as the leader saw it; absent where it cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_outage_millis: Option<u32>,
}
