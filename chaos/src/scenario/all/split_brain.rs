//! A second server is promoted while the first one runs on and cannot see it: two take writes, and only one may be the primary.

use std::time::Duration;

use crate::scenario::{Act, Await, Expect, Fault, MENDED_WITHIN, Peer, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "split-brain",
    about: "the standby is promoted while the primary, cut off from it, runs on",
    acts: &[
        Act::Fault(Fault::Cut(Who::Primary, Peer::Pod(Who::Standby))),
        Act::Promote(Who::Standby),
        Act::Await(Await::IsPrimary(Who::Standby)),
        Act::Await(Await::IsOrphan(Who::Primary)),
        Act::Pass(Duration::from_secs(3)),
        Act::Heal,
    ],
    expects: &[
        Expect::EndsPrimary(Who::Standby),
        Expect::NeverAgain(Who::Primary),
        Expect::LeaderStays,
    ],
    settle_within: MENDED_WITHIN,
};
