//! The postmaster dies as under the out-of-memory killer, and a promoter makes the standby the primary.

use super::PROMOTER_DECIDES;
use crate::scenario::{Act, Await, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "primary-killed",
    about: "SIGKILL to the primary's postmaster; the standby is promoted",
    acts: &[
        Act::Fault(Fault::Kill(Who::Primary)),
        Act::Pass(PROMOTER_DECIDES),
        Act::Promote(Who::Standby),
        Act::Await(Await::IsPrimary(Who::Standby)),
    ],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::LeaderStays],
    settle_within: MENDED_WITHIN,
};
