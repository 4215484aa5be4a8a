//! A person deletes the primary's pod: it shuts down in order, and its Deployment makes another one.

use crate::scenario::{Act, Await, CLONED_WITHIN, Expect, Fault, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "primary-deleted",
    about: "the primary's pod is deleted; the standby is promoted once it has ended",
    acts: &[
        Act::Fault(Fault::Delete(Who::Primary)),
        Act::Await(Await::NoPrimary),
        Act::Promote(Who::Standby),
        Act::Await(Await::IsPrimary(Who::Standby)),
    ],
    expects: &[Expect::EndsPrimary(Who::Standby)],
    settle_within: CLONED_WITHIN,
};
