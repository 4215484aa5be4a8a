//! The leader and the API server die in the same moment.

use std::time::Duration;

use crate::scenario::{Act, Await, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "leader-and-apiserver",
    about: "SIGKILL to the leader and to the API server, which is back after 3 s",
    acts: &[
        Act::Fault(Fault::Kill(Who::Leader)),
        Act::Fault(Fault::KillComponent("kube-apiserver")),
        Act::Pass(Duration::from_secs(3)),
        Act::Heal,
        Act::Await(Await::AnotherLeads),
    ],
    expects: &[Expect::NoRoleChanges, Expect::LeaderMoves],
    settle_within: MENDED_WITHIN,
};
