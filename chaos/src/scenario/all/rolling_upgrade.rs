//! The controllers are replaced one after the other.

use crate::scenario::{Act, Await, CLONED_WITHIN, Expect, Fault, Scenario};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rolling-upgrade",
    about: "the controllers' pods are replaced one after the other",
    acts: &[Act::Fault(Fault::Roll), Act::Await(Await::AnotherLeads)],
    expects: &[Expect::NoRoleChanges, Expect::LeaderMoves],
    settle_within: CLONED_WITHIN,
};
