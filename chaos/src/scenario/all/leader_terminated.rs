//! The leader is asked to end: it lets go of the Lease.

use crate::scenario::{Act, Await, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "leader-terminated",
    about: "SIGTERM to the leader",
    acts: &[
        Act::Fault(Fault::Terminate(Who::Leader)),
        Act::Await(Await::AnotherLeads),
    ],
    expects: &[Expect::NoRoleChanges, Expect::LeaderMoves],
    settle_within: MENDED_WITHIN,
};
