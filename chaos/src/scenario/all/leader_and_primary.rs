//! The leader and the primary die in the same moment.

use super::FAIL_OVER;
use crate::scenario::{Act, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "leader-and-primary",
    about: "SIGKILL to the leader and to the primary; the standby is promoted",
    acts: &[Act::Fault(Fault::Kill(Who::Leader)), FAIL_OVER],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::LeaderMoves],
    settle_within: MENDED_WITHIN,
};
