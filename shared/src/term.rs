//! The number of one reign of one leader.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The number of one reign: the Lease's `leaseTransitions` when it was taken. It only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Term(pub u32);

impl Term {
    /// The first term that outranks this one; `None` at the end of the numbers (the Lease holds 31 bits).
    pub const fn next(self) -> Option<Self> {
        if self.0 < i32::MAX as u32 {
            Some(Self(self.0 + 1))
        } else {
            None
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
