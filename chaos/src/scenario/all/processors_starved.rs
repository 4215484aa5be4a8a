//! Four busy processes a processor, and the primary dies among them.

use std::time::Duration;

use super::FAIL_OVER;
use crate::scenario::{Act, CLONED_WITHIN, Expect, Fault, Scenario, Who};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "processors-starved",
    about: "the processors are kept busy four times over while the primary is killed; the standby is promoted",
    acts: &[
        Act::Fault(Fault::Starve),
        Act::Pass(Duration::from_secs(3)),
        FAIL_OVER,
        Act::Heal,
    ],
    expects: &[Expect::EndsPrimary(Who::Standby)],
    settle_within: CLONED_WITHIN,
};
