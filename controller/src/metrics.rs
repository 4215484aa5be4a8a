//! The metrics of one process, as `/metrics` shows them (`OpenMetrics` text). docs/metrics.md lists them for users.
//!
//! Everybody who has something to report calls a method here; nobody sees a metric family. Label values come from enums,
//! or from routes and pods that exist: what is gone, and everything once the reign ends, is taken out again, so that the
//! number of series is bounded by what the leader looks after.

mod shown;
mod words;

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use probe::Evidence;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        exemplar::HistogramWithExemplars,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};
use shared::term::Term;

pub use shown::{PodView, RouteView};
pub use words::{RouteState, Write, WriteOutcome};

use crate::switch::{Cause, Ended};
use shown::{RouteName, Routes};
use words::evidence_word;

/// Upper bounds of the histogram buckets, in seconds: half a millisecond (an answer from the same node) to 16 s (longer than
/// any time-out here), each twice the one before.
const BUCKETS: (f64, f64, u16) = (0.0005, 2.0, 16);

/// Upper bounds for what clients suffer, in seconds: from a switch that nobody noticed (15 ms) to a quarter of an hour.
const SWITCH_BUCKETS: (f64, f64, u16) = (0.015, 2.0, 17);

/// What waits for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Routes whose turn is due.
    Routes,
    /// Sightings that the loop has not taken in.
    Sightings,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    namespace: String,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    namespace: String,
    route: String,
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProbeLabels {
    namespace: String,
    route: String,
    pod: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    action: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    method: String,
    resource: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    queue: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// What an exemplar carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TraceLabels {
    trace_id: String,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;
type Traced = HistogramWithExemplars<TraceLabels>;
type TracedHistograms = Family<RouteLabels, Traced, fn() -> Traced>;

/// All metrics of one process.
pub struct Metrics {
    registry: Registry,
    leader: Gauge,
    term: Gauge,
    reigns: Counter,
    routes: Arc<Routes>,
    switches: Family<CauseLabels, Counter>,
    switch_seconds: TracedHistograms,
    write_outage_seconds: TracedHistograms,
    writes: Family<WriteLabels, Counter>,
    call_seconds: Histograms<CallLabels>,
    probes: Family<ProbeLabels, Counter>,
    probe_seconds: Histograms<RouteLabels>,
    turn_seconds: Histogram,
    decide_seconds: Histogram,
    queues: Family<QueueLabels, Gauge>,
    stores: Family<KindLabels, Gauge>,
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
            reigns: Counter::default(),
            routes: Arc::default(),
            switches: Family::default(),
            switch_seconds: Family::new_with_constructor(traced_buckets),
            write_outage_seconds: Family::new_with_constructor(traced_buckets),
            writes: Family::default(),
            call_seconds: Family::new_with_constructor(buckets),
            probes: Family::default(),
            probe_seconds: Family::new_with_constructor(buckets),
            turn_seconds: buckets(),
            decide_seconds: buckets(),
            queues: Family::default(),
            stores: Family::default(),
        };
        metrics.register_process();
        metrics.register_routes();
        metrics
    }

    fn register_process(&mut self) {
        let registry = &mut self.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", build);
        registry.register("leader", "1 while this replica leads, else 0", self.leader.clone());
        registry.register("term", "The term of this replica's last reign", self.term.clone());
        registry.register("reigns", "Reigns of this replica", self.reigns.clone());
        let help = "Writes to the API server, by purpose and by what became of them";
        registry.register("writes", help, self.writes.clone());
        let help = "Time from a request to the API server to its answer or failure, watches and the lease apart";
        registry.register_with_unit("api_request", help, Unit::Seconds, self.call_seconds.clone());
        let help =
            "Time that one turn of one route took, its writes included; turns that write nothing are not counted";
        registry.register_with_unit("turn", help, Unit::Seconds, self.turn_seconds.clone());
        let help = "Time that it took to look at one route and to decide about it";
        registry.register_with_unit("decide", help, Unit::Seconds, self.decide_seconds.clone());
        let help = "What waits for the leader's loop";
        registry.register("queue_length", help, self.queues.clone());
        let help = "Objects that the leader's informers hold";
        registry.register("store_objects", help, self.stores.clone());
    }

    fn register_routes(&mut self) {
        let registry = &mut self.registry;
        let help = "Changes of a route's primary that this replica carried out, by cause";
        registry.register("switches", help, self.switches.clone());
        let help = "Time from the first sighting that differed until a switch was over";
        registry.register_with_unit("switch", help, Unit::Seconds, self.switch_seconds.clone());
        let help = "Time in which nobody could write through the Service, as the leader saw it";
        registry.register_with_unit("write_outage", help, Unit::Seconds, self.write_outage_seconds.clone());
        let help = "Questions to servers, by what the answer was worth";
        registry.register("probes", help, self.probes.clone());
        let help = "Time from a question to a server to its answer or failure";
        registry.register_with_unit("probe", help, Unit::Seconds, self.probe_seconds.clone());
        registry.register_collector(Box::new(Arc::clone(&self.routes)));
    }

    /// This replica leads from now on.
    pub fn leads(&self, term: Term) {
        self.leader.set(1);
        self.term.set(i64::from(term.0));
        self.reigns.inc();
    }

    /// This replica leads no more: it knows nothing of any route.
    pub fn follows(&self) {
        self.leader.set(0);
        self.routes.clear();
        self.switches.clear();
        self.switch_seconds.clear();
        self.write_outage_seconds.clear();
        self.probes.clear();
        self.probe_seconds.clear();
        self.queues.clear();
        self.stores.clear();
    }

    /// Shows one route as it stands.
    pub fn show_route(&self, namespace: &str, route: &str, view: RouteView) {
        let name = name(namespace, route);
        for pod in self.routes.show(&name, view) {
            self.forget_probes(&name, &pod);
        }
        // Made at nought, so that the first of each is an increase that a query can see.
        for cause in Cause::ALL {
            drop(self.switches.get_or_create(&cause_labels(namespace, route, cause)));
        }
        let labels = route_labels(namespace, route);
        drop(self.switch_seconds.get_or_create(&labels));
        drop(self.write_outage_seconds.get_or_create(&labels));
    }

    /// Shows the conditions of a route that is shown.
    pub fn show_conditions(&self, namespace: &str, route: &str, conditions: BTreeMap<String, bool>) {
        self.routes.show_conditions(&name(namespace, route), conditions);
    }

    /// Takes out all that is shown of a route that is gone.
    pub fn forget_route(&self, namespace: &str, route: &str) {
        let (name, labels) = (name(namespace, route), route_labels(namespace, route));
        for pod in self.routes.forget(&name) {
            self.forget_probes(&name, &pod);
        }
        for cause in Cause::ALL {
            self.switches.remove(&cause_labels(namespace, route, cause));
        }
        self.switch_seconds.remove(&labels);
        self.write_outage_seconds.remove(&labels);
        self.probe_seconds.remove(&labels);
    }

    fn forget_probes(&self, (namespace, route): &RouteName, pod: &str) {
        for outcome in words::EVIDENCE {
            self.probes.remove(&probe_labels(namespace, route, pod, outcome));
        }
    }

    /// A route's primary changed, by this replica's doing.
    pub fn switched(&self, namespace: &str, route: &str, cause: Cause) {
        self.switches
            .get_or_create(&cause_labels(namespace, route, cause))
            .inc();
    }

    /// A switch came to its end; `trace` tells more about it. One that granted nothing is counted nowhere.
    pub fn switch_ended(&self, namespace: &str, route: &str, ended: &Ended, trace: Option<String>, at: SystemTime) {
        if ended.granted.is_none() {
            return;
        }
        let labels = route_labels(namespace, route);
        let trace = trace.map(|trace_id| TraceLabels { trace_id });
        let took = ended.took().as_secs_f64();
        self.switch_seconds
            .get_or_create(&labels)
            .observe(took, trace.clone(), Some(at));
        if let Some(outage) = ended.write_outage() {
            let outages = self.write_outage_seconds.get_or_create(&labels);
            outages.observe(outage.as_secs_f64(), trace, Some(at));
        }
    }

    /// A write to the API server came to its end.
    pub fn wrote(&self, action: Write, outcome: WriteOutcome) {
        let labels = WriteLabels {
            action: action.as_str(),
            outcome: outcome.as_str(),
        };
        self.writes.get_or_create(&labels).inc();
    }

    /// A request about one object was answered, or failed.
    pub fn called(&self, method: &str, resource: &str, took: Duration) {
        let labels = CallLabels {
            method: method.to_owned(),
            resource: resource.to_owned(),
        };
        self.call_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A server was asked, and this is what it came to after this long. A pod that is not shown any more is not counted.
    pub fn probed(&self, namespace: &str, route: &str, pod: &str, evidence: Evidence, took: Duration) {
        if !self.routes.has_pod(&name(namespace, route), pod) {
            return;
        }
        let labels = probe_labels(namespace, route, pod, evidence_word(evidence));
        self.probes.get_or_create(&labels).inc();
        let labels = route_labels(namespace, route);
        self.probe_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// The writes of one turn of one route came to their end.
    pub fn turned(&self, took: Duration) {
        self.turn_seconds.observe(took.as_secs_f64());
    }

    /// One route was looked at and decided about.
    pub fn decided(&self, took: Duration) {
        self.decide_seconds.observe(took.as_secs_f64());
    }

    /// So much waits.
    pub fn waits(&self, queue: Queue, length: usize) {
        let labels = QueueLabels { queue: queue.as_str() };
        self.queues.get_or_create(&labels).set(as_gauge(length));
    }

    /// The informers hold so many objects of a kind.
    pub fn holds(&self, kind: &'static str, objects: usize) {
        self.stores.get_or_create(&KindLabels { kind }).set(as_gauge(objects));
    }

    /// All metrics as `OpenMetrics` text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Queue {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Sightings => "sightings",
        }
    }
}

fn buckets() -> Histogram {
    let (first, factor, count) = BUCKETS;
    Histogram::new(exponential_buckets(first, factor, count))
}

fn traced_buckets() -> Traced {
    let (first, factor, count) = SWITCH_BUCKETS;
    HistogramWithExemplars::new(exponential_buckets(first, factor, count))
}

fn as_gauge(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn name(namespace: &str, route: &str) -> RouteName {
    (namespace.to_owned(), route.to_owned())
}

fn route_labels(namespace: &str, route: &str) -> RouteLabels {
    RouteLabels {
        namespace: namespace.to_owned(),
        route: route.to_owned(),
    }
}

fn cause_labels(namespace: &str, route: &str, cause: Cause) -> CauseLabels {
    CauseLabels {
        namespace: namespace.to_owned(),
        route: route.to_owned(),
        cause: cause.as_str(),
    }
}

fn probe_labels(namespace: &str, route: &str, pod: &str, outcome: &'static str) -> ProbeLabels {
    ProbeLabels {
        namespace: namespace.to_owned(),
        route: route.to_owned(),
        pod: pod.to_owned(),
        outcome,
    }
}

#[cfg(test)]
mod tests;
