//! What a pod may be labelled.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the controller labels a pod: never what a server says of itself (that is its standing).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The chosen server of the route: the write Service leads to it.
    Primary,
    /// A standby of the chosen history: the read Service leads to it.
    Replica,
    /// A server that takes writes but was not chosen: neither Service leads to it.
    Orphan,
}

impl Role {
    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::Orphan => "orphan",
        }
    }

    /// The role that a label's value names, if it names one.
    pub fn of_label(value: &str) -> Option<Self> {
        [Self::Primary, Self::Replica, Self::Orphan]
            .into_iter()
            .find(|role| role.as_str() == value)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
