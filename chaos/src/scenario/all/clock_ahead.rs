//! The leader's wall clock is an hour ahead: nothing that it decides hangs on it.

use std::time::Duration;

use super::FAIL_OVER;
use crate::scenario::{Act, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "clock-ahead",
    about: "the leader's clock is an hour ahead while the primary is killed; the standby is promoted",
    acts: &[
        Act::Fault(Fault::Skew(Who::Leader, 3600)),
        Act::Pass(Duration::from_secs(3)),
        FAIL_OVER,
        Act::Pass(Duration::from_secs(6)),
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::LeaderStays],
    settle_within: MENDED_WITHIN,
};
