//! A server whose volume was wiped, and on which somebody has run initdb at any price, is the only one up: it has another system identifier and nobody's data.

use std::time::Duration;

use crate::scenario::{Act, Await, CLONED_WITHIN, Expect, Fault, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "wiped-alone",
    about: "the primary comes back alone with a new, empty database; then the standby is promoted",
    acts: &[
        Act::Fault(Fault::Stop(Who::Primary)),
        Act::Fault(Fault::Stop(Who::Standby)),
        Act::Await(Await::Gone(Who::Primary)),
        Act::Await(Await::Gone(Who::Standby)),
        Act::Fault(Fault::Wipe(Who::Primary)),
        Act::HealFirst,
        Act::Await(Await::Running(Who::Primary)),
        Act::Fault(Fault::Initdb(Who::Primary)),
        Act::Await(Await::IsOrphan(Who::Primary)),
        Act::Pass(Duration::from_secs(4)),
        Act::Heal,
        Act::Await(Await::Running(Who::Standby)),
        Act::Promote(Who::Standby),
        Act::Await(Await::IsPrimary(Who::Standby)),
        Act::Fault(Fault::Stop(Who::Primary)),
        Act::Await(Await::Gone(Who::Primary)),
        Act::Fault(Fault::Wipe(Who::Primary)),
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::NeverAgain(Who::Primary)],
    settle_within: CLONED_WITHIN,
};
