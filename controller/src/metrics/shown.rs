//! What the leader shows of its routes as they stand: plain data, put into words when it is asked for. What is not there any more
//! is not shown any more.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use probe::Evidence;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue},
    metrics::MetricType,
    registry::Unit,
};
use shared::role::Role;

use super::words::{RouteState, evidence_word};

/// Namespace and name of a route.
pub(super) type RouteName = (String, String);

/// One route as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteView {
    /// Its state.
    pub state: RouteState,
    /// Servers that take writes.
    pub writable: usize,
    /// How much the primary has written since the mark, in bytes; none without a mark or a primary of its timeline.
    pub mark_behind: Option<u64>,
    /// When the mark was last written, or this reign began, in seconds since 1970.
    pub mark_written: Option<f64>,
    /// Its pods, by name.
    pub pods: BTreeMap<String, PodView>,
}

/// One pod as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodView {
    /// What it is labelled.
    pub role: Option<Role>,
    /// What its server was last found to be.
    pub standing: Evidence,
    /// How far it is behind the primary, in bytes of write-ahead log; none where the two cannot be compared.
    pub lag: Option<u64>,
}

/// A route's view, and its conditions, which are told apart from it.
#[derive(Debug, Default)]
struct Shown {
    view: Option<RouteView>,
    conditions: BTreeMap<String, bool>,
}

/// All routes as they stand.
#[derive(Debug, Default)]
pub(super) struct Routes(Mutex<BTreeMap<RouteName, Shown>>);

// === impl Routes ===

impl Routes {
    /// Shows a route, and answers the pods that it does not have any more.
    pub(super) fn show(&self, route: &RouteName, view: RouteView) -> Vec<String> {
        let mut routes = self.lock();
        let shown = routes.entry(route.clone()).or_default();
        let before = shown.view.replace(view);
        let has = |pod: &String| shown.view.as_ref().is_some_and(|view| view.pods.contains_key(pod));
        let pods = before.into_iter().flat_map(|view| view.pods.into_keys());
        pods.filter(|pod| !has(pod)).collect()
    }

    pub(super) fn show_conditions(&self, route: &RouteName, conditions: BTreeMap<String, bool>) {
        if let Some(shown) = self.lock().get_mut(route) {
            shown.conditions = conditions;
        }
    }

    /// Takes a route out, and answers the pods that it had.
    pub(super) fn forget(&self, route: &RouteName) -> Vec<String> {
        let shown = self.lock().remove(route).and_then(|shown| shown.view);
        shown.into_iter().flat_map(|view| view.pods.into_keys()).collect()
    }

    /// Takes all out.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn has_pod(&self, route: &RouteName, pod: &str) -> bool {
        let routes = self.lock();
        let view = routes.get(route).and_then(|shown| shown.view.as_ref());
        view.is_some_and(|view| view.pods.contains_key(pod))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RouteName, Shown>> {
        // What is kept there is only what is shown: worth having even after a panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Routes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let routes = self.lock();
        let views = || {
            routes
                .iter()
                .filter_map(|(name, shown)| Some((name, shown.view.as_ref()?)))
        };
        let pods = || views().flat_map(|(name, view)| view.pods.iter().map(move |(pod, of)| (name, pod.as_str(), of)));

        let help = "1 for the state that the route is in, 0 for the others";
        let states = views().flat_map(|(name, view)| {
            let states = RouteState::ALL.map(RouteState::as_str);
            states.map(|state| {
                (
                    labels(name, [("state", state)]),
                    i64::from(state == view.state.as_str()),
                )
            })
        });
        family(&mut encoder, "route_state", help, None, states)?;

        let help = "1 for a condition of the route that holds, else 0; False is good for those that name trouble";
        let conditions = routes.iter().flat_map(|(name, shown)| {
            let conditions = shown.conditions.iter();
            conditions.map(move |(kind, holds)| (labels(name, [("condition", kind.as_str())]), i64::from(*holds)))
        });
        family(&mut encoder, "route_condition", help, None, conditions)?;

        let help = "Servers of the route that take writes, whatever they are labelled";
        let writable = views().map(|(name, view)| (labels(name, []), count(view.writable)));
        family(&mut encoder, "route_writable_servers", help, None, writable)?;

        let help = "Write-ahead log that the primary has written since the mark";
        let behind = views().filter_map(|(name, view)| Some((labels(name, []), as_float(view.mark_behind?))));
        family(&mut encoder, "route_mark_behind", help, Some(&Unit::Bytes), behind)?;

        let help = "When the mark was last written, or this reign began, since 1970";
        let written = views().filter_map(|(name, view)| Some((labels(name, []), view.mark_written?)));
        family(
            &mut encoder,
            "route_mark_written_timestamp",
            help,
            Some(&Unit::Seconds),
            written,
        )?;

        let help = "1 for the role that the pod is labelled; none where it has no role";
        let roles = pods().map(|(name, pod, of)| {
            let role = of.role.map_or("none", Role::as_str);
            (labels(name, [("pod", pod), ("role", role)]), 1)
        });
        family(&mut encoder, "pod_role", help, None, roles)?;

        let help = "1 for what the pod's server was last found to be";
        let standings = pods().map(|(name, pod, of)| {
            (
                labels(name, [("pod", pod), ("standing", evidence_word(of.standing))]),
                1,
            )
        });
        family(&mut encoder, "pod_standing", help, None, standings)?;

        let help = "Write-ahead log that the server is behind the primary, as both last said";
        let lags = pods().filter_map(|(name, pod, of)| Some((labels(name, [("pod", pod)]), as_float(of.lag?))));
        family(&mut encoder, "pod_lag", help, Some(&Unit::Bytes), lags)
    }
}

fn labels<'a, const N: usize>(
    route: &'a RouteName,
    more: [(&'static str, &'a str); N],
) -> Vec<(&'static str, &'a str)> {
    let mut labels = vec![("namespace", route.0.as_str()), ("route", route.1.as_str())];
    labels.extend(more);
    labels
}

fn count(of: usize) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}

/// As numbers in metrics are.
#[expect(
    clippy::cast_precision_loss,
    reason = "a position is compared in kilobytes at the finest"
)]
const fn as_float(bytes: u64) -> f64 {
    bytes as f64
}

fn family<'a, V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    series: impl Iterator<Item = (Vec<(&'static str, &'a str)>, V)>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (labels, value) in series {
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}
