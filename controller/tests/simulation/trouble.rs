//! What goes wrong beside the failovers, one thing at a time.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rand::{RngExt as _, rngs::SmallRng};
use serde_json::{Value, json};

use super::{
    api_server::{Change, Kind},
    failover,
    faults::Fault,
    flight::committed,
    host::{AtPoll, wall},
    objects,
    postgres::{ContainerState, Process, SERVERS, SYSTEM},
    story::{Beat, Turn},
    watches::Frame,
    world::{Event, Sim, World},
};

/// Troubles, each as often as it stands here.
const TROUBLES: &[Fault] = &[
    Fault::ApiFrozen,
    Fault::LinkCut,
    Fault::LinkCut,
    Fault::CrashAtPoll,
    Fault::CrashAtWrite,
    Fault::CrashAtWrite,
    Fault::PauseAtPoll,
    Fault::PauseAtPoll,
    Fault::PauseAtPoll,
    Fault::PauseAtWrite,
    Fault::PauseAtWrite,
    Fault::Restart,
    Fault::WallClock,
    Fault::LeaseDeleted,
    Fault::LabelEdited,
    Fault::RouteExcluded,
    Fault::WatchExpired,
    Fault::WatchEnded,
    Fault::ServerHang,
    Fault::ServerCut,
    Fault::ServerCut,
    Fault::ServerSlow,
    Fault::ServerBarred,
    Fault::Wiped,
    Fault::Restored,
    Fault::PodReplaced,
    Fault::AddressesSwapped,
];

/// How far a restored volume is behind.
const BACK: u64 = 32 << 20;

/// Any of them.
pub(crate) fn any(rng: &mut SmallRng) -> Fault {
    TROUBLES[rng.random_range(0..TROUBLES.len())]
}

/// Whether it befalls requests, replies or watch events, one by one.
pub(crate) const fn befalls_requests(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::RequestDropped
            | Fault::RequestLate
            | Fault::RequestDelayed
            | Fault::RequestTwice
            | Fault::RequestRefused
            | Fault::ReplyDropped
            | Fault::ReplyDelayed
            | Fault::ReplyBroken
            | Fault::EventDropped
            | Fault::EventDelayed
            | Fault::EventReordered
            | Fault::EventTwice
    )
}

/// The host of whoever holds the Lease, mostly; else any.
fn target(world: &mut World) -> usize {
    let lease = world.api.get(Kind::Lease, "pgsteer");
    let holder = lease.and_then(|lease| lease.value.pointer("/spec/holderIdentity")?.as_str());
    let of = |host: &super::replica::Host| host.running.as_ref().map(|running| running.identity.clone());
    let leader = world.hosts.iter().position(|host| of(host).as_deref() == holder);
    let leader = leader.filter(|_| holder.is_some());
    match leader {
        Some(leader) if world.rng.random_ratio(4, 5) => leader,
        _ => world.rng.random_range(0..world.hosts.len()),
    }
}

/// One thing goes wrong.
pub(crate) fn begin(sim: &Arc<Sim>, world: &mut World, fault: Fault) {
    if !world.story.chaos {
        return;
    }
    let server = world.rng.random_range(0..SERVERS);
    match fault {
        Fault::ApiFrozen => {
            world.fault(fault);
            world.story.frozen_until = world.now + world.span(300, 4_000);
        }
        Fault::LinkCut => {
            world.fault(fault);
            let host = target(world);
            world.hosts[host].cut_until = world.now + world.span(300, 8_000);
        }
        Fault::CrashAtPoll => trap(world, AtPoll::Crash),
        Fault::PauseAtPoll => trap(world, AtPoll::Pause),
        Fault::CrashAtWrite => set_write_trap(world, AtPoll::Crash),
        Fault::PauseAtWrite => catch_writing_leader(world),
        Fault::Restart => {
            let host = target(world);
            if let Some(running) = &world.hosts[host].running {
                running.stop.cancel();
                world.fault(fault);
            }
        }
        Fault::WallClock => {
            world.fault(fault);
            let (host, skew) = (target(world), world.rng.random_range(-3600..=3600));
            world.hosts[host].clock.skew_seconds.store(skew, Ordering::Relaxed);
        }
        Fault::WatchExpired => {
            world.fault(fault);
            world.api.compact();
            end_watches(sim, world, &Frame::End);
        }
        Fault::WatchEnded => {
            world.fault(fault);
            let frame = if world.rng.random() { Frame::End } else { Frame::Broken };
            end_watches(sim, world, &frame);
        }
        Fault::LeaseDeleted | Fault::LabelEdited | Fault::RouteExcluded => by_hand(sim, world, fault, server),
        _ => server_trouble(sim, world, fault, server),
    }
}

/// The leader stands still somewhere between what it is about to hear and what it writes about it.
pub(crate) fn catch_leader(world: &mut World) {
    set_trap(world, 60, AtPoll::Pause);
}

/// The leader stands still with what it writes about the news under way: what it heard is old when it goes on.
pub(crate) fn catch_writing_leader(world: &mut World) {
    set_write_trap(world, AtPoll::Pause);
}

fn set_write_trap(world: &mut World, then: AtPoll) {
    let (host, writes) = (target(world), world.rng.random_range(0..4));
    world.hosts[host].write_trap = Some((writes, then));
}

/// A replica crashes, or stands still, at some await soon.
fn trap(world: &mut World, then: AtPoll) {
    set_trap(world, 150, then);
}

fn set_trap(world: &mut World, polls_max: u32, then: AtPoll) {
    let (host, polls) = (target(world), world.rng.random_range(0..polls_max));
    if let Some(running) = &world.hosts[host].running {
        running.gate.set_trap(polls, then);
    }
}

/// Traps that went off.
pub(crate) fn sprung(sim: &Arc<Sim>, world: &mut World) {
    for host in 0..world.hosts.len() {
        let life = world.hosts[host].life;
        let sprung = world.hosts[host]
            .running
            .as_ref()
            .and_then(|running| running.gate.take_sprung());
        match sprung {
            Some(AtPoll::Crash) => {
                world.fault(Fault::CrashAtPoll);
                super::replica::crash(sim, world, host);
            }
            Some(AtPoll::Pause) => pause(sim, world, host, life, Fault::PauseAtPoll),
            None => {}
        }
    }
}

/// A process stands still for a while: shorter or longer than its reign has left.
pub(crate) fn pause(sim: &Arc<Sim>, world: &mut World, host: usize, life: u32, by: Fault) {
    if world.hosts[host].life != life || !world.story.chaos {
        if let Some(running) = &world.hosts[host].running {
            running.gate.open();
        }
        super::flight::release(sim, world, host);
        return;
    }
    let Some(running) = &world.hosts[host].running else {
        return;
    };
    running.gate.close();
    world.fault(by);
    let span = match world.rng.random_range(0..4) {
        0 | 1 => world.story.ttl + world.span(200, 4_000),
        2 => world.span(300, 4_000),
        // Its reign goes on, and nothing that it has heard counts any more.
        _ => world.span(3_000, 4_000),
    };
    world.trace.line(world.now, &[12, host as u64], || {
        format!("replica {host} stands still for {span:?}")
    });
    sim.plan(world, span, Event::Story(Beat::Resume { host, life }));
}

fn end_watches(sim: &Arc<Sim>, world: &mut World, frame: &Frame) {
    let open: Vec<u64> = world.api.watches.open.keys().copied().collect();
    for watch in open {
        let after = world.span(0, 100);
        let frame = frame.clone();
        sim.plan(world, after, Event::Deliver { watch, frame });
    }
}

fn edited(sim: &Arc<Sim>, world: &mut World, change: Option<Change>) {
    if let Some(change) = change {
        committed(sim, world, &change, None);
    }
}

/// Somebody's hand.
fn by_hand(sim: &Arc<Sim>, world: &mut World, fault: Fault, server: usize) {
    let name = objects::pod_name(server);
    let change = match fault {
        Fault::LeaseDeleted => world.api.delete(Kind::Lease, "pgsteer"),
        Fault::LabelEdited => {
            let label = [json!("replica"), json!("orphan"), json!("what"), Value::Null];
            let label = label[world.rng.random_range(0..label.len())].clone();
            world.api.edit(Kind::Pod, &name, |pod| {
                if let Some(labels) = pod["metadata"]["labels"].as_object_mut() {
                    labels.remove("pgsteer.io/role");
                    if !label.is_null() {
                        labels.insert("pgsteer.io/role".to_owned(), label);
                    }
                }
            })
        }
        _ if world.rng.random() => {
            world.story.excluded.insert(server);
            annotate(world, Kind::Pod, &name, "pgsteer.io/exclude", true)
        }
        _ => annotate(world, Kind::Route, "pg", "pgsteer.io/paused", true),
    };
    if change.is_some() {
        world.fault(fault);
    }
    edited(sim, world, change);
}

fn annotate(world: &mut World, kind: Kind, name: &str, key: &str, set: bool) -> Option<Change> {
    world.api.edit(kind, name, |object| {
        let annotations = &mut object["metadata"]["annotations"];
        if set {
            annotations[key] = json!("true");
        } else if let Some(annotations) = annotations.as_object_mut() {
            annotations.remove(key);
        }
    })
}

/// A server, its network or its data.
fn server_trouble(sim: &Arc<Sim>, world: &mut World, fault: Fault, index: usize) {
    let span = world.span(500, 5_000);
    let mended = Event::Story(Beat::Server(index, Turn::Mended));
    let up = world.servers.of[index].process == Process::Up;
    match fault {
        Fault::ServerCut => {
            world.fault(fault);
            let all = world.rng.random_ratio(1, 3);
            let target = target(world);
            for host in 0..world.hosts.len() {
                world.servers.cut[host][index] |= all || host == target;
            }
            sim.plan(world, span, mended);
        }
        Fault::ServerSlow => {
            world.servers.slow[index] = world.span(50, 700);
            sim.plan(world, span, mended);
        }
        Fault::ServerHang if up => {
            world.fault(fault);
            world.servers.of[index].process = Process::HungPostmaster;
            sim.plan(world, span, mended);
        }
        Fault::ServerBarred if up => {
            world.fault(fault);
            let full = world.rng.random();
            world.servers.of[index].process = if full { Process::Full } else { Process::Starting };
            sim.plan(world, span, mended);
        }
        Fault::Wiped if up && failover::writer(world) != Some(index) => {
            world.fault(fault);
            renew(sim, world, index);
            let server = &mut world.servers.of[index];
            (server.system, server.timeline, server.lsn) = (SYSTEM + 1, 1, 0x0100_0000);
            (server.writable, server.follows) = (true, None);
        }
        Fault::Restored if up && world.servers.of[index].system == SYSTEM => {
            world.fault(fault);
            renew(sim, world, index);
            let server = &mut world.servers.of[index];
            (server.lsn, server.far_behind) = (server.lsn - BACK, true);
        }
        Fault::PodReplaced => {
            world.fault(fault);
            let name = objects::pod_name(index);
            let change = world.api.edit(Kind::Pod, &name, |pod| {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            });
            edited(sim, world, change);
            for (from, to, turn) in [
                (100, 800, Turn::Crash),
                (900, 1_500, Turn::Replaced),
                (1_600, 2_500, Turn::AsItWas),
            ] {
                let after = world.span(from, to);
                sim.plan(world, after, Event::Story(Beat::Server(index, turn)));
            }
        }
        Fault::AddressesSwapped => swap(sim, world, index),
        _ => {}
    }
}

/// The same process again, in a new container.
fn renew(sim: &Arc<Sim>, world: &mut World, index: usize) {
    let (writable, follows) = (world.servers.of[index].writable, world.servers.of[index].follows);
    world.servers.end(index, Process::Up);
    let now = world.now;
    let server = &mut world.servers.of[index];
    (server.writable, server.follows, server.started) = (writable, follows, wall(now));
    let since = wall(Duration::from_secs(now.as_secs()));
    server.pod.container = ContainerState::Running { since };
    world.judge.unclaim(index);
    let after = world.span(20, 1_000);
    sim.plan(world, after, Event::Story(Beat::Server(index, Turn::Kubelet)));
}

/// Two pods stop, and come back with each other's address. The kubelet tells that they have stopped before the addresses are free.
fn swap(sim: &Arc<Sim>, world: &mut World, index: usize) {
    let second = super::story::other(&mut world.rng, index);
    world.fault(Fault::AddressesSwapped);
    world.story.addresses_moved = true;
    // The kubelet cuts to whole seconds.
    let at = wall(Duration::from_secs(world.now.as_secs()));
    for server in [index, second] {
        world.servers.end(server, Process::Down);
        world.servers.of[server].pod.container = ContainerState::Stopped { at };
        failover::kubelet(sim, world, server);
    }
    let addresses = [index, second].map(|server| world.servers.of[server].pod.address);
    for (server, address) in [(index, addresses[1]), (second, addresses[0])] {
        world.servers.addresses.insert(address, server);
        world.servers.of[server].pod.address = address;
        let after = world.span(100, 900);
        sim.plan(world, after, Event::Story(Beat::Server(server, Turn::AsItWas)));
    }
}

/// What somebody's hand did is taken back, and pods are there again.
pub(crate) fn mend(sim: &Arc<Sim>, world: &mut World) {
    world.story.excluded.clear();
    for index in 0..SERVERS {
        let name = objects::pod_name(index);
        let change = annotate(world, Kind::Pod, &name, "pgsteer.io/exclude", false);
        edited(sim, world, change);
        let deleted = world
            .api
            .get(Kind::Pod, &name)
            .is_none_or(|pod| pod.value.pointer("/metadata/deletionTimestamp").is_some());
        if deleted {
            failover::turn(sim, world, index, Turn::Replaced);
        }
        failover::turn(sim, world, index, Turn::Kubelet);
    }
    let change = annotate(world, Kind::Route, "pg", "pgsteer.io/paused", false);
    edited(sim, world, change);
}
