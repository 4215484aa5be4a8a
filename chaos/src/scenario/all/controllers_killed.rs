//! Nobody watches when the primary dies.

use super::PROMOTER_DECIDES;
use crate::scenario::{Act, Await, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "controllers-killed",
    about: "SIGKILL to every controller, then to the primary; the standby is promoted",
    acts: &[
        Act::Fault(Fault::Kill(Who::Controllers)),
        Act::Fault(Fault::Kill(Who::Primary)),
        Act::Pass(PROMOTER_DECIDES),
        Act::Promote(Who::Standby),
        Act::Await(Await::IsPrimary(Who::Standby)),
    ],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::LeaderMoves],
    settle_within: MENDED_WITHIN,
};
