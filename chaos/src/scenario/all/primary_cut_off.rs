//! The primary runs on and nobody can reach it.

use std::time::Duration;

use super::PROMOTED_WHEN_SILENT;
use crate::scenario::{Act, Expect, Fault, MENDED_WITHIN, Peer, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "primary-cut-off",
    about: "the primary is cut off from everyone; the standby is promoted",
    acts: &[
        Act::Fault(Fault::Cut(Who::Primary, Peer::Everyone)),
        PROMOTED_WHEN_SILENT,
        Act::Pass(Duration::from_secs(3)),
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::NeverAgain(Who::Primary)],
    settle_within: MENDED_WITHIN,
};
