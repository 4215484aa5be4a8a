//! No node copies Services into its rules for a while, and nothing changes that it would have to copy.

use std::time::Duration;

use crate::scenario::{Act, Expect, Fault, MENDED_WITHIN, Scenario};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "kube-proxy-stopped",
    about: "every kube-proxy is frozen",
    acts: &[
        Act::Fault(Fault::FreezeEverywhere("kube-proxy")),
        Act::Pass(Duration::from_secs(6)),
        Act::Heal,
    ],
    expects: &[Expect::NoRoleChanges, Expect::LeaderStays],
    settle_within: MENDED_WITHIN,
};
