//! Writes to the primary's disk never return: it answers what it has in memory, and commits nothing.

use std::time::Duration;

use crate::scenario::{Act, Await, CLONED_WITHIN, Expect, Fault, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "storage-hangs",
    about: "the primary's file system is frozen; the standby is promoted",
    acts: &[
        Act::Fault(Fault::Hang(Who::Primary)),
        Act::Pass(Duration::from_secs(3)),
        Act::Promote(Who::Standby),
        Act::Await(Await::IsPrimary(Who::Standby)),
        Act::Pass(Duration::from_secs(2)),
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::NeverAgain(Who::Primary)],
    settle_within: CLONED_WITHIN,
};
