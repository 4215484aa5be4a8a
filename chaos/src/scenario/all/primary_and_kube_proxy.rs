//! The primary dies while no node copies Services into its rules.

use std::time::Duration;

use super::FAIL_OVER;
use crate::scenario::{Act, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "primary-and-kube-proxy",
    about: "SIGKILL to the primary while every kube-proxy is frozen; the standby is promoted",
    acts: &[
        Act::Fault(Fault::FreezeEverywhere("kube-proxy")),
        FAIL_OVER,
        Act::Pass(Duration::from_secs(3)),
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::LeaderStays],
    settle_within: MENDED_WITHIN,
};
