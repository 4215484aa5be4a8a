//! Scenarios in which nobody helps along: a real promoter runs the pair, in place of the one that a scenario promotes.

mod patroni;
mod pg_auto_failover;
mod repmgr;

use std::time::Duration;

use super::{Act, Await, Fault, Group, Who};

/// The promoters, in the order in which they are played: the pair gives way to each of them once.
pub(super) const GROUPS: [Group; 3] = [patroni::GROUP, repmgr::GROUP, pg_auto_failover::GROUP];

/// The postmaster dies, and whoever runs it starts it again.
const KILLED: &[Act] = &[Act::Fault(Fault::Kill(Who::Primary)), Act::Await(Await::NoPrimary)];

/// The primary hangs until the promoter has given it up, and then goes on as if nothing had been.
const FROZEN: &[Act] = &[
    Act::Fault(Fault::Freeze(Who::Primary)),
    Act::Await(Await::IsPrimary(Who::Standby)),
    Act::Pass(Duration::from_secs(2)),
    Act::Heal,
];
