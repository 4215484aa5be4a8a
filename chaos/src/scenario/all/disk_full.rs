//! The primary's disk is full: it lives, and takes no more writes. A promoter notices.

use std::time::Duration;

use crate::scenario::{Act, Await, CLONED_WITHIN, Expect, Fault, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "disk-full",
    about: "the primary's disk is full; the standby is promoted",
    acts: &[
        Act::Fault(Fault::Fill(Who::Primary)),
        Act::Pass(Duration::from_secs(3)),
        Act::Promote(Who::Standby),
        Act::Await(Await::IsPrimary(Who::Standby)),
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::NeverAgain(Who::Primary)],
    settle_within: CLONED_WITHIN,
};
