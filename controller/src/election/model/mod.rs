//! A model of elector, fence and zombie, checked exhaustively within written bounds. Tests I1 and I2 of docs/invariants.md, and
//! the fence of docs/architecture.md.
//!
//! ```text
//! process --ask, take--> [ shipped Book, Expiry ] --patch--.                .--> Lease
//!    |                                                     +--> requests ---+
//!    '----list, turn---> [ shipped rank, decide, permit ] -'    any order,  '--> pods, ledger
//!                                                               late, twice
//! ```
//!
//! The states are explored by stateright. What the shipped code decides is decided here by the shipped code: `Book` and `Expiry`
//! (when the Lease may be taken, what a patch expects, which term it writes, probation), `State`, `Leadership` and `permit` (when a
//! reign begins, goes on and ends), `rank` (the floor rule), and `decide` with all its rules (stamps, withdrawals, mark, grants,
//! stepping down). What is left out, and why nothing is lost by it:
//!
//! | left out | here | why that is enough |
//! |---|---|---|
//! | the election library | `contest::library`, a copy of its three-way choice | a test puts the same questions to the library itself |
//! | the loops of elector and leader | steps that may come at any time, or never | every order of theirs is among the orders tried; a pause is a step that does not come |
//! | continuous time | steps of half a ttl; *or* a clock for each process that runs as it likes | the first for what rests on time (the permit), the second because the fence must not rest on it |
//! | a stamp's number | the object's version rises at every write | that is all the number is for; a planted defect leaves it out |
//! | watches and their lag | each turn looks at the objects as they are, its writes arrive whenever | a late look is a late write: both are refused by the version that they expect |
//! | PostgreSQL | two servers, of which one takes writes; promotions in turn | what else a server may do is for `decide`'s own tests |
//!
//! Requests are carried out in any order, at any time after they were sent, whether or not the sender still waits or lives; some
//! twice. A request that can never be carried out any more, and whose sender does not wait, counts as arrived and refused at once.

mod api_server;
mod contest;
mod office;
#[cfg(test)]
mod tests;
mod world;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use shared::role::Role;
use stateright::{CheckerBuilder, Model, Property};

use api_server::{Fate, is_over};
use office::{Step, View, has_permit};
use world::{HeldLease, Office, Process, Spent, Stage, World, Write};

/// A defect that the model must be able to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Planted {
    /// Patches of the Lease expect nothing.
    NoCompareAndSwap,
    /// A renewal counts from its answer, not from before it was sent.
    UntilFromTheAnswer,
    /// A Lease made anew is reigned under at once.
    NoProbation,
    /// Writes to pods and ledger expect nothing.
    NoPrecondition,
    /// A new leader takes every object for its own: it grants without having stamped.
    GrantBeforeStamp,
    /// A leader that meets a higher stamp goes on.
    ZombieGoesOn,
    /// A write without an answer is taken for one that was not carried out.
    UnknownForgotten,
    /// Two stamps of one reign are the same, so that a second one changes nothing.
    StampsWithoutNumber,
}

/// How clocks go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clocks {
    /// All alike.
    Alike,
    /// Each as it likes: a virtual machine that was stopped finds its permit as it left it.
    Apart,
}

/// Where a history begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// No Lease, no ledger, nothing stamped.
    Blank,
    /// A Lease that was given back.
    Released,
    /// The first process leads, its route is settled, and the others have looked at the Lease.
    Settled,
    /// The same, and the second server is down.
    Alone,
}

/// What is explored.
#[derive(Debug)]
struct Scope {
    processes: u32,
    starts: &'static [Start],
    clocks: Clocks,
    /// Whether an attempt of an elector is one step; else its read, its write and its answer come one by one.
    whole_attempts: bool,
    /// Whether leaders write to pods and ledger.
    governs: bool,
    /// What may happen, and how often.
    limits: Spent,
    /// How far from the start it is explored; without a number: wherever it leads.
    steps: Option<usize>,
    /// What has to be seen at least once.
    reached: &'static [Reached],
    planted: Option<Planted>,
    plans: Plans,
}

/// A state that has to be reached, or the bounds are too narrow to mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    TakenOver,
    LateWriteRefused,
    Raised,
    SteppedDown,
    SecondReign,
    Probation,
}

/// Every decision that was asked for so far: `decide` answers the same question always alike (I4), so it is asked once.
#[derive(Debug, Default)]
struct Plans(Mutex<HashMap<View, Arc<[Step]>>>);

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happens {
    /// The elector's read is carried out.
    Ask(usize),
    /// Its answer arrives, and the elector writes.
    Take(usize),
    /// The write's answer arrives.
    Conclude(usize),
    /// The elector's attempt takes too long.
    GiveUpAttempt(usize),
    /// A whole attempt, with or without the answer to its write.
    Attempt(usize, bool),
    /// The process gives the Lease back.
    Release(usize),
    /// The new leader reads every stamp.
    List(usize),
    /// The new leader raises its term if it has to; with or without the answer to that.
    Outrank(usize, bool),
    /// The leader takes a turn.
    Turn(usize),
    /// The leader's write takes too long.
    GiveUpWrite(usize),
    /// A request arrives.
    Arrive(usize, Fate),
    /// Time goes on for everybody.
    Pass,
    /// A ttl passes by this process's own clock.
    PassFor(usize),
    /// The process is killed, and starts again under its pod's name.
    Crash(usize),
    /// Somebody deletes the Lease.
    DeleteLease,
    /// A standby is promoted, and the server before goes down.
    Promote,
}

// === impl Plans ===

impl Plans {
    fn of(&self, view: &View) -> Arc<[Step]> {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(plans.entry(view.clone()).or_insert_with(|| view.decide().into()))
    }
}

// === impl Scope ===

impl Scope {
    /// The exploration of this scope, to be begun.
    fn checker(self) -> CheckerBuilder<Self> {
        let steps = self.steps;
        let builder = Model::checker(self);
        match steps {
            // There the start is the first step, and the last is not looked at.
            Some(steps) => builder.target_max_depth(steps + 2),
            None => builder,
        }
    }

    fn start(&self, start: Start) -> World {
        let mut world = World::new(self.processes);
        if start == Start::Blank {
            return world;
        }
        let released = HeldLease {
            uid: 1,
            version: 1,
            holder: None,
            term: shared::term::Term(4),
        };
        (world.lease, world.leases) = (Some(released), 1);
        if let Start::Settled | Start::Alone = start {
            world.attempt(0, None, true, self.planted);
            world.list(0);
            world.outrank(0, true, self.planted);
            self.rest(&mut world);
            for other in 1..world.processes.len() {
                world.attempt(other, None, true, self.planted);
            }
        }
        if start == Start::Alone {
            world.phase = office::ALONE;
            self.rest(&mut world);
        }
        world.spent = Spent::default();
        world
    }

    /// The first process takes turns, and everything is answered, until nothing is left to do.
    fn rest(&self, world: &mut World) {
        loop {
            world.turn(0, &self.plans, self.planted);
            if world.requests.is_empty() {
                return;
            }
            while !world.requests.is_empty() {
                world.deliver(0, Fate::Answered, self.planted);
            }
        }
    }

    fn of_elector(&self, world: &World, at: usize, process: &Process, happens: &mut Vec<Happens>) {
        let limits = &self.limits;
        match process.attempt.map(|attempt| attempt.stage) {
            None if self.whole_attempts => {
                // A renewal that finds the Lease as it was left changes nothing.
                let holds = world.lease.is_some_and(|lease| lease.holder == Some(process.holder));
                let keeps = process.reign.is_some() || process.is_on_probation();
                if !(holds && keeps) {
                    happens.push(Happens::Attempt(at, true));
                    if world.spent.losses < limits.losses {
                        happens.push(Happens::Attempt(at, false));
                    }
                }
            }
            None => happens.push(Happens::Ask(at)),
            Some(Stage::Read(_)) => happens.push(Happens::Take(at)),
            Some(Stage::Sent) => happens.push(Happens::GiveUpAttempt(at)),
            Some(Stage::Answered(_)) => happens.extend([Happens::Conclude(at), Happens::GiveUpAttempt(at)]),
        }
        if process.attempt.is_none() && process.reign.is_some() && world.spent.releases < limits.releases {
            happens.push(Happens::Release(at));
        }
    }

    fn of_leader(&self, world: &World, at: usize, process: &Process, happens: &mut Vec<Happens>) {
        match process.reign.map(|reign| reign.office) {
            Some(Office::New) => happens.push(Happens::List(at)),
            Some(Office::Listed(_)) => {
                happens.push(Happens::Outrank(at, true));
                if world.is_outranked(at) && world.spent.losses < self.limits.losses {
                    happens.push(Happens::Outrank(at, false));
                }
            }
            // A route has one turn's writes under way at most.
            Some(Office::Governs { .. }) if !world.is_writing(at) => happens.push(Happens::Turn(at)),
            Some(Office::Governs { .. }) | None => {}
        }
    }

    fn of_requests(&self, world: &World, happens: &mut Vec<Happens>) {
        for (at, request) in world.requests.iter().enumerate() {
            if at > 0 && world.requests[at - 1] == *request {
                continue;
            }
            happens.push(Happens::Arrive(at, Fate::Answered));
            if world.spent.repeats < self.limits.repeats {
                happens.push(Happens::Arrive(at, Fate::Repeated));
            }
            let is_write = matches!(request.write, Write::Object { .. });
            if is_write && request.awaited_by.is_some() && world.spent.losses < self.limits.losses {
                happens.push(Happens::GiveUpWrite(at));
            }
        }
    }

    fn happen(&self, world: &mut World, happens: Happens) {
        let planted = self.planted;
        match happens {
            Happens::Ask(at) => world.ask(at, planted),
            Happens::Take(at) => world.take(at),
            Happens::Conclude(at) => world.conclude(at, planted),
            Happens::GiveUpAttempt(at) => world.give_up_attempt(at),
            Happens::Attempt(at, answered) => world.attempt(at, None, answered, planted),
            Happens::Release(at) => {
                world.spent.releases += 1;
                world.release(at, planted);
            }
            Happens::List(at) => world.list(at),
            Happens::Outrank(at, answered) => world.outrank(at, answered, planted),
            Happens::Turn(at) => world.turn(at, &self.plans, planted),
            Happens::GiveUpWrite(at) => {
                world.spent.losses += 1;
                world.give_up_write(at);
            }
            Happens::Arrive(at, fate) => world.deliver(at, fate, planted),
            Happens::Pass => {
                world.spent.steps += 1;
                world.processes.iter_mut().for_each(|process| process.clock += 1);
                world.expire();
            }
            Happens::PassFor(at) => {
                world.spent.steps += 1;
                world.processes[at].clock += contest::ttl_steps();
                world.expire();
            }
            Happens::Crash(at) => {
                world.spent.crashes += 1;
                world.stop_waiting(at, |_| true);
                let Process { holder, clock, .. } = world.processes[at];
                world.processes[at] = Process::new(office::restarted(holder), clock);
            }
            Happens::DeleteLease => {
                world.spent.deletions += 1;
                world.lease = None;
            }
            Happens::Promote => {
                world.spent.promotions += 1;
                world.phase += 1;
            }
        }
        self.settle_requests(world);
    }

    /// Requests that nobody waits for and that cannot be carried out any more count as arrived.
    fn settle_requests(&self, world: &mut World) {
        if let Some(Planted::NoCompareAndSwap | Planted::NoPrecondition | Planted::StampsWithoutNumber) = self.planted {
            return;
        }
        let (requests, mut refused) = (std::mem::take(&mut world.requests), false);
        let granted = world.history.granted;
        for request in requests {
            let alive = match request.write {
                Write::Lease { expected, .. } => match (expected, world.lease) {
                    (Some((uid, version)), Some(lease)) => uid == lease.uid && version == lease.version,
                    // It may be deleted.
                    (None, _) => true,
                    (Some(_), None) => false,
                },
                Write::Object { object, expected, .. } => world.fits(object, expected, None),
            };
            if alive || request.awaited_by.is_some() {
                world.requests.push(request);
            } else if let (Write::Object { .. }, Some(granted)) = (request.write, granted) {
                refused |= is_over(request.seal, granted);
            }
        }
        world.history.late_write_refused |= refused;
    }
}

impl Model for Scope {
    type State = World;
    type Action = Happens;

    fn init_states(&self) -> Vec<World> {
        self.starts.iter().map(|start| self.start(*start)).collect()
    }

    fn actions(&self, world: &World, happens: &mut Vec<Happens>) {
        let (spent, limits) = (&world.spent, &self.limits);
        for (at, process) in world.processes.iter().enumerate() {
            self.of_elector(world, at, process, happens);
            if self.governs {
                self.of_leader(world, at, process, happens);
            }
            if spent.crashes < limits.crashes {
                happens.push(Happens::Crash(at));
            }
            if self.clocks == Clocks::Apart && spent.steps < limits.steps && process.waits() {
                happens.push(Happens::PassFor(at));
            }
        }
        self.of_requests(world, happens);
        if self.clocks == Clocks::Alike && spent.steps < limits.steps {
            happens.push(Happens::Pass);
        }
        if world.lease.is_some() && spent.deletions < limits.deletions {
            happens.push(Happens::DeleteLease);
        }
        if spent.promotions < limits.promotions {
            happens.push(Happens::Promote);
        }
    }

    fn next_state(&self, world: &World, happens: Happens) -> Option<World> {
        let mut next = world.clone();
        self.happen(&mut next, happens);
        (next != *world).then_some(next)
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.spent.lease_writes <= self.limits.lease_writes
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("at most one pod is labelled primary", |_, world: &World| {
                primaries(world) < 2
            }),
            Property::always(
                "no write of a reign is carried out after the next one's first grant",
                |_, world: &World| !world.history.late_write_carried_out,
            ),
            Property::always(
                "once a reign has granted, no write of an earlier one can be carried out",
                is_fenced,
            ),
            Property::always("the term on an object never falls", |_, world: &World| {
                !world.history.term_fell
            }),
            Property::always("at most one process has a permit", |scope: &Self, world: &World| {
                scope.clocks == Clocks::Apart
                    || world.processes.iter().filter(|process| has_permit(process)).count() < 2
            }),
        ];
        properties.extend(self.reached.iter().map(|reached| match reached {
            Reached::TakenOver => Property::sometimes("one reign grants after another", |_, world: &World| {
                world.history.taken_over
            }),
            Reached::LateWriteRefused => {
                Property::sometimes("a zombie's late write comes and is refused", |_, world: &World| {
                    world.history.late_write_refused
                })
            }
            Reached::Raised => Property::sometimes("a reign raises its term above the floor", |_, world: &World| {
                world.history.raised
            }),
            Reached::SteppedDown => {
                Property::sometimes("a zombie meets a higher claim and stops", |_, world: &World| {
                    world.history.stepped_down
                })
            }
            Reached::SecondReign => Property::sometimes("a process reigns twice", |_, world: &World| {
                world.processes.iter().any(|process| process.reigns > 1)
            }),
            Reached::Probation => Property::sometimes("a Lease made anew is held on probation", |_, world: &World| {
                world.processes.iter().any(Process::is_on_probation)
            }),
        }));
        properties
    }
}

fn primaries(world: &World) -> usize {
    world.pods.iter().filter(|pod| pod.label == Some(Role::Primary)).count()
}

fn is_fenced(scope: &Scope, world: &World) -> bool {
    let Some(granted) = world.history.granted else {
        return true;
    };
    world.requests.iter().all(|request| match request.write {
        Write::Object { object, expected, .. } => {
            !is_over(request.seal, granted) || !world.fits(object, expected, scope.planted)
        }
        Write::Lease { .. } => true,
    })
}
