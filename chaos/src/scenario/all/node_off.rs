//! The primary's node is switched off, for longer than a node may be silent.

use std::time::Duration;

use crate::scenario::{Act, Await, CLONED_WITHIN, Expect, Fault, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "node-off",
    about: "the primary's node is switched off; the standby is promoted",
    acts: &[
        Act::Fault(Fault::SwitchOff(Who::Primary)),
        Act::Pass(Duration::from_secs(3)),
        Act::Promote(Who::Standby),
        Act::Await(Await::IsPrimary(Who::Standby)),
        Act::Pass(Duration::from_secs(45)),
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Standby)],
    settle_within: CLONED_WITHIN,
};
