//! Under repmgr, which promotes when the primary stays away for longer than its patience, and ends no old primary.

use super::{FROZEN, KILLED};
use crate::install::example::REPMGR;
use crate::scenario::{CLONED_WITHIN, Expect, Group, Scenario, Who};

pub(super) const GROUP: Group = Group {
    example: REPMGR,
    scenarios: &[
        Scenario {
            name: "repmgr-primary-killed",
            about: "SIGKILL to the primary's postmaster under repmgr: it is back before repmgrd gives it up, or the standby is promoted",
            acts: KILLED,
            expects: &[Expect::LeaderStays],
            settle_within: CLONED_WITHIN,
        },
        Scenario {
            name: "repmgr-primary-frozen",
            about: "the primary is frozen until repmgrd has promoted the standby, and goes on",
            acts: FROZEN,
            expects: &[Expect::EndsPrimary(Who::Standby), Expect::NeverAgain(Who::Primary)],
            settle_within: CLONED_WITHIN,
        },
    ],
};
