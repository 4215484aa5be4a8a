//! Nobody finds a name for a while.

use std::time::Duration;

use crate::scenario::{Act, Expect, Fault, MENDED_WITHIN, Scenario};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "dns-stopped",
    about: "the cluster's DNS is frozen",
    acts: &[
        Act::Fault(Fault::FreezeComponent("coredns")),
        Act::Pass(Duration::from_secs(6)),
        Act::Heal,
    ],
    expects: &[Expect::NoRoleChanges, Expect::LeaderStays],
    settle_within: MENDED_WITHIN,
};
