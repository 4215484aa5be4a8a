//! A planned switchover, there and back: each time the old primary has ended in order before the standby is promoted.

use crate::scenario::{Act, Await, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "switchover",
    about: "a switchover in order, there and back",
    acts: &[
        Act::Fault(Fault::Stop(Who::Primary)),
        Act::Await(Await::Gone(Who::Primary)),
        Act::Promote(Who::Standby),
        Act::Await(Await::IsPrimary(Who::Standby)),
        Act::Heal,
        Act::Await(Await::IsReplica(Who::Primary)),
        Act::Fault(Fault::Stop(Who::Standby)),
        Act::Await(Await::Gone(Who::Standby)),
        Act::Promote(Who::Primary),
        Act::Await(Await::IsPrimary(Who::Primary)),
        Act::Heal,
    ],
    expects: &[
        Expect::EndsPrimary(Who::Primary),
        Expect::LeaderStays,
        Expect::NothingLost,
    ],
    settle_within: MENDED_WITHIN,
};
