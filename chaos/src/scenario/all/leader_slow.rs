//! Everything that the leader sends and hears takes 200 ms each way.

use std::time::Duration;

use super::FAIL_OVER;
use crate::scenario::{Act, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "leader-slow",
    about: "the leader's link is 200 ms slow while the primary is killed; the standby is promoted",
    acts: &[
        Act::Fault(Fault::Slow(Who::Leader, Duration::from_millis(200))),
        Act::Pass(Duration::from_secs(5)),
        FAIL_OVER,
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Standby)],
    settle_within: MENDED_WITHIN,
};
