//! Every scenario on the pair of the example, a file each, in the order in which they are played.

mod apiserver_frozen;
mod apiserver_killed;
mod clock_ahead;
mod clock_behind;
mod connections_exhausted;
mod controller_manager_stopped;
mod controllers_killed;
mod disk_full;
mod dns_stopped;
mod etcd_killed;
mod kube_proxy_stopped;
mod kubelet_killed;
mod leader_and_apiserver;
mod leader_and_node;
mod leader_and_primary;
mod leader_cut_from_apiserver;
mod leader_cut_from_postgres;
mod leader_frozen;
mod leader_killed;
mod leader_slow;
mod leader_terminated;
mod node_cut_off;
mod node_off;
mod password_rotated;
mod primary_and_dns;
mod primary_and_kube_proxy;
mod primary_and_standby;
mod primary_cut_off;
mod primary_deleted;
mod primary_force_deleted;
mod primary_frozen;
mod primary_killed;
mod primary_restarted;
mod primary_stopped;
mod processors_starved;
mod replay_paused;
mod rolling_upgrade;
mod split_brain;
mod stale_alone;
mod standby_cut_off;
mod standby_wiped;
mod storage_hangs;
mod switchover;
mod wiped_alone;

use std::time::Duration;

use super::{Act, Await, Fault, Scenario, Who};

/// A promoter of the usual kind needs this long to be sure that a server is dead.
const PROMOTER_DECIDES: Duration = Duration::from_millis(300);
/// A promoter that hears nothing waits longer: by then the route's `silentAfter`, 3 s, has passed too.
const SILENCE_NOTICED: Duration = Duration::from_secs(4);
/// The primary is killed, and the standby is promoted.
const FAIL_OVER: Act = Act::Steps(&[
    Act::Fault(Fault::Kill(Who::Primary)),
    Act::Pass(PROMOTER_DECIDES),
    Act::Promote(Who::Standby),
    Act::Await(Await::IsPrimary(Who::Standby)),
]);
/// A primary that is not heard of any more is given up.
const PROMOTED_WHEN_SILENT: Act = Act::Steps(&[
    Act::Pass(SILENCE_NOTICED),
    Act::Promote(Who::Standby),
    Act::Await(Await::IsPrimary(Who::Standby)),
]);
/// The leader writes within milliseconds after the primary's end. A host on which it does not has shown nothing in this round.
const UNDER_WAY_LIMIT: Duration = Duration::from_secs(2);
/// The kernel sends again what was not acknowledged after 0.2, 0.4, 0.8, … seconds; the last of these that can matter here is 12.8.
const LATE_LIMIT: Duration = Duration::from_secs(20);

/// PostgreSQL, the controllers, the cluster, and pairs of them.
pub(super) const ON_THE_PAIR: &[Scenario] = &[
    primary_killed::SCENARIO,
    primary_frozen::SCENARIO,
    primary_deleted::SCENARIO,
    primary_force_deleted::SCENARIO,
    primary_restarted::SCENARIO,
    primary_stopped::SCENARIO,
    switchover::SCENARIO,
    split_brain::SCENARIO,
    stale_alone::SCENARIO,
    wiped_alone::SCENARIO,
    standby_wiped::SCENARIO,
    standby_cut_off::SCENARIO,
    replay_paused::SCENARIO,
    connections_exhausted::SCENARIO,
    password_rotated::SCENARIO,
    disk_full::SCENARIO,
    storage_hangs::SCENARIO,
    leader_killed::SCENARIO,
    leader_frozen::SCENARIO,
    leader_terminated::SCENARIO,
    controllers_killed::SCENARIO,
    rolling_upgrade::SCENARIO,
    apiserver_killed::SCENARIO,
    apiserver_frozen::SCENARIO,
    etcd_killed::SCENARIO,
    controller_manager_stopped::SCENARIO,
    kubelet_killed::SCENARIO,
    node_off::SCENARIO,
    node_cut_off::SCENARIO,
    leader_cut_from_apiserver::SCENARIO,
    leader_cut_from_postgres::SCENARIO,
    primary_cut_off::SCENARIO,
    kube_proxy_stopped::SCENARIO,
    dns_stopped::SCENARIO,
    clock_ahead::SCENARIO,
    clock_behind::SCENARIO,
    processors_starved::SCENARIO,
    leader_slow::SCENARIO,
    leader_and_primary::SCENARIO,
    leader_and_apiserver::SCENARIO,
    leader_and_node::SCENARIO,
    primary_and_standby::SCENARIO,
    primary_and_kube_proxy::SCENARIO,
    primary_and_dns::SCENARIO,
];
