//! The metrics of one process, as `/metrics` shows them (`OpenMetrics` text).
//!
//! Everybody who has something to report calls a method here; nobody sees a metric family. Label values come from enums,
//! or from routes and pods that exist: what is gone, and everything once the reign ends, is taken out again, so that the
//! number of series is bounded by what the leader looks after.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use probe::Evidence;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};
use shared::{role::Role, term::Term};

use crate::{decide::Verdict, switch::Ended};

/// Upper bounds of the histogram buckets, in seconds: half a millisecond (an answer from the same node) to 16 s (longer than
/// any time-out here), each twice the one before.
const BUCKETS: (f64, f64, u16) = (0.0005, 2.0, 16);

/// Where a route stands, as `pgsteer_route_state` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteState {
    /// It was decided about.
    Decided(Verdict),
    /// It cannot be served as it is written.
    Refused,
}

/// What a write was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// This reign's stamp on a pod, and nothing else.
    Stamp,
    /// This reign's term in a ledger, and nothing else.
    StampLedger,
    /// The primary role taken off.
    Withdraw,
    /// A role that is not primary, or none.
    Relabel,
    /// The mark.
    SetMark,
    /// The primary role put on.
    Grant,
    /// The accept annotation taken off a route.
    ClearAccept,
    /// A route's status.
    Status,
    /// An Event.
    Event,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Carried out.
    Done,
    /// The object had changed, or is another one: nothing was written.
    Conflict,
    /// The object is gone.
    Gone,
    /// The API server said no: RBAC, admission, validation.
    Refused,
    /// No definite answer: it may have been carried out, or may still be.
    Unknown,
    /// Never sent: there was no permit for it.
    NotSent,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    namespace: String,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    namespace: String,
    route: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoleLabels {
    namespace: String,
    route: String,
    pod: String,
    role: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    action: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The roles that were last shown of each route, by pod: what must be taken out when they change.
type Shown = BTreeMap<RouteName, BTreeMap<String, &'static str>>;

/// Namespace and name.
type RouteName = (String, String);

/// All metrics of one process.
pub struct Metrics {
    registry: Registry,
    leader: Gauge,
    term: Gauge,
    route_state: Family<StateLabels, Gauge>,
    pod_role: Family<RoleLabels, Gauge>,
    switches: Family<RouteLabels, Counter>,
    writes: Family<WriteLabels, Counter>,
    probes: Family<OutcomeLabels, Counter>,
    probe_seconds: Histograms<OutcomeLabels>,
    turn_seconds: Histogram,
    shown: Mutex<Shown>,
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, registered, at nought.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("pgsteer"),
            leader: Gauge::default(),
            term: Gauge::default(),
            route_state: Family::default(),
            pod_role: Family::default(),
            switches: Family::default(),
            writes: Family::default(),
            probes: Family::default(),
            probe_seconds: Family::new_with_constructor(buckets),
            turn_seconds: buckets(),
            shown: Mutex::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", build);
        registry.register("leader", "1 while this replica leads, else 0", self.leader.clone());
        registry.register("term", "The term of this replica's last reign", self.term.clone());
        let help = "1 for the state that the route is in, 0 for the others";
        registry.register("route_state", help, self.route_state.clone());
        let help = "1 for the role that the pod is labelled; none where it has no role";
        registry.register("pod_role", help, self.pod_role.clone());
        let help = "Changes of a route's primary that this replica carried out";
        registry.register("switches", help, self.switches.clone());
        let help = "Writes to the API server, by purpose and by what became of them";
        registry.register("writes", help, self.writes.clone());
        registry.register(
            "probes",
            "Questions to servers, by what the answer was worth",
            self.probes.clone(),
        );
        let help = "Time from a question to its answer or failure";
        registry.register_with_unit("probe", help, Unit::Seconds, self.probe_seconds.clone());
        let help = "Time that one turn of one route took, its writes included";
        registry.register_with_unit("turn", help, Unit::Seconds, self.turn_seconds.clone());
    }

    /// This replica leads from now on.
    pub fn leads(&self, term: Term) {
        self.leader.set(1);
        self.term.set(i64::from(term.0));
    }

    /// This replica leads no more: it knows nothing of any route.
    pub fn follows(&self) {
        self.leader.set(0);
        self.shown().clear();
        self.route_state.clear();
        self.pod_role.clear();
        self.switches.clear();
    }

    /// Shows one route as it stands: its state, and each of its pods with its role.
    pub fn show_route<'a>(
        &self,
        namespace: &str,
        route: &str,
        state: RouteState,
        pods: impl IntoIterator<Item = (&'a str, Option<Role>)>,
    ) {
        let now: BTreeMap<String, &'static str> = pods
            .into_iter()
            .map(|(pod, role)| (pod.to_owned(), role.map_or("none", Role::as_str)))
            .collect();
        let mut shown = self.shown();
        let before = shown.entry((namespace.to_owned(), route.to_owned())).or_default();
        for (pod, role) in before.iter().filter(|(pod, role)| now.get(*pod) != Some(role)) {
            self.pod_role.remove(&role_labels(namespace, route, pod, role));
        }
        for (pod, role) in &now {
            self.pod_role
                .get_or_create(&role_labels(namespace, route, pod, role))
                .set(1);
        }
        *before = now;
        for word in RouteState::ALL.map(RouteState::as_str) {
            let here = i64::from(word == state.as_str());
            self.route_state
                .get_or_create(&state_labels(namespace, route, word))
                .set(here);
        }
        // Made at nought, so that the first switch is an increase that a query can see.
        drop(self.switches.get_or_create(&route_labels(namespace, route)));
    }

    /// Takes out all that is shown of a route that is gone.
    pub fn forget_route(&self, namespace: &str, route: &str) {
        if let Entry::Occupied(before) = self.shown().entry((namespace.to_owned(), route.to_owned())) {
            for (pod, role) in before.remove() {
                self.pod_role.remove(&role_labels(namespace, route, &pod, role));
            }
        }
        for word in RouteState::ALL.map(RouteState::as_str) {
            self.route_state.remove(&state_labels(namespace, route, word));
        }
        self.switches.remove(&route_labels(namespace, route));
    }

    /// A route's primary changed, by this replica's doing.
    pub fn switched(&self, namespace: &str, route: &str) {
        self.switches.get_or_create(&route_labels(namespace, route)).inc();
    }

    /// A switch came to its end; `trace` tells more about it.
    pub fn switch_ended(&self, _namespace: &str, _route: &str, _ended: &Ended, _trace: Option<String>) {}

    /// A write to the API server came to its end.
    pub fn wrote(&self, action: Write, outcome: WriteOutcome) {
        let labels = WriteLabels {
            action: action.as_str(),
            outcome: outcome.as_str(),
        };
        self.writes.get_or_create(&labels).inc();
    }

    /// A server was asked, and this is what it came to after this long.
    pub fn probed(&self, evidence: Evidence, took: Duration) {
        let labels = OutcomeLabels {
            outcome: evidence_word(evidence),
        };
        self.probes.get_or_create(&labels).inc();
        self.probe_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// One turn of one route came to its end.
    pub fn turned(&self, took: Duration) {
        self.turn_seconds.observe(took.as_secs_f64());
    }

    /// All metrics as `OpenMetrics` text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        // What is kept there is only what is shown: worth having even after a panic half-way.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn buckets() -> Histogram {
    let (first, factor, count) = BUCKETS;
    Histogram::new(exponential_buckets(first, factor, count))
}

fn route_labels(namespace: &str, route: &str) -> RouteLabels {
    RouteLabels {
        namespace: namespace.to_owned(),
        route: route.to_owned(),
    }
}

fn state_labels(namespace: &str, route: &str, state: &'static str) -> StateLabels {
    StateLabels {
        namespace: namespace.to_owned(),
        route: route.to_owned(),
        state,
    }
}

fn role_labels(namespace: &str, route: &str, pod: &str, role: &'static str) -> RoleLabels {
    RoleLabels {
        namespace: namespace.to_owned(),
        route: route.to_owned(),
        pod: pod.to_owned(),
        role,
    }
}

const fn evidence_word(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Writable => "writable",
        Evidence::InRecovery => "in_recovery",
        Evidence::Down => "down",
        Evidence::Starting => "starting",
        Evidence::Silent => "silent",
        Evidence::Barred => "barred",
        Evidence::Unclear => "unclear",
    }
}

// === impl RouteState, Write, WriteOutcome ===

impl RouteState {
    const ALL: [Self; 7] = [
        Self::Decided(Verdict::Settled),
        Self::Decided(Verdict::Moving),
        Self::Decided(Verdict::NoPrimary),
        Self::Decided(Verdict::SplitBrain),
        Self::Decided(Verdict::Blind),
        Self::Decided(Verdict::Paused),
        Self::Refused,
    ];

    /// The word as status and metrics show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decided(verdict) => verdict.as_str(),
            Self::Refused => "Refused",
        }
    }
}

impl Write {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Stamp => "stamp",
            Self::StampLedger => "stamp_ledger",
            Self::Withdraw => "withdraw",
            Self::Relabel => "relabel",
            Self::SetMark => "set_mark",
            Self::Grant => "grant",
            Self::ClearAccept => "clear_accept",
            Self::Status => "status",
            Self::Event => "event",
        }
    }
}

impl WriteOutcome {
    /// The word as spans and metrics show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::NotSent => "not_sent",
        }
    }
}

#[cfg(test)]
mod tests;
