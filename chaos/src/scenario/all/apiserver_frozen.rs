//! The API server answers nobody for a minute.

use std::time::Duration;

use crate::scenario::{Act, CLONED_WITHIN, Expect, Fault, Scenario};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "apiserver-frozen",
    about: "the API server is frozen for 60 s",
    acts: &[
        Act::Fault(Fault::FreezeComponent("kube-apiserver")),
        Act::Pass(Duration::from_mins(1)),
        Act::Heal,
    ],
    expects: &[Expect::NoRoleChanges],
    settle_within: CLONED_WITHIN,
};
