//! A server that hangs: connections stay open and nothing answers. When it goes on, it still believes itself the primary.

use std::time::Duration;

use super::PROMOTED_WHEN_SILENT;
use crate::scenario::{Act, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "primary-frozen",
    about: "the primary is frozen, the standby promoted, and the old primary goes on",
    acts: &[
        Act::Fault(Fault::Freeze(Who::Primary)),
        PROMOTED_WHEN_SILENT,
        Act::Pass(Duration::from_secs(2)),
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::NeverAgain(Who::Primary)],
    settle_within: MENDED_WITHIN,
};
