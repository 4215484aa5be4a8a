//! Scenarios: what is done to a running system, and what must hold besides the judge's general rules: plain data in small files.
//!
//! ```text
//! reset the pair -> record -> acts: faults, promotions, waits -> heal -> right again -> steady -> judge -> report
//!     Scenario (data)                     Stage                             Runner
//! ```

mod act;
mod all;
mod command;
mod controllers;
mod driver;
mod expect;
mod logs;
mod outcome;
mod played;
mod promoters;
mod random;
mod reset;
mod run;
mod shard;
mod sockets;
mod stage;
mod strike;
mod wait;
mod watch;

use std::time::Duration;

use crate::install::Example;
use crate::install::example::TWO_DEPLOYMENTS;

pub use act::{Act, Await, Fault, Peer, Who};
pub use command::{Chosen, RunArgs, list, run};
pub use expect::Expect;
pub use outcome::{Kept, Outcome};
pub use run::{Runner, default_reports};
pub use shard::{BadShard, Shard};
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

/// What runs PostgreSQL, and what can happen to it.
#[derive(Debug, Clone, Copy)]
struct Group {
    example: Example,
    scenarios: &'static [Scenario],
}

/// In the order in which they are played.
fn groups() -> impl Iterator<Item = Group> {
    let pair = Group {
        example: TWO_DEPLOYMENTS,
        scenarios: all::ON_THE_PAIR,
    };
    std::iter::once(pair).chain(promoters::GROUPS)
}

impl Scenario {
    /// Every scenario, in the order in which they are played.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        groups().flat_map(|group| group.scenarios)
    }

    /// The scenario that is called so.
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::all().find(|scenario| scenario.name == name)
    }

    /// What runs PostgreSQL in it.
    pub fn example(&self) -> Example {
        let mut groups = groups();
        let found = groups.find(|group| group.scenarios.iter().any(|one| one.name == self.name));
        found.map_or(TWO_DEPLOYMENTS, |group| group.example)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::install::example::EXAMPLES;

    #[test]
    fn every_scenario_has_a_name_of_its_own_and_the_promoters_come_last() {
        let names: BTreeSet<&str> = Scenario::all().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), Scenario::all().count());
        let examples: Vec<Example> = Scenario::all().map(Scenario::example).collect();
        let mut without_repeats = examples.clone();
        without_repeats.dedup();
        assert_eq!(without_repeats, EXAMPLES, "each is put in place once");
    }
}
