//! The probe's password changes in the database first, and in its Secret a moment later.

use std::time::Duration;

use crate::scenario::{Act, Expect, Fault, MENDED_WITHIN, Scenario};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "password-rotated",
    about: "the probe's password is rotated under load",
    acts: &[Act::Fault(Fault::RotatePassword), Act::Pass(Duration::from_secs(6))],
    expects: &[Expect::NoRoleChanges, Expect::LeaderStays],
    settle_within: MENDED_WITHIN,
};
