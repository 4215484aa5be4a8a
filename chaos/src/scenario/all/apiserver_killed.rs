//! The API server dies and is started again.

use std::time::Duration;

use crate::scenario::{Act, Expect, Fault, MENDED_WITHIN, Scenario};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "apiserver-killed",
    about: "SIGKILL to the API server, back after 3 s",
    acts: &[
        Act::Fault(Fault::KillComponent("kube-apiserver")),
        Act::Pass(Duration::from_secs(3)),
        Act::Heal,
    ],
    expects: &[Expect::NoRoleChanges],
    settle_within: MENDED_WITHIN,
};
