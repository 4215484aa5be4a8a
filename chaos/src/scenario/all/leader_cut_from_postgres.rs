//! The leader sees the API server and none of the servers: it is blind, and lets another one look.

use std::time::Duration;

use crate::scenario::{Act, Await, Expect, Fault, MENDED_WITHIN, Peer, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "leader-cut-from-postgres",
    about: "packets between the leader and PostgreSQL are dropped",
    acts: &[
        Act::Fault(Fault::Cut(Who::Leader, Peer::Servers)),
        Act::Await(Await::AnotherLeads),
        Act::Pass(Duration::from_secs(2)),
        Act::Heal,
    ],
    expects: &[Expect::NoRoleChanges, Expect::LeaderMoves],
    settle_within: MENDED_WITHIN,
};
