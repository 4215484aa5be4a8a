//! The primary dies while nobody finds a name.

use std::time::Duration;

use super::FAIL_OVER;
use crate::scenario::{Act, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "primary-and-dns",
    about: "SIGKILL to the primary while the cluster's DNS is frozen; the standby is promoted",
    acts: &[
        Act::Fault(Fault::FreezeComponent("coredns")),
        FAIL_OVER,
        Act::Pass(Duration::from_secs(3)),
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::LeaderStays],
    settle_within: MENDED_WITHIN,
};
