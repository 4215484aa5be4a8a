//! The primary dies while no node copies Services into its rules.

use std::time::Duration;

use super::PROMOTER_DECIDES;
use crate::scenario::{Act, Await, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "primary-and-kube-proxy",
    about: "SIGKILL to the primary while every kube-proxy is frozen; the standby is promoted",
    acts: &[
        Act::Fault(Fault::FreezeEverywhere("kube-proxy")),
        Act::Fault(Fault::Kill(Who::Primary)),
        Act::Pass(PROMOTER_DECIDES),
        Act::Promote(Who::Standby),
        Act::Await(Await::IsPrimary(Who::Standby)),
        Act::Pass(Duration::from_secs(3)),
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::LeaderStays],
    settle_within: MENDED_WITHIN,
};
