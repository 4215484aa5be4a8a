//! `PostgresRoute`: one PostgreSQL cluster as its clients see it. What the user writes; the state is in [`crate::status`].

#![expect(unreachable_pub, reason = "KubeSchema's derive repeats each type inside a function")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    names,
    quantity::{ByteSize, Period},
    status::PostgresRouteStatus,
};

/// One PostgreSQL cluster as its clients see it: its pods, in this namespace, and the two Services in front of them.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "pgsteer.io",
    version = "v1alpha1",
    kind = "PostgresRoute",
    namespaced,
    derive = "PartialEq",
    status = "PostgresRouteStatus",
    shortname = "pgroute",
    category = "pgsteer",
    doc = "One PostgreSQL cluster as its clients see it: its pods and the two Services in front of them. pgsteer asks every pod whether it takes writes, labels it, and the Services follow.",
    printcolumn = r#"{"name":"Primary","type":"string","jsonPath":".status.primary"}"#,
    printcolumn = r#"{"name":"Timeline","type":"integer","jsonPath":".status.timeline"}"#,
    printcolumn = r#"{"name":"Replicas","type":"integer","jsonPath":".status.replicas"}"#,
    printcolumn = r#"{"name":"Since","type":"date","jsonPath":".status.lastSwitch.at"}"#,
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".status.state"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.services.primary != self.services.replica")
        .message("services.primary and services.replica must be two Services: one for writes, one for reads"),
    validation = Rule::new("!has(self.podSelector.matchLabels) || !(self.roleLabel in self.podSelector.matchLabels)")
        .message("podSelector must not name roleLabel: pgsteer changes it, and the pod would drop out of its own route")
)]
pub struct PostgresRouteSpec {
    /// Which pods of this namespace belong to the cluster.
    pub pod_selector: PodSelector,
    /// The container that runs PostgreSQL; may be left out when the pod has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// The port of PostgreSQL itself, not of a pooler beside it.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The label that carries the role: primary, replica or orphan. Patroni writes `role` itself: beside it, keep the default.
    #[serde(default = "default_role_label")]
    #[schemars(length(min = 1, max = 317))]
    pub role_label: String,
    /// The two Services. They are yours: pgsteer reads them and never changes them.
    pub services: Services,
    /// How pgsteer logs in to ask.
    pub connection: Connection,
    /// How often and how patiently pgsteer asks.
    #[serde(default)]
    pub probe: Probe,
    /// What to do when two servers take writes.
    #[serde(default)]
    pub split_brain: SplitBrain,
    /// How the Services are made to follow. Labels: they select the role label. EndpointSlices: they have no selector, and pgsteer writes their EndpointSlices, so that a switch is one write.
    #[serde(default)]
    pub routing: Routing,
    /// Who makes a standby writable when the primary is gone.
    #[serde(default)]
    pub promotion: Promotion,
    /// What becomes of sessions that clients opened before a switch.
    #[serde(default)]
    pub sessions: Sessions,
}

fn default_port() -> u16 {
    5432
}

fn default_role_label() -> String {
    names::ROLE_LABEL.to_owned()
}

/// Which pods belong to the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSelector {
    /// Labels that every pod of the cluster carries. The Services must select the same ones, plus the role.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub match_labels: BTreeMap<String, String>,
}

/// The names of the two Services, in the route's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Services {
    /// Leads to the server that takes writes.
    #[schemars(length(min = 1, max = 63))]
    pub primary: String,
    /// Leads to the standbys.
    #[schemars(length(min = 1, max = 63))]
    pub replica: String,
}

/// How pgsteer logs in. The role needs LOGIN, and `pg_monitor` to see a standby's lag and timeline at their best.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// The PostgreSQL role to log in as.
    #[schemars(length(min = 1, max = 63))]
    pub user: String,
    /// The database to connect to.
    #[serde(default = "default_database")]
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// The Secret, in this namespace, that holds the role's password. Left out: the server asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<PasswordSecret>,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: Tls,
}

fn default_database() -> String {
    "postgres".to_owned()
}

/// A key of a Secret that holds a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PasswordSecret {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[serde(default = "default_password_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn default_password_key() -> String {
    "password".to_owned()
}

/// A key of a Secret that holds certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaSecret {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[serde(default = "default_ca_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn default_ca_key() -> String {
    "ca.crt".to_owned()
}

/// How the connection is protected.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.mode != 'VerifyFull' || has(self.caSecret)")
        .message("tls.mode VerifyFull needs tls.caSecret: the authority to verify the server's certificate with"),
    validation = Rule::new("self.mode == 'VerifyFull' || (!has(self.caSecret) && !has(self.serverName))")
        .message("tls.caSecret and tls.serverName are only looked at with tls.mode VerifyFull")
)]
pub struct Tls {
    /// Disable: in clear text. Require: encrypted, the server's certificate is not looked at. VerifyFull: certificate and name are verified.
    #[serde(default)]
    pub mode: TlsMode,
    /// The certificates that VerifyFull trusts, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<CaSecret>,
    /// The name that VerifyFull expects in the server's certificate; by default the pod's IP address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
}

/// See [`Tls::mode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    /// In clear text. A server that asks for the password in clear text or md5 does not get it.
    Disable,
    /// Encrypted; the server's certificate is not looked at.
    #[default]
    Require,
    /// Encrypted; certificate and name are verified.
    VerifyFull,
}

/// How often and how patiently pgsteer asks each server.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("duration(self.interval) >= duration('10ms') && duration(self.interval) <= duration('10s')")
        .message("probe.interval must be between 10ms and 10s"),
    validation = Rule::new("duration(self.timeout) >= duration('50ms')").message("probe.timeout must be at least 50ms"),
    validation = Rule::new("duration(self.silentAfter) >= duration('1s') && duration(self.silentAfter) <= duration('10m')")
        .message("probe.silentAfter must be between 1s and 10m: a fresh connection is made once a second"),
    validation = Rule::new("duration(self.timeout) < duration(self.silentAfter) && duration(self.interval) < duration(self.silentAfter)")
        .message("probe.timeout and probe.interval must be shorter than probe.silentAfter")
)]
pub struct Probe {
    /// Pause between two questions on the kept connection.
    #[serde(default = "default_interval")]
    pub interval: Period,
    /// How long one question may take, with connecting and logging in.
    #[serde(default = "default_timeout")]
    pub timeout: Period,
    /// A server that has given no answer for this long loses its role.
    #[serde(default = "default_silent_after")]
    pub silent_after: Period,
}

fn default_interval() -> Period {
    Period::millis(100)
}

fn default_timeout() -> Period {
    Period::millis(500)
}

fn default_silent_after() -> Period {
    Period::seconds(3)
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            interval: default_interval(),
            timeout: default_timeout(),
            silent_after: default_silent_after(),
        }
    }
}

/// What to do when two servers take writes.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("duration(self.beatenGap) <= duration('1m')").message("splitBrain.beatenGap must be at most 1m")
)]
pub struct SplitBrain {
    /// HighestTimeline: the last one promoted is primary, the others are orphans. Freeze: while several are eligible nobody becomes primary until a person accepts one. DropAll: none is primary until one is left. With Freeze and DropAll a server that fell silent while it took writes still counts.
    #[serde(default)]
    pub policy: SplitBrainPolicy,
    /// How far, in write-ahead log, a newly promoted server may be behind what was last primary.
    #[serde(default = "default_max_behind")]
    pub max_behind: ByteSize,
    /// How long the write Service stays empty between a beaten server that still takes writes and its successor.
    #[serde(default = "default_beaten_gap")]
    pub beaten_gap: Period,
}

fn default_max_behind() -> ByteSize {
    ByteSize(16 << 20)
}

fn default_beaten_gap() -> Period {
    Period::seconds(2)
}

impl Default for SplitBrain {
    fn default() -> Self {
        Self {
            policy: SplitBrainPolicy::default(),
            max_behind: default_max_behind(),
            beaten_gap: default_beaten_gap(),
        }
    }
}

/// See [`SplitBrain::policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum SplitBrainPolicy {
    /// The last one promoted is primary, the others are orphans.
    #[default]
    HighestTimeline,
    /// While several are eligible, nobody becomes primary until a person accepts one or one is left; who is primary stays so.
    Freeze,
    /// None is primary until one is left.
    DropAll,
}

/// See [`PostgresRouteSpec::routing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Routing {
    /// The Services select the role label.
    #[default]
    Labels,
    /// The Services have no selector; pgsteer writes their EndpointSlices.
    EndpointSlices,
}

/// Who makes a standby writable when the primary is gone.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Promotion {
    /// External: somebody else promotes, pgsteer follows. Automatic: pgsteer promotes.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == 'External'").message("promotion.mode Automatic is not available in this version"))]
    pub mode: PromotionMode,
    /// How long a crashed primary may take to come back by itself before another is promoted.
    #[serde(default = "default_wait_for_return")]
    pub wait_for_return: Period,
    /// How much write-ahead log, of what the old primary was last seen to have, may be missing from the new one.
    #[serde(default = "default_max_lost_bytes")]
    pub max_lost_bytes: ByteSize,
    /// Promote only a server that is known to have every acknowledged write.
    #[serde(default)]
    pub require_synchronous: bool,
    /// What counts as proof that the primary is gone. Kubelet: its container ended. Refused: also two refused connections.
    #[serde(default)]
    pub evidence: PromotionEvidence,
    /// How long a candidate may take to become writable before another is tried.
    #[serde(default = "default_give_up")]
    pub give_up: Period,
}

fn default_wait_for_return() -> Period {
    Period::seconds(10)
}

fn default_max_lost_bytes() -> ByteSize {
    ByteSize(0)
}

fn default_give_up() -> Period {
    Period::seconds(10)
}

impl Default for Promotion {
    fn default() -> Self {
        Self {
            mode: PromotionMode::default(),
            wait_for_return: default_wait_for_return(),
            max_lost_bytes: default_max_lost_bytes(),
            require_synchronous: false,
            evidence: PromotionEvidence::default(),
            give_up: default_give_up(),
        }
    }
}

/// See [`Promotion::mode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum PromotionMode {
    /// Somebody else promotes (Patroni, repmgr, a person); pgsteer follows.
    #[default]
    External,
    /// pgsteer promotes.
    Automatic,
}

/// See [`Promotion::evidence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum PromotionEvidence {
    /// The kubelet says that the container ended, or the node is marked out of service.
    #[default]
    Kubelet,
    /// Also two refused connections in a row, beside good answers from the candidate.
    Refused,
}

/// What becomes of sessions that clients opened before a switch.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sessions {
    /// Keep: they stay on the server that they are on. Terminate: they are ended.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == 'Keep'").message("sessions.onSwitch Terminate is not available in this version"))]
    pub on_switch: OnSwitch,
}

/// See [`Sessions::on_switch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum OnSwitch {
    /// Sessions stay where they are: no change of a Service cuts them.
    #[default]
    Keep,
    /// Sessions on a server that is no longer chosen are ended.
    Terminate,
}
