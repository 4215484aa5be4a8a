//! Everything that the replicas share, and what is about to happen.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use tokio::{
    sync::{Notify, oneshot},
    task::{AbortHandle, JoinSet},
};

use super::{
    api_server::ApiServer,
    faults::{Counters, Fault},
    flight::{Answer, Flight, Got},
    host::Began,
    judge::Judge,
    postgres::Servers,
    replica::Host,
    slices::Endpoint,
    standstill::Standstill,
    story::Story,
    trace::Trace,
};

/// Something that is about to happen outside the replicas.
#[derive(Debug)]
pub(crate) enum Event {
    /// A request reaches the API server.
    Carry(Box<Flight>),
    /// An answer reaches its replica.
    Answer(Box<Answer>),
    /// An event, or the end, reaches the reader of a watch.
    Deliver { watch: u64, frame: super::watches::Frame },
    /// The endpoint slices are brought up to date.
    Slices,
    /// What the story has in store.
    Story(super::story::Beat),
}

/// One seed's world.
#[derive(Debug)]
pub(crate) struct World {
    /// What time it is.
    pub(crate) now: Duration,
    pub(crate) rng: SmallRng,
    pub(crate) agenda: Agenda,
    pub(crate) api: ApiServer,
    pub(crate) servers: Servers,
    pub(crate) hosts: Vec<Host>,
    /// What the endpoint slices hold, and whether a change is under way.
    pub(crate) slices: BTreeMap<&'static str, Vec<Endpoint>>,
    pub(crate) slices_due: bool,
    /// Senders that wait for an answer that does not come.
    pub(crate) hung: Vec<oneshot::Sender<Got>>,
    pub(crate) story: Story,
    pub(crate) judge: Judge,
    pub(crate) counters: Counters,
    pub(crate) trace: Trace,
}

/// What is about to happen, in order.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    events: BinaryHeap<Reverse<Entry>>,
    numbered: u64,
}

#[derive(Debug)]
struct Entry {
    at: Duration,
    number: u64,
    event: Event,
}

/// The world, and what wakes the one who moves it.
#[derive(Debug)]
pub(crate) struct Sim {
    world: Mutex<World>,
    pub(crate) began: Began,
    /// The agenda has a new first event, or a trap went off.
    pub(crate) stirred: Arc<Notify>,
    pub(crate) standstill: Arc<Standstill>,
    processes: Mutex<JoinSet<()>>,
}

// === impl Sim ===

impl Sim {
    pub(crate) fn new(seed: u64, shown: bool, began: Began) -> Arc<Self> {
        let mut rng = SmallRng::seed_from_u64(seed);
        let story = Story::new(&mut rng);
        let servers = Servers::new(&mut rng);
        let world = World {
            now: Duration::ZERO,
            agenda: Agenda::default(),
            api: ApiServer::new(&story, &servers),
            servers,
            hosts: Vec::new(),
            slices: BTreeMap::new(),
            slices_due: false,
            hung: Vec::new(),
            judge: Judge::new(&story),
            story,
            counters: Counters::default(),
            trace: Trace::new(shown),
            rng,
        };
        Arc::new(Self {
            world: Mutex::new(world),
            began,
            stirred: Arc::new(Notify::new()),
            standstill: Arc::default(),
            processes: Mutex::default(),
        })
    }

    /// The world as it is now.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.standstill.look();
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.now = self.began.elapsed();
        world
    }

    /// Begins a process.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .spawn(work)
    }

    /// Ends all processes, and whatever is under way.
    pub(crate) fn end(&self) {
        drop(std::mem::take(
            &mut *self.processes.lock().unwrap_or_else(PoisonError::into_inner),
        ));
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let (agenda, hung) = (std::mem::take(&mut world.agenda), std::mem::take(&mut world.hung));
        let hosts = std::mem::take(&mut world.hosts);
        drop(world);
        drop((agenda, hung, hosts));
    }

    /// Puts something on the agenda.
    pub(crate) fn plan(&self, world: &mut World, after: Duration, event: Event) {
        if world.plan(after, event) {
            self.stirred.notify_one();
        }
    }
}

// === impl World ===

impl World {
    /// Puts something on the agenda; whether it comes first.
    pub(crate) fn plan(&mut self, after: Duration, event: Event) -> bool {
        self.agenda.add(self.now + after, event)
    }

    /// It happened.
    pub(crate) fn fault(&mut self, fault: Fault) {
        self.counters.count(fault);
        self.trace
            .line(self.now, &[1, fault as u64], || format!("        fault: {fault:?}"));
    }

    /// True once in so many thousand times.
    pub(crate) fn permille(&mut self, rate: u32) -> bool {
        rate > 0 && self.rng.random_ratio(rate.min(1000), 1000)
    }

    /// Any span between two.
    pub(crate) fn span(&mut self, from_millis: u64, to_millis: u64) -> Duration {
        Duration::from_micros(self.rng.random_range(from_millis * 1000..=to_millis * 1000))
    }
}

// === impl Agenda ===

impl Agenda {
    fn add(&mut self, at: Duration, event: Event) -> bool {
        let number = self.numbered;
        self.numbered += 1;
        let first = self.next().is_none_or(|next| at < next);
        self.events.push(Reverse(Entry { at, number, event }));
        first
    }

    /// When the next event is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.events.peek().map(|Reverse(entry)| entry.at)
    }

    /// The next event, if it is due.
    pub(crate) fn take(&mut self, now: Duration) -> Option<Event> {
        if self.next()? > now {
            return None;
        }
        self.events.pop().map(|Reverse(entry)| entry.event)
    }
}

// === impl Entry ===

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
