//! A request on its way to the API server and back, and what befalls it.
//!
//! ```text
//! transport --call--> Flight --(late, lost, twice, frozen, cut off)--> carried out --> Answer --(late, lost, broken)--> replica
//! ```
//!
//! A request that has left its replica is carried out whether or not its sender still waits.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use rand::RngExt as _;
use tokio::sync::oneshot;

use super::{
    api_server::{Change, Kind, Reply, Request, Verb, refusal},
    faults::Fault,
    host::AtPoll,
    story::Beat,
    watches::{Body, EXPIRED, Frame},
    world::{Event, Sim, World},
};

/// A request on its way there.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) host: usize,
    pub(crate) life: u32,
    /// The number of this request among its replica's.
    number: u64,
    request: Request,
    /// Carried out once more.
    twice: bool,
    /// What befalls the answer.
    back: Back,
    reply: oneshot::Sender<Got>,
}

/// What befalls an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Back {
    Answered(Duration),
    Lost,
    Broken,
    /// The API server says that it failed, whether it did or not.
    Failed(StatusCode),
}

/// What comes back.
#[derive(Debug)]
pub(crate) enum Got {
    Reply(StatusCode, Body),
    Broken,
}

/// An answer on its way back.
#[derive(Debug)]
pub(crate) struct Answer {
    host: usize,
    number: u64,
    got: Got,
    reply: oneshot::Sender<Got>,
}

/// A watch ends by itself after this long, as the controller asks for.
const WATCH_SPAN: Duration = Duration::from_secs(25);

/// Sends a request.
pub(crate) fn send(sim: &Arc<Sim>, host: usize, life: u32, request: Request) -> oneshot::Receiver<Got> {
    let mut guard = sim.world();
    let world = &mut *guard;
    let (reply, answer) = oneshot::channel();
    let writes = matches!(request.verb, Verb::Patch { .. } | Verb::Create) && request.kind != Kind::Event;
    if writes {
        super::judge::sent(world, host, life, &request);
        spring_write_trap(sim, world, host, life);
    }
    let number = world.hosts[host].sent();
    let mut out = Duration::from_micros(world.rng.random_range(150..1_500));
    let back = Duration::from_micros(world.rng.random_range(150..1_500));
    let mut flight = Flight {
        host,
        life,
        number,
        request,
        twice: false,
        back: Back::Answered(back),
        reply,
    };
    let cut = world.hosts[host].cut_until.saturating_sub(world.now);
    if !cut.is_zero() {
        if world.rng.random() {
            hang(sim, world, flight.reply);
            return answer;
        }
        out += cut + world.span(0, 30);
    }
    if world.strikes(Fault::RequestDropped) {
        world.fault(Fault::RequestDropped);
        hang(sim, world, flight.reply);
        return answer;
    }
    if world.strikes(Fault::RequestDelayed) {
        world.fault(Fault::RequestDelayed);
        out += world.span(50, 900);
    }
    if writes && world.strikes(Fault::RequestLate) {
        out += world.span(1_500, 12_000);
    }
    if writes && world.strikes(Fault::RequestTwice) {
        world.fault(Fault::RequestTwice);
        flight.twice = true;
    }
    flight.back = befalls(world, back);
    if world.hosts[host].stands_still() {
        // It waits in the process's own buffers, and leaves when the process goes on.
        world.hosts[host].held.push(flight);
    } else {
        sim.plan(world, out, Event::Carry(Box::new(flight)));
    }
    answer
}

/// No answer comes. A connection on which nothing comes is given up in the end; here that is when the trouble is over.
fn hang(sim: &Arc<Sim>, world: &mut World, reply: oneshot::Sender<Got>) {
    if world.story.chaos {
        world.hung.push(reply);
        return;
    }
    let (after, got) = (world.span(100, 1_000), Got::Broken);
    let answer = Answer {
        host: 0,
        number: u64::MAX,
        got,
        reply,
    };
    sim.plan(world, after, Event::Answer(Box::new(answer)));
}

/// A process goes on: what waited in its buffers leaves.
pub(crate) fn release(sim: &Arc<Sim>, world: &mut World, host: usize) {
    for flight in std::mem::take(&mut world.hosts[host].held) {
        let after = world.span(0, 3);
        sim.plan(world, after, Event::Carry(Box::new(flight)));
    }
}

fn befalls(world: &mut World, back: Duration) -> Back {
    if world.strikes(Fault::ReplyDropped) {
        world.fault(Fault::ReplyDropped);
        Back::Lost
    } else if world.strikes(Fault::ReplyBroken) {
        world.fault(Fault::ReplyBroken);
        Back::Broken
    } else if world.strikes(Fault::RequestRefused) {
        world.fault(Fault::RequestRefused);
        let codes = [429, 500, 503, 504];
        let code = codes[world.rng.random_range(0..codes.len())];
        Back::Failed(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
    } else if world.strikes(Fault::ReplyDelayed) {
        world.fault(Fault::ReplyDelayed);
        Back::Answered(back + world.span(20, 1_500))
    } else {
        Back::Answered(back)
    }
}

/// A replica may be crashed or paused with a write under way.
fn spring_write_trap(sim: &Arc<Sim>, world: &mut World, host: usize, life: u32) {
    let Some((left, then)) = world.hosts[host].write_trap else {
        return;
    };
    if left > 0 {
        world.hosts[host].write_trap = Some((left - 1, then));
        return;
    }
    world.hosts[host].write_trap = None;
    let after = world.span(0, 3);
    let beat = match then {
        AtPoll::Crash => Beat::Crash {
            host,
            life,
            by: Fault::CrashAtWrite,
        },
        AtPoll::Pause => Beat::Pause {
            host,
            life,
            by: Fault::PauseAtWrite,
        },
    };
    sim.plan(world, after, Event::Story(beat));
}

/// A request reaches the API server.
pub(crate) fn carry(sim: &Arc<Sim>, world: &mut World, mut flight: Box<Flight>) {
    let frozen = world.story.frozen_until.saturating_sub(world.now);
    if !frozen.is_zero() {
        let after = frozen + world.span(0, 20);
        sim.plan(world, after, Event::Carry(flight));
        return;
    }
    // A 429 is said instead of carrying it out; of a 5xx nobody knows.
    let said_no =
        matches!(flight.back, Back::Failed(code) if code == StatusCode::TOO_MANY_REQUESTS || world.rng.random());
    let writes = matches!(flight.request.verb, Verb::Patch { .. } | Verb::Create);
    if writes && flight.reply.is_closed() && flight.request.kind != Kind::Event {
        world.fault(Fault::RequestLate);
    }
    let got = if said_no {
        whole(refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"))
    } else if let Verb::Watch { since } = flight.request.verb {
        watch(sim, world, &flight, since)
    } else {
        if flight.request.verb == Verb::List {
            let Request { kind, name, .. } = &flight.request;
            world.api.watches.listed(flight.host, *kind, name);
        }
        let (mut reply, change) = world.api.write(&flight.request);
        told(world, &flight, &reply);
        if let Some(change) = change {
            committed(sim, world, &change, Some((flight.host, flight.life)));
        }
        if std::mem::take(&mut flight.twice) {
            let change;
            (reply, change) = world.api.write(&flight.request);
            if let Some(change) = change {
                committed(sim, world, &change, Some((flight.host, flight.life)));
            }
        }
        whole(reply)
    };
    let Flight {
        host,
        number,
        back,
        reply,
        ..
    } = *flight;
    let (after, got) = match back {
        Back::Lost => {
            hang(sim, world, reply);
            return;
        }
        Back::Broken => (Duration::from_micros(300), Got::Broken),
        Back::Failed(code) => (Duration::from_micros(300), whole(refusal(code, "InternalError"))),
        Back::Answered(after) => (after, got),
    };
    let answer = Answer {
        host,
        number,
        got,
        reply,
    };
    sim.plan(world, after, Event::Answer(Box::new(answer)));
}

fn told(world: &mut World, flight: &Flight, reply: &Reply) {
    let Flight { host, request, .. } = flight;
    let status = u64::from(reply.status.as_u16());
    world.trace.line(world.now, &[2, *host as u64, status], || {
        let body = match request.verb {
            Verb::Patch { .. } | Verb::Create if request.kind != Kind::Event => request.body.to_string(),
            _ => String::new(),
        };
        format!(
            "replica {host}: {:?} {:?} {} -> {status} {body}",
            request.verb, request.kind, request.name
        )
    });
}

fn whole(reply: Reply) -> Got {
    Got::Reply(reply.status, Body::Whole(Some(reply.body)))
}

fn watch(sim: &Arc<Sim>, world: &mut World, flight: &Flight, since: u64) -> Got {
    let Request { kind, name, .. } = &flight.request;
    // Nobody is left without what was withheld from him once all is mended.
    let told_all = world.story.chaos || !world.api.watches.has_gap(flight.host, *kind, name);
    let Some(missed) = world.api.missed(*kind, name, since).filter(|_| told_all) else {
        return Got::Reply(StatusCode::OK, Body::Whole(Some(EXPIRED.into())));
    };
    let (id, body) = world.api.watches.begin(flight.host, *kind, name, world.now);
    for frame in missed {
        notify(sim, world, id, frame);
    }
    let end = Event::Deliver {
        watch: id,
        frame: Frame::End,
    };
    sim.plan(world, WATCH_SPAN, end);
    Got::Reply(StatusCode::OK, Body::Watch(body))
}

/// An object has changed: who watches is told, and the judge looks.
pub(crate) fn committed(sim: &Arc<Sim>, world: &mut World, change: &Change, by: Option<(usize, u32)>) {
    if let Some(after) = &change.after {
        world.trace.bytes(&after.bytes);
    }
    super::judge::committed(world, change, by);
    let Some(line) = world.api.log.last().map(|logged| logged.line.clone()) else {
        return;
    };
    let concerned: Vec<u64> = world
        .api
        .watches
        .open
        .iter()
        .filter(|(_, watch)| watch.kind == change.kind && (watch.name.is_empty() || watch.name == change.name))
        .map(|(id, _)| *id)
        .collect();
    for id in concerned {
        notify(sim, world, id, Frame::Line(line.clone()));
    }
    if change.kind == Kind::Pod && !std::mem::replace(&mut world.slices_due, true) {
        let after = if world.story.chaos {
            world.span(5, 600)
        } else {
            world.span(5, 60)
        };
        sim.plan(world, after, Event::Slices);
    }
}

/// Sends an event to the reader of a watch; events keep their order, unless something befalls them.
fn notify(sim: &Arc<Sim>, world: &mut World, id: u64, frame: Frame) {
    let Some(watch) = world.api.watches.open.get(&id) else {
        return;
    };
    let (host, last_due) = (watch.host, watch.last_due);
    if world.strikes(Fault::EventDropped) {
        world.fault(Fault::EventDropped);
        world.api.watches.withheld(id);
        return;
    }
    let mut due = world.now + Duration::from_micros(world.rng.random_range(100..1_500));
    due = due.max(world.hosts[host].cut_until).max(world.story.frozen_until);
    if world.strikes(Fault::EventDelayed) {
        world.fault(Fault::EventDelayed);
        due += world.span(20, 3_000);
    }
    if world.strikes(Fault::EventReordered) {
        // Those behind it go ahead.
        world.fault(Fault::EventReordered);
        world.api.watches.withheld(id);
        due = due.max(last_due) + world.span(50, 1_500);
    } else {
        due = due.max(last_due);
        if let Some(watch) = world.api.watches.open.get_mut(&id) {
            watch.last_due = due;
        }
    }
    let after = due.saturating_sub(world.now);
    if world.strikes(Fault::EventTwice) {
        world.fault(Fault::EventTwice);
        let frame = frame.clone();
        sim.plan(world, after, Event::Deliver { watch: id, frame });
    }
    sim.plan(world, after, Event::Deliver { watch: id, frame });
}

/// An answer reaches its replica.
pub(crate) fn answer(sim: &Arc<Sim>, world: &mut World, answer: Box<Answer>) {
    let cut = world.hosts[answer.host].cut_until.saturating_sub(world.now);
    if !cut.is_zero() {
        if world.rng.random() {
            hang(sim, world, answer.reply);
        } else {
            sim.plan(world, cut, Event::Answer(answer));
        }
        return;
    }
    if world.story.chaos && world.hosts[answer.host].answered(answer.number) {
        world.fault(Fault::ReplyReordered);
    }
    // Whoever asked may have given up.
    drop(answer.reply.send(answer.got));
}
