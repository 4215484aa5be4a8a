//! The standby loses its volume and is cloned anew.

use crate::scenario::{Act, Await, CLONED_WITHIN, Expect, Fault, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "standby-wiped",
    about: "the standby's volume is wiped while it is down",
    acts: &[
        Act::Fault(Fault::Stop(Who::Standby)),
        Act::Await(Await::Gone(Who::Standby)),
        Act::Fault(Fault::Wipe(Who::Standby)),
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Primary), Expect::LeaderStays],
    settle_within: CLONED_WITHIN,
};
