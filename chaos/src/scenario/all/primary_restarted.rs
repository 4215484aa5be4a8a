//! The primary's container ends in order and is started again, and nobody promotes: it is the primary again.

use crate::scenario::{Act, Await, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "primary-restarted",
    about: "the primary's container restarts; nobody is promoted",
    acts: &[Act::Fault(Fault::Terminate(Who::Primary)), Act::Await(Await::NoPrimary)],
    expects: &[Expect::EndsPrimary(Who::Primary), Expect::LeaderStays],
    settle_within: MENDED_WITHIN,
};
