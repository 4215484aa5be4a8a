//! The kubelet of the primary's node dies, and the primary does too: nobody starts it again before the kubelet is back.

use std::time::Duration;

use super::FAIL_OVER;
use crate::scenario::{Act, CLONED_WITHIN, Expect, Fault, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "kubelet-killed",
    about: "SIGKILL to the kubelet of the primary's node and to the primary; the standby is promoted",
    acts: &[
        Act::Fault(Fault::KillOnNodeOf("kubelet", Who::Primary)),
        FAIL_OVER,
        Act::Pass(Duration::from_secs(3)),
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Standby)],
    settle_within: CLONED_WITHIN,
};
