//! The leader sees the servers and not the API server: another one leads, and nothing changes for anybody.

use std::time::Duration;

use crate::scenario::{Act, Await, Expect, Fault, MENDED_WITHIN, Peer, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "leader-cut-from-apiserver",
    about: "packets between the leader and the API server are dropped",
    acts: &[
        Act::Fault(Fault::Cut(Who::Leader, Peer::ApiServer)),
        Act::Await(Await::AnotherLeads),
        Act::Pass(Duration::from_secs(2)),
        Act::Heal,
    ],
    expects: &[Expect::NoRoleChanges, Expect::LeaderMoves],
    settle_within: MENDED_WITHIN,
};
