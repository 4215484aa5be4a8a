//! Nobody copies labels into EndpointSlices while the primary dies.

use std::time::Duration;

use super::PROMOTER_DECIDES;
use crate::scenario::{Act, Await, Expect, Fault, MENDED_WITHIN, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "controller-manager-stopped",
    about: "the controller-manager is frozen while the primary is killed; the standby is promoted",
    acts: &[
        Act::Fault(Fault::FreezeComponent("kube-controller-manager")),
        Act::Fault(Fault::Kill(Who::Primary)),
        Act::Pass(PROMOTER_DECIDES),
        Act::Promote(Who::Standby),
        Act::Pass(Duration::from_secs(4)),
        Act::Heal,
        Act::Await(Await::IsPrimary(Who::Standby)),
    ],
    expects: &[Expect::EndsPrimary(Who::Standby), Expect::LeaderStays],
    settle_within: MENDED_WITHIN,
};
