//! The leader dies, and the primary's node is switched off.

use std::time::Duration;

use crate::scenario::{Act, Await, CLONED_WITHIN, Expect, Fault, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "leader-and-node",
    about: "SIGKILL to the leader while the primary's node is switched off; the standby is promoted",
    acts: &[
        Act::Fault(Fault::Kill(Who::Leader)),
        Act::Fault(Fault::SwitchOff(Who::Primary)),
        Act::Pass(Duration::from_secs(3)),
        Act::Promote(Who::Standby),
        Act::Await(Await::IsPrimary(Who::Standby)),
        Act::Pass(Duration::from_secs(2)),
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::LeaderMoves],
    settle_within: CLONED_WITHIN,
};
