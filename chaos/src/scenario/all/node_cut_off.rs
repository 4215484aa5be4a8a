//! The cable of the primary's node is pulled out: the server runs on and nobody sees it.

use std::time::Duration;

use super::PROMOTED_WHEN_SILENT;
use crate::scenario::{Act, CLONED_WITHIN, Expect, Fault, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "node-cut-off",
    about: "the primary's node is cut off; the standby is promoted",
    acts: &[
        Act::Fault(Fault::Unplug(Who::Primary)),
        PROMOTED_WHEN_SILENT,
        Act::Pass(Duration::from_secs(3)),
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::NeverAgain(Who::Primary)],
    settle_within: CLONED_WITHIN,
};
