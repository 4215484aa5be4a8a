//! Every session of the primary is taken: a probe that is refused for this reason knows that the server lives.

use std::time::Duration;

use crate::scenario::{Act, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "connections-exhausted",
    about: "every session of the primary is taken",
    acts: &[
        Act::Fault(Fault::Exhaust(Who::Primary)),
        Act::Pass(Duration::from_secs(6)),
        Act::Heal,
    ],
    expects: &[Expect::NoRoleChanges, Expect::LeaderStays],
    settle_within: MENDED_WITHIN,
};
