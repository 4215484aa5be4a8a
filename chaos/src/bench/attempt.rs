//! One attempt of a client, as it travels from the client's pod to whoever measures: a line of JSON.

use serde::{Deserialize, Serialize};

use crate::host_time::HostTime;

/// What a client is asked to do: one line of JSON, the first on a connection. It goes on until the connection ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// The DNS name to look up anew for every attempt.
    pub name: String,
    /// The port.
    pub port: u16,
    /// The name that the servers' certificate carries, behind whatever the client connects to.
    pub certificate: String,
    /// Pause between the beginnings of two attempts.
    pub every_millis: u64,
    /// Whether the first of several addresses will do, or one is looked for that takes writes.
    pub is_choosy: bool,
}

/// A fresh connection, one committed row, or why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// When the name was looked up.
    pub began: HostTime,
    /// When the answer, or the failure, was there.
    pub at: HostTime,
    /// The address of the server that has committed the row; nothing: none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
