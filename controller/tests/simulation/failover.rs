//! Who is promoted, and what becomes of the one before. The promoter is somebody else, and not always in his right mind.

use std::{sync::Arc, time::Duration};

use rand::RngExt as _;
use serde_json::json;

use super::{
    api_server::Kind,
    faults::Fault,
    flight::committed,
    host::wall,
    objects,
    postgres::{ContainerState, HOSTS_MAX, Process, SERVERS, SYSTEM},
    settled,
    story::{Beat, Turn, other},
    trouble,
    world::{Event, Sim, World},
};

/// What a promoted server may lack, and then some.
const FAR: u64 = 64 << 20;

/// The server that takes writes on the highest timeline.
pub(crate) fn writer(world: &World) -> Option<usize> {
    let of = &world.servers.of;
    let writers = (0..SERVERS).filter(|index| {
        let server = &of[*index];
        server.writable && server.system == SYSTEM && server.process != Process::Down
    });
    writers.max_by_key(|index| (of[*index].timeline, of[*index].lsn))
}

fn plan(sim: &Arc<Sim>, world: &mut World, millis: (u64, u64), server: usize, turn: Turn) {
    let after = world.span(millis.0, millis.1);
    sim.plan(world, after, Event::Story(Beat::Server(server, turn)));
}

/// The standby that is to be the next primary.
fn candidate(world: &mut World, primary: usize) -> usize {
    let first = other(&mut world.rng, primary);
    let second = SERVERS - primary - first;
    let fit = |index: usize| {
        let server = &world.servers.of[index];
        (
            server.system == SYSTEM && server.process == Process::Up,
            server.timeline,
            server.lsn >> 20,
        )
    };
    if fit(second) > fit(first) { second } else { first }
}

/// The primary is to be another one.
pub(crate) fn begin(sim: &Arc<Sim>, world: &mut World) {
    let primary = writer(world).unwrap_or_default();
    let next = candidate(world, primary);
    let third = SERVERS - primary - next;
    let what = world.rng.random_range(0..100);
    world.trace.line(world.now, &[9, what], || {
        format!("==== failover {what}: from pg-{primary} to pg-{next}")
    });
    if world.rng.random_ratio(1, 8) {
        trouble::catch_leader(world);
    }
    match what {
        0..40 => {
            world.fault(Fault::ServerCrash);
            plan(sim, world, (0, 0), primary, Turn::Crash);
            plan(sim, world, (300, 2_500), next, Turn::Promote);
            let back = if world.rng.random_ratio(1, 4) {
                Turn::AsItWas
            } else {
                Turn::Standby
            };
            plan(sim, world, (2_600, 5_000), primary, back);
        }
        40..55 => {
            world.fault(Fault::ServerHang);
            world.servers.end(primary, Process::Hung);
            plan(sim, world, (800, 4_000), next, Turn::Promote);
        }
        55..68 => {
            world.servers.end(primary, Process::Starting);
            plan(sim, world, (100, 300), primary, Turn::Crash);
            plan(sim, world, (300, 800), next, Turn::Promote);
            plan(sim, world, (1_000, 3_000), primary, Turn::Standby);
        }
        68..82 => {
            world.fault(Fault::SplitBrain);
            plan(sim, world, (0, 0), next, Turn::Promote);
            plan(sim, world, (500, 5_000), primary, Turn::Standby);
        }
        82..94 => {
            let timeline = world.servers.highest_timeline() + 1;
            world.fault(Fault::TwicePromoted);
            plan(sim, world, (0, 0), primary, Turn::Crash);
            plan(sim, world, (300, 1_500), next, Turn::PromoteTo(timeline));
            plan(sim, world, (300, 1_500), third, Turn::PromoteTo(timeline));
            if world.rng.random() {
                plan(sim, world, (1_000, 2_500), third, Turn::Unreached);
            }
        }
        _ => {
            world.fault(Fault::FarBehind);
            plan(sim, world, (0, 0), primary, Turn::Crash);
            let server = &mut world.servers.of[next];
            (server.lsn, server.far_behind, server.follows) = (server.lsn - FAR, true, None);
            plan(sim, world, (300, 1_500), next, Turn::Promote);
        }
    }
}

/// A server changes.
pub(crate) fn turn(sim: &Arc<Sim>, world: &mut World, index: usize, turn: Turn) {
    world
        .trace
        .line(world.now, &[10, index as u64], || format!("pg-{index}: {turn:?}"));
    match turn {
        Turn::Promote => {
            let timeline = world.servers.highest_timeline() + 1;
            promote(sim, world, index, timeline);
        }
        Turn::PromoteTo(timeline) => promote(sim, world, index, timeline),
        Turn::Followed => {
            if world.servers.of[index].writable {
                world.servers.follow(index);
            }
        }
        Turn::Crash => {
            world.servers.end(index, Process::Down);
            // The kubelet cuts to whole seconds.
            let at = wall(Duration::from_secs(world.now.as_secs()));
            world.servers.of[index].pod.container = ContainerState::Stopped { at };
            plan(sim, world, (20, 1_500), index, Turn::Kubelet);
        }
        Turn::Standby => {
            if let Some(leader) = writer(world).filter(|leader| *leader != index) {
                restart(sim, world, index, Some(leader));
            }
        }
        Turn::AsItWas => {
            if world.servers.of[index].process == Process::Down {
                let stale = world.servers.of[index].timeline < world.servers.highest_timeline();
                if world.servers.of[index].writable && stale {
                    world.fault(Fault::StaleReturn);
                }
                let follows = world.servers.of[index]
                    .follows
                    .filter(|_| !world.servers.of[index].writable);
                restart(sim, world, index, follows);
            }
        }
        Turn::Kubelet => kubelet(sim, world, index),
        Turn::Unreached => reach(world, index, false),
        Turn::Mended => mended(world, index),
        Turn::Replaced => replaced(sim, world, index),
    }
}

fn promote(sim: &Arc<Sim>, world: &mut World, index: usize, timeline: u32) {
    let server = &world.servers.of[index];
    if server.process == Process::Up && !server.writable && server.timeline < timeline {
        world.servers.promote(index, timeline);
        // A leader that stands still right here has heard of it and not yet acted.
        match world.rng.random_range(0..8) {
            0 => trouble::catch_leader(world),
            1 => trouble::catch_writing_leader(world),
            _ => {}
        }
        plan(sim, world, (100, 1_500), index, Turn::Followed);
    }
}

/// A new container, and a new postmaster in it.
fn restart(sim: &Arc<Sim>, world: &mut World, index: usize, follows: Option<usize>) {
    let was_writable = world.servers.of[index].writable && follows.is_none();
    world.servers.start(index, follows, world.now);
    world.servers.of[index].writable = was_writable || follows.is_none();
    // The kubelet cuts to whole seconds.
    let since = wall(Duration::from_secs(world.now.as_secs()));
    world.servers.of[index].pod.container = ContainerState::Running { since };
    world.judge.unclaim(index);
    plan(sim, world, (20, 1_200), index, Turn::Kubelet);
}

/// The kubelet tells how things stand with a pod.
pub(crate) fn kubelet(sim: &Arc<Sim>, world: &mut World, index: usize) {
    let status = objects::status(world.servers.pod(index));
    world.judge.unclaim(index);
    let name = objects::pod_name(index);
    let change = world.api.edit(Kind::Pod, &name, |pod| pod["status"] = status);
    if let Some(change) = change {
        committed(sim, world, &change, None);
    }
}

fn reach(world: &mut World, index: usize, reached: bool) {
    for host in 0..HOSTS_MAX {
        world.servers.cut[host][index] = !reached;
    }
    if !reached {
        world.fault(Fault::ServerCut);
    }
}

/// Its network and its process are as they should be.
pub(crate) fn mended(world: &mut World, index: usize) {
    reach(world, index, true);
    world.servers.slow[index] = Duration::ZERO;
    let process = &mut world.servers.of[index].process;
    if matches!(process, Process::Starting | Process::HungPostmaster | Process::Full) {
        *process = Process::Up;
    }
}

/// The pod of a deleted one is gone, and a new one of the same name is there.
fn replaced(sim: &Arc<Sim>, world: &mut World, index: usize) {
    let name = objects::pod_name(index);
    if let Some(change) = world.api.delete(Kind::Pod, &name) {
        committed(sim, world, &change, None);
    }
    let address = world.servers.new_address();
    world.servers.addresses.retain(|_, server| *server != index);
    world.servers.addresses.insert(address, index);
    world.servers.of[index].pod.address = address;
    world.judge.unclaim(index);
    let uid = world.api.new_uid();
    let pod = objects::pod(index, &uid, world.servers.pod(index));
    let change = world.api.put(Kind::Pod, &name, pod);
    committed(sim, world, &change, None);
}

/// Every server is up, and follows the right one. Returns that one.
pub(crate) fn mend(sim: &Arc<Sim>, world: &mut World) -> usize {
    for index in 0..SERVERS {
        mended(world, index);
    }
    let living = |world: &World, index: usize| world.servers.of[index].process == Process::Up;
    let right = writer(world).filter(|index| living(world, *index)).unwrap_or_else(|| {
        // Nobody takes writes: the one that has most is promoted.
        let of = &world.servers.of;
        let best = (0..SERVERS)
            .filter(|index| of[*index].system == SYSTEM)
            .max_by_key(|index| (of[*index].timeline, of[*index].lsn, living(world, *index)));
        best.unwrap_or_default()
    });
    if !living(world, right) {
        restart(sim, world, right, None);
    }
    if !world.servers.of[right].writable || writer(world) != Some(right) {
        let timeline = world.servers.highest_timeline() + 1;
        world.servers.promote(right, timeline);
    }
    for index in (0..SERVERS).filter(|index| *index != right) {
        let server = &world.servers.of[index];
        let follows = server.process == Process::Up
            && !server.writable
            && server.system == SYSTEM
            && server.lsn <= world.servers.of[right].lsn
            && server.timeline <= world.servers.of[right].timeline;
        if !follows {
            restart(sim, world, index, Some(right));
        }
    }
    world.servers.follow(right);
    world.servers.of[right].far_behind = false;
    repeat_word(sim, world);
    right
}

/// Where the mark stands against the right server, a person has to say that it is right.
pub(crate) fn repeat_word(sim: &Arc<Sim>, world: &mut World) {
    let Some(right) = writer(world) else { return };
    let route = world.api.get(Kind::Route, "pg");
    let said = route.is_some_and(|route| objects::annotation(&route.value, "pgsteer.io/accept").is_some());
    if said || !settled::needs_a_word(world, right) {
        return;
    }
    let name = objects::pod_name(right);
    let Some(uid) = world.api.get(Kind::Pod, &name).map(|pod| pod.uid.clone()) else {
        return;
    };
    world.judge.word(format!("data-{name}"));
    world
        .trace
        .line(world.now, &[11, right as u64], || format!("a person accepts {name}"));
    let change = world.api.edit(Kind::Route, "pg", |route| {
        route["metadata"]["annotations"]["pgsteer.io/accept"] = json!(uid);
    });
    if let Some(change) = change {
        committed(sim, world, &change, None);
    }
}
