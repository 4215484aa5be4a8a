//! One reign of one leader: the informers, the probes, and the loop that gives every route its turns.
//!
//! ```text
//! watches ---> stores ---.                                 .---> turn (permit, apply)
//!                        +--> due routes --> observe, decide
//! probes ----> sightings-'                                 '---> report (status, Events)
//! ```
//!
//! The loop owns all state and never waits for the API server or for PostgreSQL itself. A route has at most one turn's writes and one
//! report under way. When the reign ends everything here is dropped; the next one looks at everything anew.

mod acceptance;
mod credentials;
mod effects;
pub(crate) mod fence;
mod memory;
mod observe;
mod owners;
mod prober;
mod probing;
pub(crate) mod record;
mod report;
mod showing;
mod slices;
mod stores;
mod switching;
mod tending;
mod turn;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use kube::{Client, Resource, ResourceExt};
use shared::term::Term;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    chain::Chain,
    clock::{Clock, Tick},
    election::{self, Reign, StepDown},
    health::Health,
    host::Host,
    live::Live,
    metrics::{Metrics, Queue},
    shown::Shown,
    stamp::Holder,
    tasks::Tasks,
    trace::Span,
    writer::Writer,
};
use credentials::Credentials;
use prober::{Seen, Surroundings};
use stores::{Due, Stores};
use tending::Tended;

/// Every route has a turn at least this often, so that a lost event costs seconds, never for ever.
const TURN_EVERY: Duration = Duration::from_secs(2);

/// The loop comes round at least this often, if only to notice that the process stood still.
const ROUND_MAX: Duration = Duration::from_millis(500);

/// A loop that comes round so much later than it meant to stood still with its process (SIGSTOP, a paused virtual machine, no share of the
/// processor). What was not heard meanwhile is no server's silence.
const STOOD_STILL: Duration = Duration::from_millis(500);

/// Sightings that wait for the loop. It takes thousands a second; more than this means that it is stuck, and the probes wait.
const SIGHTINGS_MAX: usize = 4096;

/// After a zombie has stopped it lets the others lead for this long.
const ZOMBIE_PAUSE: Duration = Duration::from_secs(5);

/// A leader that sees no server of any route stays out of the election for so long at least.
const BLIND_PAUSE_MIN: Duration = Duration::from_secs(5);

/// See [`BLIND_PAUSE_MIN`].
const BLIND_PAUSE_MAX: Duration = Duration::from_mins(1);

/// Which route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name, and its ledger's.
    pub name: String,
}

impl RouteKey {
    /// The key of a route, or of the route of a ledger.
    fn of<K: Resource>(object: &K) -> Self {
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        }
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What every reign of a process works with.
pub struct Context {
    client: Client,
    election: election::Handle,
    host: Host,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    live: Arc<Live>,
    writer: Writer,
    namespaces: Vec<String>,
    /// The process is to end: no new turn begins.
    stop: CancellationToken,
    /// Whether the Lease was given up for blindness, and nothing has replied since.
    gave_up_blind: AtomicBool,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("namespaces", &self.namespaces)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// `client` must not retry by itself; no `namespaces` means all.
    pub fn new(
        client: Client,
        election: election::Handle,
        host: Host,
        shown: Shown,
        namespaces: Vec<String>,
        stop: CancellationToken,
    ) -> Self {
        let clock = Arc::clone(&host.clock);
        let Shown { health, metrics, live } = shown;
        let writer = Writer::new(client.clone(), Arc::clone(&clock), Arc::clone(&metrics));
        let gave_up_blind = AtomicBool::new(false);
        Self {
            client,
            election,
            host,
            clock,
            metrics,
            health,
            live,
            writer,
            namespaces,
            stop,
            gave_up_blind,
        }
    }
}

/// Leads until the reign is over or the process is to end. When it returns, no write of it is under way any more, except
/// ones that were cut off with the reign itself; the next leader's stamps take care of those.
pub async fn lead(context: &Arc<Context>, reign: Reign) {
    context.metrics.leads(reign.term);
    context.health.leads(reign.term);
    let (lost, number) = (reign.lost.clone(), reign.number);
    let accession = accession(context, &reign);
    let why = tokio::select! {
        biased;
        () = lost.cancelled() => {
            let _within = accession.enter();
            warn!(reign = number, "the reign is over");
            "lost"
        }
        () = govern(context, reign, &accession) => "given up",
    };
    let now = context.clock.now();
    accession.end(now);
    let end = context
        .host
        .tracer
        .begin("reign over", now, context.clock.as_ref(), &[&accession]);
    end.say("reign", i64::try_from(number).unwrap_or(i64::MAX))
        .say("why", why);
    end.end(context.clock.now());
    context.metrics.follows();
    context.live.clear();
}

/// The trace of a change of leadership: from the Lease until the leader's first turn.
fn accession(context: &Context, reign: &Reign) -> Span {
    let span = context
        .host
        .tracer
        .begin("take over", reign.began, context.clock.as_ref(), &[]);
    span.say("term", i64::from(reign.term.0))
        .say("reign", i64::try_from(reign.number).unwrap_or(i64::MAX))
        .say("holder", reign.holder.clone());
    let _within = span.enter();
    info!(term = %reign.term, reign = reign.number, "leading");
    span.clone()
}

async fn govern(context: &Arc<Context>, reign: Reign, accession: &Span) {
    let gate = &context.host.gate;
    let mut watches = Tasks::new(gate);
    let due = Arc::new(Due::default());
    let stores = Arc::new(Stores::follow(&context.client, &context.namespaces, &due, &mut watches));
    let filling = accession.child("fill stores", context.clock.now());
    tokio::select! {
        biased;
        ready = wait_beating(context, stores.ready()) => {
            if let Err(error) = ready {
                error!(%error, "a watch ended before it had brought everything");
                return;
            }
        }
        () = context.stop.cancelled() => return,
    }
    filling.end(context.clock.now());
    let Some(holder) = Holder::of_identity(&reign.holder) else {
        error!(identity = reign.holder, "the identity carries no holder");
        return;
    };
    let fence = accession.child("fence", context.clock.now());
    let outranks = fence.around(fence::outrank(&context.election, stores.scopes())).await;
    fence.end(context.clock.now());
    if !outranks {
        fence.fail("somebody has a higher claim");
        context.election.step_down(StepDown::Zombie, ZOMBIE_PAUSE).await;
        return;
    }
    let (out, seen) = mpsc::channel(SIGHTINGS_MAX);
    let credentials = Arc::new(Credentials::new(context.client.clone(), Arc::clone(&context.clock)));
    let surroundings = Surroundings {
        credentials: Arc::clone(&credentials),
        host: context.host.clone(),
        metrics: Arc::clone(&context.metrics),
        out,
    };
    let mut government = Government {
        context: Arc::clone(context),
        holder,
        stores,
        due,
        surroundings,
        routes: BTreeMap::new(),
        probes: Tasks::new(gate),
        turns: Tasks::new(gate),
        reports: Tasks::new(gate),
        owners: owners::Owners::new(gate),
        accession: accession.clone(),
    };
    context.health.synced(reign.term);
    accession.end(context.clock.now());
    government.run(seen, &mut watches).await;
}

/// Waits, and says meanwhile that the process is alive.
async fn wait_beating<T>(context: &Context, ready: impl Future<Output = T>) -> T {
    let mut ready = std::pin::pin!(ready);
    loop {
        context.health.beat();
        if let Ok(ready) = tokio::time::timeout(TURN_EVERY, &mut ready).await {
            return ready;
        }
    }
}

/// Something that must not happen. The reign ends with it, and with the reign the process: what is broken here is not to be led on.
#[derive(Debug, thiserror::Error)]
enum Defect {
    /// A task panicked.
    #[error("a task ended unexpectedly")]
    Task(#[from] tokio::task::JoinError),
    /// A watch came to an end by itself.
    #[error("the watch on {0} ended")]
    Watch(&'static str),
}

/// The state of a reign.
struct Government {
    context: Arc<Context>,
    holder: Holder,
    stores: Arc<Stores>,
    due: Arc<Due>,
    surroundings: Surroundings,
    routes: BTreeMap<RouteKey, Tended>,
    probes: Tasks<()>,
    turns: Tasks<turn::Done>,
    reports: Tasks<report::Reported>,
    owners: owners::Owners,
    /// The change of leadership that the reign began with.
    accession: Span,
}

impl Government {
    async fn run(&mut self, mut seen: mpsc::Receiver<Seen>, watches: &mut Tasks<&'static str>) {
        self.everything_is_due();
        let mut meant = self.context.clock.now();
        let mut round_due = meant + TURN_EVERY;
        let context = Arc::clone(&self.context);
        while !context.stop.is_cancelled() {
            context.health.beat();
            let now = context.clock.now();
            if now.since(meant) >= STOOD_STILL {
                self.look_anew(now, now.since(meant));
            }
            if now >= round_due {
                self.everything_is_due();
                self.show_sizes(seen.len());
                round_due = now + TURN_EVERY;
            }
            self.wake_routes(now);
            for route in self.due.take() {
                self.turn(&route);
            }
            if self.all_blind() {
                self.give_up_blind().await;
                return;
            }
            let now = context.clock.now();
            let pause = self.next_wake(round_due).since(now);
            let pause = pause.clamp(Duration::from_millis(1), ROUND_MAX);
            meant = now + pause;
            match self.next(&mut seen, watches, pause).await {
                Ok(None) => {}
                Ok(Some(met)) => {
                    warn!(%met, "this replica is not the latest leader: it stops and leaves the Lease alone");
                    context.election.step_down(StepDown::Zombie, ZOMBIE_PAUSE).await;
                    return;
                }
                Err(defect) => {
                    error!(defect = %Chain(&defect), "the reign ends with it");
                    return;
                }
            }
        }
        self.last_writes().await;
    }

    /// Waits for whatever comes first, and takes it in. Answers the term of somebody with a higher claim, if one was met.
    async fn next(
        &mut self,
        seen: &mut mpsc::Receiver<Seen>,
        watches: &mut Tasks<&'static str>,
        pause: Duration,
    ) -> Result<Option<Term>, Defect> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the pace of the loop; the tick decides what is due"
        )]
        let paused = tokio::time::sleep(pause);
        tokio::select! {
            // What was written before what was seen, and all that is there before the next turn.
            biased;
            () = self.context.stop.cancelled() => {}
            Some(ended) = watches.join_next() => return Err(Defect::Watch(ended?)),
            Some(done) = self.turns.join_next() => return Ok(self.turned(done?)),
            Some(reported) = self.reports.join_next() => self.reported(reported?),
            Some(read) = self.owners.reads.join_next() => {
                let (uid, owner) = read?;
                self.learn(uid, owner);
            }
            Some(ended) = self.probes.join_next() => match ended {
                // A probe that was called off.
                Err(error) if error.is_cancelled() => {}
                ended => ended?,
            },
            Some(first) = seen.recv() => {
                self.saw(first);
                while let Ok(more) = seen.try_recv() {
                    self.saw(more);
                }
            }
            () = self.due.wait() => {}
            () = paused => {}
        }
        Ok(None)
    }

    /// The process stood still, and goes on.
    fn look_anew(&mut self, now: Tick, late: Duration) {
        warn!(
            ?late,
            "this process stood still: what it did not hear meanwhile counts as nobody's silence"
        );
        for tended in self.routes.values_mut() {
            tended.memory.look_anew(now);
        }
        self.everything_is_due();
    }

    /// The workload that owns a pod has been read.
    fn learn(&mut self, uid: String, owner: owners::Owner) {
        self.owners.learn(uid, owner, self.context.clock.now());
        self.everything_is_due();
    }

    /// Lets the writes that are under way come to their end: the Lease is given up after the last one.
    async fn last_writes(&mut self) {
        while self.turns.join_next().await.is_some() {}
    }

    /// Shows how much there is, and how much of it waits.
    fn show_sizes(&self, sightings: usize) {
        let metrics = &self.context.metrics;
        metrics.waits(Queue::Routes, self.due.len());
        metrics.waits(Queue::Sightings, sightings);
        for (kind, objects) in self.stores.sizes() {
            metrics.holds(kind, objects);
        }
    }

    fn everything_is_due(&self) {
        for scope in self.stores.scopes() {
            scope
                .routes
                .all()
                .iter()
                .for_each(|route| self.due.add(RouteKey::of(route.as_ref())));
        }
        self.routes.keys().for_each(|route| self.due.add(route.clone()));
    }

    fn wake_routes(&mut self, now: Tick) {
        for (key, tended) in &mut self.routes {
            if tended.wake_at.is_some_and(|at| at <= now) {
                tended.wake_at = None;
                self.due.add(key.clone());
            }
        }
    }

    fn next_wake(&self, round_due: Tick) -> Tick {
        self.routes
            .values()
            .filter_map(|tended| tended.wake_at)
            .fold(round_due, Tick::min)
    }

    /// Gives the Lease up, so that another replica may see what this one cannot.
    async fn give_up_blind(&self) {
        let longer = self
            .context
            .host
            .chance
            .up_to(BLIND_PAUSE_MAX.saturating_sub(BLIND_PAUSE_MIN));
        let pause = BLIND_PAUSE_MIN + longer;
        warn!(
            ?pause,
            "no server of any route replies: the Lease is given up, another replica may see better"
        );
        self.context
            .gave_up_blind
            .store(true, std::sync::atomic::Ordering::Relaxed);
        self.context.election.step_down(StepDown::Blind, pause).await;
    }
}
