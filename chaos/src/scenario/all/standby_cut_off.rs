//! The standby does not hear of its primary any more: it serves old reads, and nothing says that either server is not what it was.

use std::time::Duration;

use crate::scenario::{Act, Expect, Fault, MENDED_WITHIN, Peer, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "standby-cut-off",
    about: "packets between standby and primary are dropped",
    acts: &[
        Act::Fault(Fault::Cut(Who::Standby, Peer::Pod(Who::Primary))),
        Act::Pass(Duration::from_secs(8)),
        Act::Heal,
    ],
    expects: &[Expect::NoRoleChanges, Expect::LeaderStays],
    settle_within: MENDED_WITHIN,
};
