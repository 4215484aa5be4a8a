//! Nobody watches when the primary dies.

use super::FAIL_OVER;
use crate::scenario::{Act, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "controllers-killed",
    about: "SIGKILL to every controller, then to the primary; the standby is promoted",
    acts: &[Act::Fault(Fault::Kill(Who::Controllers)), FAIL_OVER],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::LeaderMoves],
    settle_within: MENDED_WITHIN,
};
