//! Under `pg_auto_failover`, which restarts what has crashed where it was, and whose monitor decides.

use super::{FROZEN, KILLED};
use crate::install::example::PG_AUTO_FAILOVER;
use crate::scenario::{Act, Await, CLONED_WITHIN, Expect, Group, Scenario, Who};

pub(super) const GROUP: Group = Group {
    example: PG_AUTO_FAILOVER,
    scenarios: &[
        Scenario {
            name: "pg-auto-failover-primary-killed",
            about: "SIGKILL to the primary's postmaster under pg_auto_failover, which starts it again where it was",
            acts: KILLED,
            expects: &[
                Expect::EndsPrimary(Who::Primary),
                Expect::LeaderStays,
                Expect::NothingLost,
            ],
            settle_within: CLONED_WITHIN,
        },
        Scenario {
            name: "pg-auto-failover-switchover",
            about: "a planned switchover by the monitor",
            acts: &[
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
            expects: &[
                Expect::EndsPrimary(Who::Standby),
                Expect::LeaderStays,
                Expect::NothingLost,
            ],
            settle_within: CLONED_WITHIN,
        },
        Scenario {
            name: "pg-auto-failover-primary-frozen",
            about: "the primary is frozen until the monitor has had the standby promoted, and goes on",
            acts: FROZEN,
            expects: &[Expect::EndsPrimary(Who::Standby), Expect::NeverAgain(Who::Primary)],
            settle_within: CLONED_WITHIN,
        },
    ],
};
