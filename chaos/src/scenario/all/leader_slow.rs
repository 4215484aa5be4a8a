//! Everything that the leader sends and hears takes 200 ms each way.

use std::time::Duration;

use super::PROMOTER_DECIDES;
use crate::scenario::{Act, Await, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "leader-slow",
    about: "the leader's link is 200 ms slow while the primary is killed; the standby is promoted",
    acts: &[
        Act::Fault(Fault::Slow(Who::Leader, Duration::from_millis(200))),
        Act::Pass(Duration::from_secs(5)),
        Act::Fault(Fault::Kill(Who::Primary)),
        Act::Pass(PROMOTER_DECIDES),
        Act::Promote(Who::Standby),
        Act::Await(Await::IsPrimary(Who::Standby)),
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Standby)],
    settle_within: MENDED_WITHIN,
};
