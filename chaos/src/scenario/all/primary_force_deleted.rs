//! The primary's pod is deleted with no time to end: the object is gone before the server is.

use super::PROMOTER_DECIDES;
use crate::scenario::{Act, Await, CLONED_WITHIN, Expect, Fault, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "primary-force-deleted",
    about: "the primary's pod is force-deleted; the standby is promoted",
    acts: &[
        Act::Fault(Fault::ForceDelete(Who::Primary)),
        Act::Pass(PROMOTER_DECIDES),
        Act::Promote(Who::Standby),
        Act::Await(Await::IsPrimary(Who::Standby)),
    ],
    expects: &[Expect::EndsPrimary(Who::Standby)],
    settle_within: CLONED_WITHIN,
};
