//! The zombie: the leader's last write sits in its socket when it is stopped. Another leads and grants, and then the write arrives.

use super::{LATE_LIMIT, UNDER_WAY_LIMIT};
use crate::scenario::{Act, Await, Expect, Fault, MENDED_WITHIN, Peer, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "leader-frozen",
    about: "the leader is frozen with a write under way, beyond its Lease; the write arrives when another leads",
    acts: &[
        Act::Fault(Fault::Cut(Who::Leader, Peer::ApiServer)),
        Act::Fault(Fault::Kill(Who::Primary)),
        Act::AwaitAtMost(Await::RequestUnderWay, UNDER_WAY_LIMIT),
        Act::Fault(Fault::Freeze(Who::Leader)),
        Act::Promote(Who::Standby),
        Act::Await(Await::AnotherLeads),
        Act::Await(Await::IsPrimary(Who::Standby)),
        Act::HealFirst,
        Act::AwaitAtMost(Await::LateRequest, LATE_LIMIT),
        Act::Heal,
    ],
    expects: &[
        Expect::EndsPrimary(Who::Standby),
        Expect::LeaderMoves,
        Expect::LateRequestsRefused,
    ],
    settle_within: MENDED_WITHIN,
};
