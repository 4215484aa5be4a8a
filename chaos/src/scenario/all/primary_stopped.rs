//! The primary is shut down for a while, and nobody promotes: the write name leads nowhere until it is back.

use std::time::Duration;

use crate::scenario::{Act, Await, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "primary-stopped",
    about: "the primary is shut down and started again; nobody is promoted",
    acts: &[
        Act::Fault(Fault::Stop(Who::Primary)),
        Act::Await(Await::NoPrimary),
        Act::Pass(Duration::from_secs(2)),
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Primary), Expect::LeaderStays],
    settle_within: MENDED_WITHIN,
};
