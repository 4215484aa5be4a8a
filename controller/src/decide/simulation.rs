//! Random histories: servers that are promoted, crash and fall silent, leaders that change while the one before still writes, and
//! writes that are lost or come late. Tests I1, I5 and I9 of docs/invariants.md over time.
//!
//! ```text
//! servers --probe--> leader's view --decide--> writes --in time, late or never--> API server
//!                      ^ watch, GET after a conflict ----------------------------------'
//! ```

mod objects;

use std::time::Duration;

use proptest::{collection::vec, prelude::*, test_runner::Config};
use shared::{ledger::Mark, role::Role, term::Term};

use super::{
    Action, Family, LabelState, PodKey,
    fixtures::{SYSTEM, Saw, World, key, lsn, seconds, told},
};
use crate::{sighting::Sightings, stamp::Holder};
use objects::{expects, look, target, unsettled, watch};

/// How many histories are tried.
const CASES: u32 = 1000;

/// How many events a history has at most.
const EVENTS: usize = 120;

/// Turns, each with a probe of everything, after which a history has to have come to rest.
const REST: usize = 12;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

const NAMES: [&str; 3] = ["a", "b", "c"];

/// What becomes of a write.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It is carried out and answered.
    Answered,
    /// It is never carried out, and not answered.
    Lost,
    /// It is carried out later, and not answered.
    Late,
}

#[derive(Debug, Clone)]
enum Event {
    /// The leader asks every server.
    Probe,
    /// The leader asks, looks at its watch and takes a turn, as it does most of the time.
    Round,
    /// Time goes on.
    Pass(u64),
    /// The leader takes a turn.
    Turn,
    /// What becomes of the writes to one object from now on: a pod, the ledger, or the slices.
    Writes(usize, Fate),
    /// A write of long ago is carried out now, if nothing changed its object since.
    Arrive(usize),
    /// Another process leads: it sees the API server's objects, and remembers nothing.
    Takeover,
    /// The leader before takes one more turn, by what it last saw.
    Zombie,
    /// The watch brings the leader's view up to date.
    Watch,
    /// A server becomes writable on a timeline above all that it knows of.
    Promote(usize),
    /// A server stops; its container ends.
    Crash(usize),
    /// A server starts: as it was, or as a standby of the highest timeline.
    Start(usize, bool),
    /// Nobody reaches a server, or everybody again.
    Cut(usize, bool),
    /// A writable server writes.
    Write(usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![3 => Just(Fate::Answered), 1 => Just(Fate::Lost), 2 => Just(Fate::Late)]
}

fn event() -> impl Strategy<Value = Event> {
    let server = || 0..NAMES.len();
    prop_oneof![
        2 => Just(Event::Probe),
        12 => Just(Event::Round),
        4 => (0..=NAMES.len() + 1, fate()).prop_map(|(object, fate)| Event::Writes(object, fate)),
        4 => (10..2500_u64).prop_map(Event::Pass),
        4 => Just(Event::Turn),
        5 => (0..8_usize).prop_map(Event::Arrive),
        1 => Just(Event::Takeover),
        2 => Just(Event::Zombie),
        2 => Just(Event::Watch),
        4 => server().prop_map(Event::Promote),
        1 => server().prop_map(Event::Crash),
        2 => (server(), any::<bool>()).prop_map(|(server, as_standby)| Event::Start(server, as_standby)),
        2 => (server(), any::<bool>()).prop_map(|(server, cut)| Event::Cut(server, cut)),
        1 => server().prop_map(Event::Write),
    ]
}

#[derive(Debug, Clone, Copy)]
struct Server {
    up: bool,
    cut: bool,
    writable: bool,
    timeline: u32,
    lsn: u64,
}

impl Server {
    fn seen(self) -> Saw {
        let lsn = shared::wal::Lsn(self.lsn);
        match self {
            Self { cut: true, .. } => Saw::Silent,
            Self { up: false, .. } => Saw::Down,
            Self {
                writable: true,
                timeline,
                ..
            } => Saw::Writable(timeline, lsn),
            Self { timeline, .. } => Saw::InRecovery(timeline, lsn),
        }
    }
}

#[derive(Debug)]
struct History {
    servers: [Server; 3],
    /// What becomes of the writes to each pod, to the ledger and, last, to the slices.
    fates: [Fate; 5],
    /// The objects as the API server holds them.
    api: World,
    leader: World,
    /// The rule that a write broke when it was carried out.
    broken: Option<String>,
    /// The leader before, and what it last saw.
    zombie: Option<World>,
    /// Writes that may still be carried out, and by whose reign.
    late: Vec<(Term, Holder, Action)>,
}

impl History {
    /// `families`: those in which the controller writes the slices itself.
    fn new(families: &[Family]) -> Self {
        let standby = Server {
            up: true,
            cut: false,
            writable: false,
            timeline: 1,
            lsn: lsn("0/5000000").0,
        };
        let api = NAMES
            .into_iter()
            .fold(World::new(), |world, name| world.pod(name, |pod| pod));
        let api = if families.is_empty() { api } else { api.routed(families) };
        Self {
            servers: [
                Server {
                    writable: true,
                    ..standby
                },
                standby,
                standby,
            ],
            fates: [Fate::Answered; 5],
            broken: None,
            leader: api.clone(),
            api,
            zombie: None,
            late: Vec::new(),
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Probe => self.probe(),
            Event::Round => {
                self.probe();
                watch(&mut self.leader, &self.api);
                self.happen(&Event::Turn);
            }
            Event::Pass(millis) => self.pass(Duration::from_millis(*millis)),
            Event::Turn => {
                let mut leader = self.leader.clone();
                self.turn(&mut leader);
                self.leader = leader;
            }
            Event::Zombie => {
                if let Some(mut zombie) = self.zombie.take() {
                    self.turn(&mut zombie);
                    self.zombie = Some(zombie);
                }
            }
            Event::Arrive(which) => {
                if !self.late.is_empty() {
                    let (term, holder, action) = self.late.remove(which % self.late.len());
                    self.carry_out(term, holder, &action);
                }
            }
            Event::Writes(object, fate) => self.fates[*object] = *fate,
            Event::Takeover => self.take_over(),
            Event::Watch => watch(&mut self.leader, &self.api),
            Event::Promote(at) => {
                let highest = self
                    .servers
                    .iter()
                    .filter(|server| server.up)
                    .map(|server| server.timeline)
                    .max();
                let server = &mut self.servers[*at];
                if server.up && !server.writable {
                    server.timeline = highest.unwrap_or(server.timeline) + 1;
                    server.writable = true;
                }
            }
            Event::Crash(at) => self.servers[*at].up = false,
            Event::Start(at, as_standby) => {
                let highest = self.servers.iter().map(|server| server.timeline).max();
                let server = &mut self.servers[*at];
                if !server.up {
                    server.up = true;
                    if *as_standby {
                        server.writable = false;
                        server.timeline = highest.unwrap_or(server.timeline);
                    }
                }
            }
            Event::Cut(at, cut) => self.servers[*at].cut = *cut,
            Event::Write(at) => self.servers[*at].lsn += 1 << 20,
        }
    }

    fn probe(&mut self) {
        for (name, server) in NAMES.into_iter().zip(self.servers) {
            self.leader = self.leader.clone().see(name, server.seen());
        }
    }

    fn pass(&mut self, span: Duration) {
        for world in [Some(&mut self.api), Some(&mut self.leader), self.zombie.as_mut()]
            .into_iter()
            .flatten()
        {
            world.observed.at = world.observed.at + span;
        }
    }

    fn take_over(&mut self) {
        let mut next = self.leader.clone();
        let at = next.observed.at;
        for pod in next.observed.pods.values_mut() {
            pod.sightings = Sightings::default();
            pod.unknown = false;
            pod.out_of_write_since = Some(at);
        }
        next.observed.ledger_unknown = false;
        for held in next
            .observed
            .slices
            .slices
            .values_mut()
            .filter_map(|slice| slice.held.as_mut())
        {
            held.unknown = false;
        }
        let reign = &mut next.observed.reign;
        reign.term = reign.term.next().expect("few reigns");
        reign.holder = Holder(reign.term.0);
        (reign.began, reign.mark_written, reign.nodes_replied) = (at, at, 3);
        watch(&mut next, &self.api);
        self.zombie = Some(std::mem::replace(&mut self.leader, next));
    }

    /// One turn of a leader, rightful or not.
    fn turn(&mut self, leader: &mut World) {
        let (term, holder) = (leader.observed.reign.term, leader.observed.reign.holder);
        let plan = leader.plan();
        for action in &plan.actions {
            let object = target(action).and_then(|pod| NAMES.iter().position(|name| *name == pod.name));
            let other = if action.slice().is_some() {
                NAMES.len() + 1
            } else {
                NAMES.len()
            };
            match self.fates[object.unwrap_or(other)] {
                Fate::Answered => {
                    self.judge(action);
                    let done = self.carry_out(term, holder, action);
                    look(leader, &self.api, action, done);
                }
                Fate::Lost => unsettled(&mut leader.observed, action),
                Fate::Late => {
                    unsettled(&mut leader.observed, action);
                    self.late.push((term, holder, action.clone()));
                }
            }
        }
    }

    /// What the API server does with a write: it is refused if its object changed since.
    fn carry_out(&mut self, term: Term, holder: Holder, action: &Action) -> bool {
        if !expects(&self.api.observed, action) {
            return false;
        }
        (self.api.observed.reign.term, self.api.observed.reign.holder) = (term, holder);
        self.api.apply(action);
        true
    }

    /// I9: nobody is listed for writes anew who is not the mark's. A write that comes late was right when it was sent.
    fn judge(&mut self, action: &Action) {
        let Action::SetEndpoints { slice, service, to, .. } = action else {
            return;
        };
        if !expects(&self.api.observed, action) {
            return;
        }
        let observed = &self.api.observed;
        let listed = |pod: &PodKey| {
            let held = observed.slices.slices[&slice.name].held.as_ref();
            held.is_some_and(|held| held.listing.endpoints.iter().any(|endpoint| endpoint.pod == *pod))
        };
        for endpoint in to
            .endpoints
            .iter()
            .filter(|endpoint| *service == "rw" && !listed(&endpoint.pod))
        {
            let data = &observed.pods[&endpoint.pod].data;
            if observed.mark().is_none_or(|mark| mark.data != *data) {
                self.broken = Some(format!(
                    "{} is listed, the mark is {:?}",
                    endpoint.pod.name,
                    observed.mark()
                ));
            }
        }
    }

    /// The end of all trouble: everything is reached, heard and answered.
    fn come_to_rest(&mut self) -> Result<(), TestCaseError> {
        self.late.clear();
        self.fates = [Fate::Answered; 5];
        for server in &mut self.servers {
            server.cut = false;
        }
        for _ in 0..REST {
            self.pass(seconds(4));
            watch(&mut self.leader, &self.api);
            self.probe();
            self.happen(&Event::Turn);
            self.check()?;
        }
        prop_assert!(
            told(&self.leader.plan()).is_empty(),
            "it does not come to rest: {:?}",
            told(&self.leader.plan())
        );
        Ok(())
    }

    /// I1, as the API server's objects show it.
    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert!(self.api.primaries() < 2, "two primaries");
        prop_assert!(self.api.listed().len() < 2, "two are listed: {:?}", self.api.listed());
        prop_assert!(self.broken.is_none(), "{:?}", self.broken);
        Ok(())
    }
}

proptest! {
    #![proptest_config(Config { cases: CASES, failure_persistence: None, ..Config::default() })]

    /// I1, I9: whatever happens, two pods are never labelled primary, and the mark never falls. I5: then it comes to rest.
    #[test]
    fn i1_i5_i9_hold_through_any_history(events in vec(event(), 0..EVENTS), routing in 0..3_usize) {
        let mut history = History::new(&FAMILIES[..routing]);
        let mut highest: Option<Mark> = None;
        for event in &events {
            history.happen(event);
            history.check()?;
            let mark = history.api.observed.mark().cloned();
            if let (Some(before), Some(now)) = (&highest, &mark) {
                prop_assert!((now.timeline, now.lsn) >= (before.timeline, before.lsn), "the mark fell from {before:?} to {now:?}");
                prop_assert_eq!(now.system_identifier, SYSTEM);
            }
            highest = mark.or(highest);
        }
        history.come_to_rest()?;
    }
}

/// The same where the controller writes the slices itself.
#[test]
fn a_promotion_moves_the_endpoint() {
    for families in [&FAMILIES[..1], &FAMILIES[..]] {
        let mut history = History::new(families);
        history.come_to_rest().expect("rest");
        assert_eq!(history.api.listed(), [key("a")].into());
        history.happen(&Event::Crash(0));
        history.happen(&Event::Promote(1));
        history.happen(&Event::Takeover);
        history.come_to_rest().expect("rest");
        assert_eq!(history.api.listed(), [key("b")].into());
    }
}

/// A history in which nothing is ever granted would prove nothing.
#[test]
fn a_quiet_history_grants_and_a_promotion_moves_the_label() {
    let mut history = History::new(&[]);
    history.come_to_rest().expect("rest");
    assert_eq!(history.api.label("a"), Some(&LabelState::Known(Role::Primary)));
    history.happen(&Event::Crash(0));
    history.happen(&Event::Promote(1));
    history.happen(&Event::Takeover);
    history.come_to_rest().expect("rest");
    assert_eq!(history.api.label("b"), Some(&LabelState::Known(Role::Primary)));
    assert_eq!(history.api.observed.pods[&key("a")].label, LabelState::Absent);
}
