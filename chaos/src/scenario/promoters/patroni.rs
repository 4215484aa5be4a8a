//! Under Patroni, which restarts what has crashed where it was, and promotes when the lock of its leader has run out.

use super::{FROZEN, KILLED};
use crate::install::example::PATRONI;
use crate::scenario::{Act, Await, CLONED_WITHIN, Expect, Group, Scenario, Who};

pub(super) const GROUP: Group = Group {
    example: PATRONI,
    scenarios: &[
        Scenario {
            name: "patroni-primary-killed",
            about: "SIGKILL to the primary's postmaster under Patroni, which starts it again where it was",
            acts: KILLED,
            expects: &[
                Expect::EndsPrimary(Who::Primary),
                Expect::LeaderStays,
                Expect::NothingLost,
            ],
            settle_within: CLONED_WITHIN,
        },
        Scenario {
            name: "patroni-switchover",
            about: "a planned switchover by patronictl",
            acts: &[
                Act::Ask {
                    pod: "patroni-0",
                    words: &["patronictl", "switchover", "--force"],
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
            name: "patroni-primary-frozen",
            about: "the primary is frozen until Patroni has promoted the standby, and goes on",
            acts: FROZEN,
            expects: &[Expect::EndsPrimary(Who::Standby), Expect::NeverAgain(Who::Primary)],
            settle_within: CLONED_WITHIN,
        },
    ],
};
