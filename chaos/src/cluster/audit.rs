//! What the API server's audit log holds: every write that pgsteer's promise depends on, as the API server saw it.
//!
//! The verdict is judged from this log and from the clients, never from what the controller says of itself.

use serde_json::{Value, json};

/// Verbs that change something.
const WRITES: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];

/// The audit policy: writes to pods, EndpointSlices, ledgers and routes with their bodies; that a Lease was written, without its
/// body; nothing else, so that the log stays small enough to be read whole.
pub(crate) fn policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        // One event a request, when it has been answered.
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Request", "verbs": WRITES, "resources": [
                {"group": "", "resources": ["pods", "pods/status", "pods/eviction"]},
                {"group": "discovery.k8s.io", "resources": ["endpointslices"]},
                {"group": "pgsteer.io", "resources": ["postgresledgers", "postgresledgers/status", "postgresroutes", "postgresroutes/status"]},
            ]},
            {"level": "Metadata", "verbs": WRITES, "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
            {"level": "None"},
        ],
    })
}
