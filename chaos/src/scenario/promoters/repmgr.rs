//! Under repmgr, which promotes when the primary stays away for longer than its patience, and ends no old primary.

use std::time::Duration;

use super::killed;
use crate::install::example::REPMGR;
use crate::scenario::{Act, Await, CLONED_WITHIN, Expect, Fault, Group, Peer, Scenario, Who};

pub(super) const GROUP: Group = Group {
    example: REPMGR,
    scenarios: &[
        killed(
            "repmgr-primary-killed",
            "SIGKILL to the primary's postmaster under repmgr: it is back before repmgrd gives it up, or the standby is promoted",
            &[Expect::LeaderStays],
        ),
        // Not frozen, as under the others: a query of repmgrd's has no limit in time, so that it may wait for a frozen server as long as
        // that is frozen. A connection that is cut ends by tcp_user_timeout.
        Scenario {
            name: "repmgr-primary-cut-off",
            about: "the primary is cut off from everyone until repmgrd has promoted the standby, and comes back",
            acts: &[
                Act::Fault(Fault::Cut(Who::Primary, Peer::Everyone)),
                Act::Await(Await::IsPrimary(Who::Standby)),
                Act::Pass(Duration::from_secs(2)),
                Act::Heal,
            ],
            expects: &[Expect::EndsPrimary(Who::Standby), Expect::NeverAgain(Who::Primary)],
            settle_within: CLONED_WITHIN,
        },
    ],
};
