//! Scenarios in which nobody helps along: a real promoter runs the pair, in place of the one that a scenario promotes.

mod patroni;
mod pg_auto_failover;
mod repmgr;

use std::time::Duration;

use super::{Act, Await, CLONED_WITHIN, Expect, Fault, Group, Scenario, Who};

/// The promoters, in the order in which they are played: the pair gives way to each of them once.
pub(super) const GROUPS: [Group; 3] = [patroni::GROUP, repmgr::GROUP, pg_auto_failover::GROUP];

/// The postmaster dies, and whoever runs it starts it again.
const fn killed(name: &'static str, about: &'static str, expects: &'static [Expect]) -> Scenario {
    Scenario {
        name,
        about,
        acts: KILLED,
        expects,
        settle_within: CLONED_WITHIN,
    }
}

/// The promoter is asked for a planned switchover.
const fn switchover(name: &'static str, about: &'static str, acts: &'static [Act]) -> Scenario {
    Scenario {
        name,
        about,
        acts,
        expects: &[
            Expect::EndsPrimary(Who::Standby),
            Expect::LeaderStays,
            Expect::NothingLost,
        ],
        settle_within: CLONED_WITHIN,
    }
}

/// The primary hangs until the promoter has given it up, and then goes on as if nothing had been.
const fn frozen(name: &'static str, about: &'static str) -> Scenario {
    Scenario {
        name,
        about,
        acts: FROZEN,
        expects: &[Expect::EndsPrimary(Who::Standby), Expect::NeverAgain(Who::Primary)],
        settle_within: CLONED_WITHIN,
    }
}

/// What is expected of a primary that is started again where it was.
const STAYS: &[Expect] = &[
    Expect::EndsPrimary(Who::Primary),
    Expect::LeaderStays,
    Expect::NothingLost,
];

const KILLED: &[Act] = &[Act::Fault(Fault::Kill(Who::Primary)), Act::Await(Await::NoPrimary)];

const FROZEN: &[Act] = &[
    Act::Fault(Fault::Freeze(Who::Primary)),
    Act::Await(Await::IsPrimary(Who::Standby)),
    Act::Pass(Duration::from_secs(2)),
    Act::Heal,
];
