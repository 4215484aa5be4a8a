//! A primary that was beaten comes back when the one that beat it is down: it takes writes, it is the only one, and it must not be used.

use std::time::Duration;

use super::PROMOTED_WHEN_SILENT;
use crate::scenario::{Act, Await, CLONED_WITHIN, Expect, Fault, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "stale-alone",
    about: "a beaten primary comes back alone, while its successor is down",
    acts: &[
        Act::Fault(Fault::Freeze(Who::Primary)),
        PROMOTED_WHEN_SILENT,
        Act::Pass(Duration::from_secs(2)),
        Act::Fault(Fault::Stop(Who::Standby)),
        Act::Await(Await::NoPrimary),
        Act::Await(Await::Gone(Who::Standby)),
        Act::HealFirst,
        Act::Await(Await::IsOrphan(Who::Primary)),
        Act::Pass(Duration::from_secs(4)),
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::NeverAgain(Who::Primary)],
    settle_within: CLONED_WITHIN,
};
