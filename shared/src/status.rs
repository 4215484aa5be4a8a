//! The status of a `PostgresRoute`: derived, for people. Nothing is decided from it.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ledger::{Phases, Switch},
    role::Role,
    term::Term,
    wal::Timeline,
};

/// What pgsteer last made of the route. It changes only when something that matters does: no lag, no probe times.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostgresRouteStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The term of the leader that wrote this.
    #[serde(default)]
    pub term: Term,
    /// In a word: Settled, Moving, NoPrimary, SplitBrain, Blind, Paused or Refused.
    #[serde(default)]
    pub state: String,
    /// The pod that is primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// The primary's timeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
    /// How many pods are replicas.
    #[serde(default)]
    pub replicas: u32,
    /// Every pod of the route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub members: Vec<Member>,
    /// The last change of the primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_switch: Option<LastSwitch>,
    /// What holds and what does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// One pod of the route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The pod's name.
    pub pod: String,
    /// The node that it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What its server was last found to be: Writable, InRecovery, Down, Starting, Silent, Barred or Unclear.
    pub evidence: String,
    /// What it is labelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Its server's timeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
    /// Since when its server has been found so, and labelled so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Why it has this role, or none, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// The last change of the primary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastSwitch {
    /// When the new primary was granted its role.
    pub at: Time,
    /// The pod that was primary before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The pod that is primary since.
    pub to: String,
    /// Why: a word of the list in docs/metrics.md, such as `down` or `promoted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The trace that tells more about it, where traces are exported: 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// How long its parts took; absent until it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phases: Option<Phases>,
}

impl LastSwitch {
    /// Whether it is this switch of the ledger. An object keeps times to the second at least.
    pub fn is_about(&self, switch: &Switch) -> bool {
        let second = |time: &Time| time.0.as_second();
        second(&self.at) == second(&switch.at) && self.to == switch.to && self.from == switch.from
    }

    /// The switches of the ledger, the newest first, with what this knows of the newest: how long its parts took gets into the ledger only
    /// with the next write.
    pub fn complete(&self, mut switches: Vec<Switch>) -> Vec<Switch> {
        if let Some(last) = switches.first_mut().filter(|last| self.is_about(last)) {
            last.phases = last.phases.or(self.phases);
        }
        switches
    }
}

/// The types of the conditions of a route. True is good for the first four; for the others True means trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The route can be served as it is written.
    Accepted,
    /// Every label is as it should be, and nothing is being changed.
    Settled,
    /// There is a primary.
    PrimaryAvailable,
    /// Both Services exist and select what the route needs them to.
    ServicesCorrect,
    /// Every server that answers lets the probe look.
    CredentialsValid,
    /// No server replies although several had: labels are held, because the trouble may be the controller's own.
    Blind,
    /// Several servers take writes.
    SplitBrain,
    /// Somebody else keeps changing the role label.
    LabelContested,
    /// No mark is set, and it is not clear which server is the right one.
    NoMark,
    /// A server belongs to another cluster, or is ahead of this one.
    ForeignServer,
    /// Somebody else lists endpoints for a Service whose EndpointSlices pgsteer writes; only told with routing EndpointSlices.
    ForeignEndpoints,
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a condition is as it is, and what an Event is about: the one list of all reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Nothing is wrong.
    AsExpected,
    /// Another, older route selects one of the pods.
    PodClaimedTwice,
    /// The workload that owns a pod selects by the role label.
    OwnerSelectsRoleLabel,
    /// The workload that owns a pod cannot be read.
    OwnerUnreadable,
    /// It is not clear which container runs PostgreSQL.
    ContainerUnclear,
    /// The route's podSelector picks no pod.
    NoPods,
    /// Something is being changed, or is about to be.
    Moving,
    /// No server can be primary.
    NoEligibleServer,
    /// Several servers take writes; one of them is primary.
    SeveralWritable,
    /// Several servers take writes, and only a person can tell which is the right one.
    PersonMustChoose,
    /// No server replies.
    NoReply,
    /// A person paused the route.
    Paused,
    /// A Service does not exist.
    ServiceMissing,
    /// A Service is of type `ExternalName`.
    ServiceExternal,
    /// A Service selects something else than the route needs.
    ServiceSelectsOtherwise,
    /// A Service has a selector although pgsteer writes its EndpointSlices.
    ServiceHasSelector,
    /// A Service's targetPort is a name that some pods lack or give another number.
    ServicePortUnclear,
    /// EndpointSlices of others hold endpoints of a Service whose slices pgsteer writes.
    ListedByOthers,
    /// The write Service is headless.
    ServiceHeadless,
    /// The write Service has internalTrafficPolicy Local.
    ServiceLocal,
    /// The write Service publishes addresses that are not ready.
    ServicePublishesNotReady,
    /// A server, or a Secret, does not let the probe look.
    ProbeBarred,
    /// Somebody else keeps changing the role label.
    ChangedByOthers,
    /// There is no mark, and it is not clear which server is the right one.
    FirstPrimaryUnclear,
    /// A server belongs to another cluster, or to a history that was not chosen.
    OtherHistory,
    /// A pod got the primary role.
    PrimaryGranted,
    /// A pod lost the primary role.
    PrimaryWithdrawn,
    /// The workload's pod template carries the role label.
    TemplateCarriesRole,
    /// A person's word was carried out, or cannot be.
    AcceptRefused,
    /// The API server, or an admission webhook, refuses a write.
    WriteRefused,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
