//! Under Patroni, which restarts what has crashed where it was, and promotes when the lock of its leader has run out.

use super::{STAYS, frozen, killed, switchover};
use crate::install::example::PATRONI;
use crate::scenario::{Act, Await, Group, Who};

pub(super) const GROUP: Group = Group {
    example: PATRONI,
    scenarios: &[
        killed(
            "patroni-primary-killed",
            "SIGKILL to the primary's postmaster under Patroni, which starts it again where it was",
            STAYS,
        ),
        switchover(
            "patroni-switchover",
            "a planned switchover by patronictl",
            &[
                Act::Ask {
                    pod: "patroni-0",
                    words: &["patronictl", "switchover", "--force"],
                },
                Act::Await(Await::IsPrimary(Who::Standby)),
            ],
        ),
        frozen(
            "patroni-primary-frozen",
            "the primary is frozen until Patroni has promoted the standby, and goes on",
        ),
    ],
};
