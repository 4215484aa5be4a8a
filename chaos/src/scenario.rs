//! Scenarios: what is done to a running system, and what must hold besides the judge's general rules. Each is a small file of plain data.
//!
//! ```text
//! reset the pair -> record -> acts: faults, promotions, waits -> heal -> right again -> steady -> judge -> report
//!     Scenario (data)                     Stage                             Runner
//! ```

mod act;
mod all;
mod command;
mod controllers;
mod expect;
mod outcome;
mod random;
mod reset;
mod run;
mod sockets;
mod stage;
mod strike;
mod wait;

use std::time::Duration;

pub use act::{Act, Await, Fault, Peer, Who};
pub use all::ALL;
pub use command::{BadShard, Error, RunArgs, Shard, list, run};
pub use expect::Expect;
pub use outcome::{Kept, Outcome};
pub use run::{Runner, default_reports};
pub use stage::Tell;

/// One thing that can happen to a system.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// How it is called, in words with hyphens.
    pub name: &'static str,
    /// What happens, in a line for a person.
    pub about: &'static str,
    /// What is done, in this order. What is still injected at the end is healed.
    pub acts: &'static [Act],
    /// What must hold besides the general rules.
    pub expects: &'static [Expect],
    /// How long after the last heal every role may take to be right.
    pub settle_within: Duration,
}

/// A server's process is started again within seconds and is rewound within ten; two busy cores take three times that.
pub const MENDED_WITHIN: Duration = Duration::from_mins(1);
/// A server that has to be cloned, or whose pod has to be made anew.
pub const CLONED_WITHIN: Duration = Duration::from_mins(2);

impl Scenario {
    /// The scenario that is called so.
    pub fn find(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|scenario| scenario.name == name)
    }
}
