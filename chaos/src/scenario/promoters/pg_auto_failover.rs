//! Under `pg_auto_failover`, which restarts what has crashed where it was, and whose monitor decides.

use super::{frozen, killed, switchover};
use crate::install::example::PG_AUTO_FAILOVER;
use crate::scenario::{Act, Await, Expect, Group, Who};

pub(super) const GROUP: Group = Group {
    example: PG_AUTO_FAILOVER,
    scenarios: &[
        killed(
            "pg-auto-failover-primary-killed",
            "SIGKILL to the primary's postmaster under pg_auto_failover, which starts it again or has its standby promoted",
            // Its keeper does the one; its monitor, told by the keeper that nothing runs there, the other. It is a race of theirs.
            &[Expect::LeaderStays, Expect::NothingLost],
        ),
        switchover(
            "pg-auto-failover-switchover",
            "a planned switchover by the monitor",
            &[
                Act::Ask {
                    pod: "pg-monitor-0",
                    words: &[
                        "psql",
                        "-d",
                        "pg_auto_failover",
                        "-c",
                        "SELECT pgautofailover.perform_failover()",
                    ],
                },
                Act::Await(Await::IsPrimary(Who::Standby)),
            ],
        ),
        frozen(
            "pg-auto-failover-primary-frozen",
            "the primary is frozen until the monitor has had the standby promoted, and goes on",
        ),
    ],
};
