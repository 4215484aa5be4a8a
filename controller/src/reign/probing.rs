//! The loop's side of the probes: which pod has a task, and what is made of what it sees.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use shared::{
    role::Role,
    route::PostgresRoute,
    wal::{SystemIdentifier, Timeline},
};
use tokio::{sync::watch, task::AbortHandle};

use super::{
    Government, RouteKey, observe,
    prober::{self, Assignment, Pace, Seen},
    tending::{Scenery, Tended},
};
use crate::{
    clock::Tick,
    decide::{Lifecycle, PodKey},
    sighting::Sightings,
};

/// After a route has lost its primary its servers are asked more often, for this long: a promotion mostly comes within seconds,
/// and one that comes later may be heard at the usual pace.
const HURRY_FOR: Duration = Duration::from_mins(1);

/// After a pod or a server of a route has changed, its servers are asked more often for this long: one change seldom comes alone.
const STIR_FOR: Duration = Duration::from_secs(2);

/// A probe task.
pub(crate) struct Probed {
    assignment: Assignment,
    task: AbortHandle,
    pace: watch::Sender<Pace>,
}

impl Drop for Probed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tended {
    /// Whether the route has lost its primary a short while ago, so that a promotion may come any moment.
    fn await_primary(&mut self, pods: &[Arc<Pod>], route: &PostgresRoute, now: Tick) -> bool {
        let primary = Role::Primary.as_str();
        let has_primary = pods.iter().any(|pod| {
            pod.labels()
                .get(&route.spec.role_label)
                .is_some_and(|role| role == primary)
        });
        if has_primary {
            self.without_primary_since = None;
            return false;
        }
        now.since(*self.without_primary_since.get_or_insert(now)) < HURRY_FOR
    }

    /// Whether one of its pods or servers has changed a moment ago.
    fn is_stirred(&self, now: Tick) -> bool {
        self.stirred.is_some_and(|at| now.since(at) < STIR_FOR)
    }
}

impl Government {
    /// Makes sure that every pod with an address has its probe task, and no other has.
    pub(super) fn assign(&mut self, key: &RouteKey, scene: &Scenery) {
        let Some(tended) = self.routes.get_mut(key) else { return };
        let now = self.context.clock.now();
        let awaits_primary = tended.await_primary(&scene.pods, &scene.route, now);
        let spec = &scene.route.spec;
        let mut wanted = BTreeMap::new();
        for pod in &scene.pods {
            let (Some(ip), true) = (observe::ip_of(pod), observe::lifecycle_of(pod) != Lifecycle::Ended) else {
                continue;
            };
            let assignment = Assignment {
                route: key.clone(),
                pod: observe::key_of(pod),
                ip,
                port: spec.port,
                connection: spec.connection.clone(),
                interval: spec.probe.interval.0,
                timeout: spec.probe.timeout.0,
            };
            let leaves = pod.metadata.deletion_timestamp.is_some();
            wanted.insert(assignment.pod.clone(), (assignment, leaves));
        }
        // The first pods of a route are no change: all routes have theirs when a reign begins.
        if !tended.probes.is_empty() && differs(&tended.probes, &wanted) {
            tended.stirred = Some(now);
        }
        let hurries = awaits_primary || tended.is_stirred(now);
        tended.probes.retain(|pod, probed| {
            wanted
                .get(pod)
                .is_some_and(|(assignment, _)| *assignment == probed.assignment)
        });
        let present: BTreeSet<PodKey> = scene.pods.iter().map(|pod| observe::key_of(pod)).collect();
        tended.sightings.retain(|pod, _| present.contains(pod));
        for (pod, (assignment, leaves)) in wanted {
            let pace = match (leaves, hurries) {
                (true, _) => Pace::Terminating,
                (false, true) => Pace::Hurried,
                (false, false) => Pace::Steady,
            };
            if let Some(probed) = tended.probes.get(&pod) {
                probed
                    .pace
                    .send_if_modified(|before| std::mem::replace(before, pace) != pace);
                continue;
            }
            let (told, tells) = watch::channel(pace);
            let work = prober::run(assignment.clone(), self.surroundings.clone(), tells);
            let task = self.probes.spawn(work);
            tended.probes.insert(
                pod,
                Probed {
                    assignment,
                    task,
                    pace: told,
                },
            );
        }
    }

    /// A probe has seen something.
    pub(super) fn saw(&mut self, seen: Seen) {
        let Seen {
            route,
            pod,
            via,
            sighting,
        } = seen;
        let Some(tended) = self.routes.get_mut(&route) else {
            return;
        };
        let asked_for = tended.probes.get(&pod).map(|probed| probed.assignment.ip);
        if asked_for != Some(sighting.ip) {
            return;
        }
        if sighting.reply {
            self.context.gave_up_blind.store(false, Ordering::Relaxed);
        }
        let sightings = tended.sightings.entry(pod).or_default();
        let before = gist(sightings);
        sightings.record(via, sighting);
        if before != gist(sightings) {
            if before.is_some() {
                tended.stirred = Some(self.context.clock.now());
            }
            self.due.add(route);
        }
    }
}

/// Whether other pods are to be probed than are, or in another way, or one of them is to leave.
fn differs(probes: &BTreeMap<PodKey, Probed>, wanted: &BTreeMap<PodKey, (Assignment, bool)>) -> bool {
    let as_it_is = |(pod, (assignment, leaves)): (&PodKey, &(Assignment, bool))| {
        probes.get(pod).is_some_and(|probed| {
            probed.assignment == *assignment && (*probed.pace.borrow() == Pace::Terminating) == *leaves
        })
    };
    probes.len() != wanted.len() || !wanted.iter().all(as_it_is)
}

/// What of the sightings can make a turn due: not how far the log has come.
fn gist(sightings: &Sightings) -> Option<(probe::Evidence, Option<Timeline>, Option<SystemIdentifier>)> {
    let deciding = sightings.deciding()?;
    let report = deciding.report.as_ref();
    Some((
        deciding.evidence,
        report.map(|report| report.timeline),
        report.map(|report| report.system_identifier),
    ))
}
