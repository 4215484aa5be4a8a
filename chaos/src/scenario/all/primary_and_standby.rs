//! Both servers die in the same moment, and nobody promotes.

use crate::scenario::{Act, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "primary-and-standby",
    about: "SIGKILL to the primary and to the standby; nobody is promoted",
    acts: &[
        Act::Fault(Fault::Kill(Who::Primary)),
        Act::Fault(Fault::Kill(Who::Standby)),
    ],
    expects: &[Expect::EndsPrimary(Who::Primary), Expect::LeaderStays],
    settle_within: MENDED_WITHIN,
};
