//! The postmaster dies as under the out-of-memory killer, and a promoter makes the standby the primary.

use super::FAIL_OVER;
use crate::scenario::{Expect, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "primary-killed",
    about: "SIGKILL to the primary's postmaster; the standby is promoted",
    acts: &[FAIL_OVER],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::LeaderStays],
    settle_within: MENDED_WITHIN,
};
