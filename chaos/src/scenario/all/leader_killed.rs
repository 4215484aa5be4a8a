//! The leader dies without a word: its Lease runs out.

use crate::scenario::{Act, Await, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "leader-killed",
    about: "SIGKILL to the leader",
    acts: &[Act::Fault(Fault::Kill(Who::Leader)), Act::Await(Await::AnotherLeads)],
    expects: &[Expect::NoRoleChanges, Expect::LeaderMoves],
    settle_within: MENDED_WITHIN,
};
