//! The standby receives the log and replays nothing of it.

use std::time::Duration;

use crate::scenario::{Act, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "replay-paused",
    about: "the standby's replay is paused",
    acts: &[
        Act::Fault(Fault::PauseReplay(Who::Standby)),
        Act::Pass(Duration::from_secs(5)),
        Act::Heal,
    ],
    expects: &[Expect::NoRoleChanges, Expect::LeaderStays],
    settle_within: MENDED_WITHIN,
};
