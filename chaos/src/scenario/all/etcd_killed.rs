//! etcd dies and is started again.

use std::time::Duration;

use crate::scenario::{Act, Expect, Fault, MENDED_WITHIN, Scenario};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "etcd-killed",
    about: "SIGKILL to etcd, back after 3 s",
    acts: &[
        Act::Fault(Fault::KillComponent("etcd")),
        Act::Pass(Duration::from_secs(3)),
        Act::Heal,
    ],
    expects: &[Expect::NoRoleChanges],
    settle_within: MENDED_WITHIN,
};
