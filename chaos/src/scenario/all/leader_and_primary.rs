//! The leader and the primary die in the same moment.

use super::PROMOTER_DECIDES;
use crate::scenario::{Act, Await, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "leader-and-primary",
    about: "SIGKILL to the leader and to the primary; the standby is promoted",
    acts: &[
        Act::Fault(Fault::Kill(Who::Leader)),
        Act::Fault(Fault::Kill(Who::Primary)),
        Act::Pass(PROMOTER_DECIDES),
        Act::Promote(Who::Standby),
        Act::Await(Await::IsPrimary(Who::Standby)),
    ],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::LeaderMoves],
    settle_within: MENDED_WITHIN,
};
