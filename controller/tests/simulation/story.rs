//! What a seed tells: rounds of trouble, each with a failover, and after each round peace, in which everything has to come right.
//!
//! ```text
//! peace ──> trouble (7 to 10 s, with a failover) ──> heal ──> settled, within a bound ──> quiet: nothing more is written ─┐
//!             ^──────────── until there were enough seconds, switches and faults ───────────────────────────────────────┘
//! ```

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rand::{RngExt as _, rngs::SmallRng};

use super::{
    api_server::Kind,
    failover,
    faults::{FAULTS, Fault},
    flight::{self, Got},
    postgres::SERVERS,
    replica, settled, trouble,
    watches::{EXPIRED, Frame},
    world::{Event, Sim, World},
};

/// A seed lasts at least so long.
const SPAN_MIN: Duration = Duration::from_mins(1);

/// A seed has at least so many switches and faults.
const SWITCHES_MIN: u64 = 3;
const FAULTS_MIN: u64 = 10;

/// A seed that has not had enough after so many rounds is a mistake of the simulation.
const ROUNDS_MAX: u32 = 12;

/// How long everything may take to come right. A replica that stepped down blind stays out for up to a minute.
const SETTLED_WITHIN: Duration = Duration::from_secs(100);

/// For so long everything has been right before it counts as settled: a server that was out of reach is heard again within that.
const SETTLED_FOR: Duration = Duration::from_secs(2);

/// For so long nothing more is written then.
const QUIET_FOR: Duration = Duration::from_millis(1_800);

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often log is written.
const TICK_EVERY: Duration = Duration::from_millis(500);

/// What the story does next.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Beat {
    /// Trouble begins.
    Round,
    /// The primary is to be another one.
    Failover,
    /// One thing goes wrong.
    Trouble(Fault),
    /// Everything is mended.
    Heal,
    /// Is everything right yet?
    Look,
    /// Log is written.
    Tick,
    /// A process starts.
    Start { host: usize },
    /// A process crashes.
    Crash { host: usize, life: u32, by: Fault },
    /// A process stands still.
    Pause { host: usize, life: u32, by: Fault },
    /// It goes on.
    Resume { host: usize, life: u32 },
    /// A server changes.
    Server(usize, Turn),
}

/// What becomes of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Turn {
    /// It is promoted above everybody else.
    Promote,
    /// It is promoted to this timeline.
    PromoteTo(u32),
    /// The standbys stream from it.
    Followed,
    /// Its process ends, and the container with it.
    Crash,
    /// It serves again, as a standby of the newest, and its container is a new one.
    Standby,
    /// It serves again as it was.
    AsItWas,
    /// The kubelet tells about its pod.
    Kubelet,
    /// Nobody reaches it.
    Unreached,
    /// Everybody does, and it is itself again.
    Mended,
    /// The pod of a deleted one is gone, and a new one is there.
    Replaced,
}

/// Where the story stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Trouble,
    /// Since when everything is right, if it is; and until when it has to be.
    Settling {
        right_since: Option<Duration>,
        until: Duration,
        writes: u64,
    },
    Quiet {
        until: Duration,
        writes: u64,
    },
}

/// One seed's story.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) interval: Duration,
    pub(crate) silent_after: Duration,
    pub(crate) beaten_gap: Duration,
    pub(crate) policy: &'static str,
    pub(crate) ttl: Duration,
    /// See [`super::host::HostGate`].
    pub(crate) put_off: Option<u32>,
    pub(crate) hosts: usize,
    /// Whether anything may go wrong now.
    pub(crate) chaos: bool,
    pub(crate) frozen_until: Duration,
    pub(crate) excluded: BTreeSet<usize>,
    /// Whether an address went from one pod to another in this round. A leader whose watch lags behind takes the answers under it for
    /// the wrong pod's, and so would the judge.
    pub(crate) addresses_moved: bool,
    /// Whether the seed is done.
    pub(crate) over: bool,
    pub(crate) rounds: u32,
    /// The longest that it took to come right.
    pub(crate) settled_after: Duration,
    /// In thousandths, what befalls a request, a reply or an event.
    rates: [u32; FAULTS.len()],
    healed_at: Duration,
    phase: Phase,
    right: usize,
}

// === impl Story ===

impl Story {
    pub(crate) fn new(rng: &mut SmallRng) -> Self {
        let policies = [
            "HighestTimeline",
            "HighestTimeline",
            "HighestTimeline",
            "Freeze",
            "DropAll",
        ];
        Self {
            interval: Duration::from_millis([500, 1000][rng.random_range(0..2)]),
            silent_after: Duration::from_secs(3),
            beaten_gap: Duration::from_millis([0, 500, 2_000][rng.random_range(0..3)]),
            policy: policies[rng.random_range(0..policies.len())],
            ttl: Duration::from_secs([5, 5, 7, 10][rng.random_range(0..4)]),
            put_off: [None, Some(3), Some(20)][rng.random_range(0..3)],
            hosts: rng.random_range(2..=3),
            chaos: false,
            frozen_until: Duration::ZERO,
            excluded: BTreeSet::new(),
            addresses_moved: false,
            over: false,
            rounds: 0,
            settled_after: Duration::ZERO,
            rates: [0; FAULTS.len()],
            healed_at: Duration::ZERO,
            phase: Phase::Trouble,
            right: 0,
        }
    }
}

impl World {
    /// Whether this befalls what is on its way now.
    pub(crate) fn strikes(&mut self, fault: Fault) -> bool {
        self.story.chaos && self.permille(self.story.rates[fault as usize])
    }
}

/// Begins: everything is deployed, nothing has gone wrong yet.
pub(crate) fn begin(sim: &Arc<Sim>) {
    let mut guard = sim.world();
    let world = &mut *guard;
    for index in 0..world.story.hosts {
        let host = replica::Host::new(sim, world);
        world.hosts.push(host);
        let after = world.span(0, 400);
        sim.plan(world, after, Event::Story(Beat::Start { host: index }));
    }
    for (name, pod) in world.api.of(Kind::Pod) {
        world.judge.bear(name, pod);
    }
    sim.plan(world, TICK_EVERY, Event::Story(Beat::Tick));
    peace(sim, world);
}

/// The story goes on.
pub(crate) fn go_on(sim: &Arc<Sim>, world: &mut World, beat: Beat) {
    match beat {
        Beat::Round => round(sim, world),
        Beat::Failover => failover::begin(sim, world),
        Beat::Trouble(fault) => trouble::begin(sim, world, fault),
        Beat::Heal => heal(sim, world),
        Beat::Look => look(sim, world),
        Beat::Tick => {
            world.servers.tick(&mut world.rng);
            sim.plan(world, TICK_EVERY, Event::Story(Beat::Tick));
        }
        Beat::Start { host } => replica::start(sim, world, host),
        Beat::Crash { host, life, by } => {
            if world.hosts[host].life == life && world.hosts[host].running.is_some() {
                world.fault(by);
                replica::crash(sim, world, host);
            }
        }
        Beat::Pause { host, life, by } => trouble::pause(sim, world, host, life, by),
        Beat::Resume { host, life } => resume(sim, world, host, life),
        // What was to come is overtaken by the end of all trouble; the kubelet and the standbys go on.
        Beat::Server(_, turn) if !world.story.chaos && !matches!(turn, Turn::Kubelet | Turn::Followed) => {}
        Beat::Server(server, turn) => failover::turn(sim, world, server, turn),
    }
}

fn resume(sim: &Arc<Sim>, world: &mut World, host: usize, life: u32) {
    if world.hosts[host].life == life
        && let Some(running) = &world.hosts[host].running
    {
        world
            .trace
            .line(world.now, &[6, host as u64], || format!("replica {host} goes on"));
        running.gate.open();
        flight::release(sim, world, host);
    }
}

/// Trouble begins: what befalls requests from now on, and what else goes wrong when.
fn round(sim: &Arc<Sim>, world: &mut World) {
    world.story.rounds += 1;
    world.story.phase = Phase::Trouble;
    world.story.chaos = true;
    world.story.addresses_moved = false;
    let span = world.span(7_000, 10_000);
    for (fault, _) in FAULTS {
        let on = trouble::befalls_requests(*fault) && world.rng.random_ratio(1, 3);
        world.story.rates[*fault as usize] = if on {
            [10, 30, 100][world.rng.random_range(0..3)]
        } else {
            0
        };
    }
    for _ in 0..world.rng.random_range(3..=6) {
        let fault = trouble::any(&mut world.rng);
        let after = world
            .rng
            .random_range(Duration::ZERO..span.saturating_sub(Duration::from_secs(1)));
        sim.plan(world, after, Event::Story(Beat::Trouble(fault)));
    }
    let after = world.rng.random_range(Duration::ZERO..span / 2);
    sim.plan(world, after, Event::Story(Beat::Failover));
    sim.plan(world, span, Event::Story(Beat::Heal));
    let round = world.story.rounds;
    world.trace.line(world.now, &[7, u64::from(round)], || {
        format!("==== round {round}, {span:?} of trouble")
    });
}

/// Everything is mended, and one server is the right one.
fn heal(sim: &Arc<Sim>, world: &mut World) {
    world.story.chaos = false;
    world.story.frozen_until = world.now;
    for host in 0..world.hosts.len() {
        world.hosts[host].cut_until = world.now;
        world.hosts[host].write_trap = None;
        if let Some(running) = &world.hosts[host].running {
            // One that stands still goes on when its time has come.
            running.gate.disarm();
        }
    }
    for hung in std::mem::take(&mut world.hung) {
        drop(hung.send(Got::Broken));
    }
    for watch in world.api.watches.with_gaps() {
        let after = world.span(0, 500);
        let [expired, end] = [Frame::Line(EXPIRED.into()), Frame::End];
        sim.plan(world, after, Event::Deliver { watch, frame: expired });
        sim.plan(world, after, Event::Deliver { watch, frame: end });
    }
    trouble::mend(sim, world);
    world.story.right = failover::mend(sim, world);
    peace(sim, world);
}

fn peace(sim: &Arc<Sim>, world: &mut World) {
    world.story.healed_at = world.now;
    world.story.phase = Phase::Settling {
        right_since: None,
        until: world.now + SETTLED_WITHIN,
        writes: world.judge.writes,
    };
    let right = failover::writer(world).unwrap_or_default();
    world.story.right = right;
    world.trace.line(world.now, &[8, right as u64], || {
        format!("==== peace; pg-{right} is the right one")
    });
    sim.plan(world, LOOK_EVERY, Event::Story(Beat::Look));
}

/// Is everything right, does it stay so, and is nothing more written?
fn look(sim: &Arc<Sim>, world: &mut World) {
    let missing = settled::missing(world, world.story.right);
    let (now, written) = (world.now, world.judge.writes);
    match (world.story.phase, missing) {
        (Phase::Trouble, _) => return,
        (Phase::Settling { until, .. }, Some(missing)) => {
            world.story.phase = Phase::Settling {
                right_since: None,
                until,
                writes: written,
            };
            if now > until {
                let after = now.saturating_sub(world.story.healed_at);
                world.judge.breaks(
                    "I5, everything comes right",
                    format!("{after:?} after everything was mended, {missing}"),
                );
            }
            failover::repeat_word(sim, world);
        }
        (
            Phase::Settling {
                right_since,
                until,
                writes,
            },
            None,
        ) => {
            let since = right_since.filter(|_| writes == written).unwrap_or(now);
            world.story.phase = Phase::Settling {
                right_since: Some(since),
                until,
                writes: written,
            };
            if now.saturating_sub(since) >= SETTLED_FOR {
                let took = since.saturating_sub(world.story.healed_at);
                world.story.settled_after = world.story.settled_after.max(took);
                world.story.phase = Phase::Quiet {
                    until: now + QUIET_FOR,
                    writes: written,
                };
            }
        }
        (Phase::Quiet { .. }, Some(missing)) => {
            world
                .judge
                .breaks("I5, what is right stays right", format!("{now:?}: {missing}"));
        }
        (Phase::Quiet { writes, .. }, None) if written > writes => {
            let more = written - writes;
            world.judge.breaks(
                "I5, nothing more is written",
                format!("{now:?}: {more} writes although all is settled"),
            );
        }
        (Phase::Quiet { until, .. }, None) if now >= until => {
            next_round(sim, world);
            return;
        }
        (Phase::Quiet { .. }, None) => {}
    }
    sim.plan(world, LOOK_EVERY, Event::Story(Beat::Look));
}

fn next_round(sim: &Arc<Sim>, world: &mut World) {
    let enough = world.now >= SPAN_MIN && world.judge.switches >= SWITCHES_MIN && world.counters.total() >= FAULTS_MIN;
    if enough {
        world.story.over = true;
    } else if world.story.rounds >= ROUNDS_MAX {
        let (switches, faults) = (world.judge.switches, world.counters.total());
        world.judge.breaks(
            "the simulation itself",
            format!("only {switches} switches and {faults} faults after {ROUNDS_MAX} rounds"),
        );
    } else {
        sim.plan(world, Duration::ZERO, Event::Story(Beat::Round));
    }
}

/// A server other than this one.
pub(crate) fn other(rng: &mut SmallRng, than: usize) -> usize {
    (than + rng.random_range(1..SERVERS)) % SERVERS
}
