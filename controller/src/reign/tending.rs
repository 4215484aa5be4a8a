//! One route's share of the loop: who is probed, what was seen, and what a turn of it does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use k8s_openapi::{
    api::{core::v1::Pod, discovery::v1::EndpointSlice},
    apimachinery::pkg::apis::meta::v1::{OwnerReference, Time},
};
use kube::ResourceExt;
use shared::{role::Role, route::PostgresRoute, status::Reason, term::Term};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};
use tracing::{debug, info};

use super::{
    Government, RouteKey,
    acceptance::{self, Refusal, ServiceProblem},
    memory::Memory,
    observe::{self, Known},
    owners::{self, Owner},
    prober::{self, Assignment, Seen},
    record::Notice,
    report::{self, Reported},
    stores::{SERVICE_OF_SLICE, Scope},
    turn::{self, Done},
};
use crate::{
    apply::{Effect, Place},
    clock::Tick,
    decide::{Action, Finding, LabelState, Observed, Plan, PodKey, Policy, Verdict, decide},
    metrics::RouteState,
    sighting::Sightings,
    stamp::StampState,
    writer::{LabelWrite, Written},
};

/// After this many conflicts in a row a route waits for its next regular turn.
const CONFLICTS_AT_ONCE: u32 = 5;

/// The first pause after a write that was refused or not answered; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(200);

/// See [`BACKOFF_MIN`].
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What the reign keeps of one route.
pub(crate) struct Tended {
    pub(crate) memory: Memory,
    pub(crate) sightings: BTreeMap<PodKey, Sightings>,
    probes: BTreeMap<PodKey, Probed>,
    /// When the route is due although nothing happens.
    pub(crate) wake_at: Option<Tick>,
    writing: bool,
    pub(super) reporting: bool,
    /// When the last status was sent.
    pub(super) reported_at: Tick,
    pub(super) blind: bool,
    has_pods: bool,
    conflicts: u32,
    backoff: Duration,
    not_before: Tick,
    /// Pods, by uid, whose template was complained about.
    told_of_template: BTreeSet<String>,
    /// What the API server last refused.
    refused: Option<String>,
    /// What the last turn said, to say only what is new.
    last_verdict: Option<Verdict>,
}

/// A probe task.
struct Probed {
    assignment: Assignment,
    task: AbortHandle,
    terminating: watch::Sender<bool>,
}

impl Drop for Probed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tended {
    fn new(now: Tick) -> Self {
        Self {
            memory: Memory::new(now),
            sightings: BTreeMap::new(),
            probes: BTreeMap::new(),
            wake_at: None,
            writing: false,
            reporting: false,
            reported_at: now,
            blind: false,
            has_pods: false,
            conflicts: 0,
            backoff: BACKOFF_MIN,
            not_before: now,
            told_of_template: BTreeSet::new(),
            refused: None,
            last_verdict: None,
        }
    }

    /// A write was refused, or had no answer: the next one has to wait.
    fn back_off(&mut self, now: Tick) {
        self.not_before = now + self.backoff;
        self.wake(self.not_before);
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }

    fn wake(&mut self, at: Tick) {
        self.wake_at = Some(self.wake_at.map_or(at, |sooner| sooner.min(at)));
    }
}

/// The workloads that own pods, by uid, and the reads of them that are under way.
#[derive(Default)]
pub(crate) struct Owners {
    known: BTreeMap<String, (Tick, Owner)>,
    reading: BTreeSet<String>,
    pub(super) reads: JoinSet<(String, Owner)>,
}

impl Owners {
    /// An owner has been read.
    pub(super) fn read(&mut self, uid: String, owner: Owner, now: Tick) {
        self.reading.remove(&uid);
        self.known.insert(uid, (now, owner));
    }

    /// What is known of the pod's owner.
    fn of(&self, pod: &Pod) -> Option<&Owner> {
        self.known.get(&owners::owner_of(pod)?.uid).map(|(_, owner)| owner)
    }

    /// Begins to read the owners that are not known yet; whether all are known.
    fn complete(&mut self, client: &kube::Client, namespace: &str, pods: &[Arc<Pod>], now: Tick) -> bool {
        let mut complete = true;
        for owner in pods.iter().filter_map(|pod| owners::owner_of(pod)) {
            let again = match self.known.get(&owner.uid) {
                Some((read, Owner::Unreadable { .. })) => now.since(*read) >= owners::READ_AGAIN_AFTER,
                Some(_) => false,
                None => {
                    complete = false;
                    true
                }
            };
            if again && self.reading.insert(owner.uid.clone()) {
                let (client, namespace, owner): (_, _, OwnerReference) =
                    (client.clone(), namespace.to_owned(), owner.clone());
                self.reads
                    .spawn(async move { (owner.uid.clone(), owners::read(client, namespace, owner).await) });
            }
        }
        complete
    }
}

/// What a route's turn looks at, as objects.
struct Scenery {
    route: Arc<PostgresRoute>,
    pods: Vec<Arc<Pod>>,
    rivals: Vec<Arc<PostgresRoute>>,
    services: Vec<ServiceProblem>,
    write_slices: Vec<Arc<EndpointSlice>>,
}

fn scenery(scope: &Scope, route: Arc<PostgresRoute>, key: &RouteKey, now: Tick) -> Scenery {
    let namespace = key.namespace.as_str();
    let pods = scope.pods.list(namespace, now, |pod| observe::selects(&route, pod));
    let rivals = scope.routes.list(namespace, now, |rival| rival.name_any() != key.name);
    let service = |name: &str| scope.services.get(namespace, name, now);
    let problems = [Role::Primary, Role::Replica].map(|role| {
        let name = if role == Role::Primary {
            &route.spec.services.primary
        } else {
            &route.spec.services.replica
        };
        acceptance::service_problem(&route, role, service(name).as_deref())
    });
    let write_slices = scope.slices.list(namespace, now, |slice| {
        slice
            .labels()
            .get(SERVICE_OF_SLICE)
            .is_some_and(|service| *service == route.spec.services.primary)
    });
    Scenery {
        pods,
        rivals,
        services: problems.into_iter().flatten().collect(),
        write_slices,
        route,
    }
}

impl Government {
    /// One turn of one route.
    pub(super) fn turn(&mut self, key: &RouteKey) {
        let now = self.context.clock.now();
        let Some(scope) = self.stores.scope(&key.namespace).map(Arc::clone) else {
            return;
        };
        let Some(route) = scope.routes.get(&key.namespace, &key.name, now) else {
            self.forget(key);
            return;
        };
        let tended = self.routes.entry(key.clone()).or_insert_with(|| Tended::new(now));
        if tended.writing {
            // Its end makes the route due again.
            return;
        }
        // observe (stores)
        let scene = scenery(&scope, route, key, now);
        tended.has_pods = !scene.pods.is_empty();
        if !self
            .owners
            .complete(&self.context.client, &key.namespace, &scene.pods, now)
        {
            return;
        }
        let owners = &self.owners;
        if let Some(refusal) = acceptance::refusal(&scene.route, &scene.pods, &scene.rivals, |pod| owners.of(pod)) {
            self.refuse(key, &scene, &refusal);
            return;
        }
        self.assign(key, &scene);
        let Some(term) = self
            .context
            .election
            .leadership
            .borrow()
            .reign()
            .map(|reign| reign.term)
        else {
            return;
        };
        let Some(tended) = self.routes.get_mut(key) else { return };
        let ledger = scope.ledgers.get(&key.namespace, &key.name, now);
        let known = Known {
            at: now,
            term,
            holder: self.holder,
            route: &scene.route,
            pods: &scene.pods,
            ledger: ledger.as_deref(),
            write_slices: &scene.write_slices,
            sightings: &tended.sightings,
        };
        let observed = observe::observe(&known, &mut tended.memory);
        // decide (pure)
        let plan = decide(&observed, &Policy::of(&scene.route.spec));
        self.tell_of_templates(key, &scene, &observed);
        self.follow(
            key,
            scene,
            &observed,
            plan,
            ledger.map(|ledger| ledger.spec.clone()),
            term,
        );
    }

    /// Labels that pods were born with are taken off; whoever wrote the template should know. Each pod is told about once.
    fn tell_of_templates(&mut self, key: &RouteKey, scene: &Scenery, observed: &Observed) {
        let label = &scene.route.spec.role_label;
        let Some(tended) = self.routes.get_mut(key) else { return };
        tended.told_of_template.retain(|uid| observed.pods.keys().any(|pod| pod.uid == *uid));
        let mut notices = Vec::new();
        for pod in &scene.pods {
            let key = observe::key_of(pod);
            let born_with = observed.pods.get(&key).is_some_and(|view| {
                view.stamp == StampState::Absent && view.label != LabelState::Absent
            });
            let Some(Owner::Read(owner)) = self.owners.of(pod) else { continue };
            if born_with && owner.template.contains(label) && tended.told_of_template.insert(key.uid) {
                let note = format!(
                    "pod {} was born with the label {label:?} from the template of {}: a role has to be earned, so the label \
                     is taken off. Remove it from the template",
                    key.name, owner.name
                );
                notices.push(Notice { warning: true, reason: Reason::TemplateCarriesRole, note });
            }
        }
        report::tell(&self.context, &mut self.reports, key, &scene.route, notices);
    }

    /// Acts on a plan: writes go out, the report follows.
    fn follow(
        &mut self,
        key: &RouteKey,
        scene: Scenery,
        observed: &Observed,
        plan: Plan,
        ledger: Option<shared::ledger::PostgresLedgerSpec>,
        term: Term,
    ) {
        let Some(tended) = self.routes.get_mut(key) else { return };
        tended.wake_at = plan.wake_at;
        tended.blind = plan.verdict == Verdict::Blind;
        if tended.last_verdict != Some(plan.verdict) {
            info!(route = %key, verdict = plan.verdict.as_str(), actions = plan.actions.len(), "decided");
            tended.last_verdict = Some(plan.verdict);
        }
        self.context.metrics.show_route(
            &key.namespace,
            &key.name,
            RouteState::Decided(plan.verdict),
            observed
                .pods
                .iter()
                .map(|(pod, view)| (pod.name.as_str(), role_of(&view.label))),
        );
        let now = self.context.clock.now();
        // record (status, Events): a status is written between turns, never while a role is being moved.
        let moving = plan
            .actions
            .iter()
            .any(|action| !matches!(action, Action::Stamp { .. } | Action::StampLedger { .. }));
        if !moving {
            let refused = tended.refused.clone();
            let outcome = super::record::Outcome::Decided {
                observed,
                plan: &plan,
                refused: refused.as_deref(),
            };
            let told = super::record::Told {
                route: &scene.route,
                term,
                now: wall(),
                services: &scene.services,
                outcome,
            };
            report::begin(&self.context, &mut self.reports, key, tended, &told, refusals(&plan));
        }
        if plan.actions.is_empty() || now < tended.not_before {
            if !plan.actions.is_empty() {
                tended.wake(tended.not_before);
            }
            return;
        }
        // permit, apply: in the turn's own task
        tended.writing = true;
        debug!(route = %key, actions = ?plan.actions, "acting");
        let (namespace, name) = (key.namespace.clone(), key.name.clone());
        let place = Place {
            route: Arc::clone(&scene.route),
            namespace,
            name,
            ledger,
            now: wall(),
        };
        let span = tracing::info_span!("turn", route = %key, term = term.0, verdict = plan.verdict.as_str(), actions = plan.actions.len());
        let work = turn::carry_out(Arc::clone(&self.context), key.clone(), place, plan.actions);
        self.turns.spawn(tracing::Instrument::instrument(work, span));
    }

    /// A route that cannot be served as it is written: nobody is probed, nothing is written but its status.
    fn refuse(&mut self, key: &RouteKey, scene: &Scenery, refusal: &Refusal) {
        let Some(term) = self
            .context
            .election
            .leadership
            .borrow()
            .reign()
            .map(|reign| reign.term)
        else {
            return;
        };
        let Some(tended) = self.routes.get_mut(key) else { return };
        tended.probes.clear();
        tended.sightings.clear();
        tended.wake_at = None;
        tended.has_pods = false;
        self.context
            .metrics
            .show_route(&key.namespace, &key.name, RouteState::Refused, std::iter::empty());
        let outcome = super::record::Outcome::Refused(refusal);
        let told = super::record::Told {
            route: &scene.route,
            term,
            now: wall(),
            services: &scene.services,
            outcome,
        };
        report::begin(&self.context, &mut self.reports, key, tended, &told, Vec::new());
    }

    /// Makes sure that every pod with an address has its probe task, and no other has.
    fn assign(&mut self, key: &RouteKey, scene: &Scenery) {
        let Some(tended) = self.routes.get_mut(key) else { return };
        let spec = &scene.route.spec;
        let mut wanted = BTreeMap::new();
        for pod in &scene.pods {
            let (Some(ip), true) = (
                observe::ip_of(pod),
                observe::lifecycle_of(pod) != crate::decide::Lifecycle::Ended,
            ) else {
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
            wanted.insert(
                assignment.pod.clone(),
                (assignment, pod.metadata.deletion_timestamp.is_some()),
            );
        }
        tended.probes.retain(|pod, probed| {
            wanted
                .get(pod)
                .is_some_and(|(assignment, _)| *assignment == probed.assignment)
        });
        let present: BTreeSet<PodKey> = scene.pods.iter().map(|pod| observe::key_of(pod)).collect();
        tended.sightings.retain(|pod, _| present.contains(pod));
        for (pod, (assignment, terminating)) in wanted {
            if let Some(probed) = tended.probes.get(&pod) {
                probed
                    .terminating
                    .send_if_modified(|before| std::mem::replace(before, terminating) != terminating);
                continue;
            }
            let (told, tells) = watch::channel(terminating);
            let work = prober::run(assignment.clone(), self.surroundings.clone(), tells);
            let task = self.probes.spawn(work);
            tended.probes.insert(
                pod,
                Probed {
                    assignment,
                    task,
                    terminating: told,
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
        if !tended
            .probes
            .get(&pod)
            .is_some_and(|probed| probed.assignment.ip == sighting.ip)
        {
            return;
        }
        if sighting.reply {
            self.context.gave_up_blind.store(false, Ordering::Relaxed);
        }
        let sightings = tended.sightings.entry(pod).or_default();
        let before = gist(sightings);
        sightings.record(via, sighting);
        if before != gist(sightings) {
            self.due.add(route);
        }
    }

    /// A turn's writes have come to their end. Returns the term of somebody with a higher claim, if one was met.
    pub(super) fn turned(&mut self, done: Done) -> Option<Term> {
        let now = self.context.clock.now();
        self.context.metrics.turned(now.since(done.began));
        let scope = self.stores.scope(&done.route.namespace).map(Arc::clone)?;
        let tended = self.routes.get_mut(&done.route)?;
        tended.writing = false;
        let (mut conflict, mut trouble) = (false, None);
        let mut outranked = None;
        for (action, effect) in done.effects {
            match effect {
                Effect::Pod { pod, label, written } => match written {
                    Written::Done(object) => {
                        tended.memory.set_unknown(&pod.uid, false);
                        match label {
                            LabelWrite::Keep => {}
                            LabelWrite::Remove => tended.memory.wrote(&pod.uid, None),
                            LabelWrite::Set(role) => tended.memory.wrote(&pod.uid, Some(role)),
                        }
                        scope.pods.show(*object, now);
                        report::role_moved(&self.context, &mut self.reports, &scope, &done.route, &action, now);
                    }
                    Written::Conflict | Written::Gone => conflict = true,
                    Written::Unknown(reason) => {
                        tended.memory.set_unknown(&pod.uid, true);
                        trouble = Some(reason);
                    }
                    Written::Refused(reason) => trouble = Some(reason),
                },
                Effect::Ledger { mark, written } => match written {
                    Written::Done(object) => {
                        tended.memory.ledger_unknown = false;
                        if mark {
                            tended.memory.mark_written = now;
                        }
                        scope.ledgers.show(*object, now);
                    }
                    Written::Conflict | Written::Gone => conflict = true,
                    Written::Unknown(reason) => {
                        tended.memory.ledger_unknown = true;
                        trouble = Some(reason);
                    }
                    Written::Refused(reason) => trouble = Some(reason),
                },
                Effect::Route(Written::Done(object)) => scope.routes.show(*object, now),
                Effect::Route(_) => conflict = true,
                Effect::Outranked(met) => outranked = Some(met),
            }
        }
        for pod in done.pods.into_values().flatten() {
            scope.pods.show(pod, now);
        }
        if let Some(ledger) = done.ledger.flatten() {
            scope.ledgers.show(ledger, now);
        }
        tended.conflicts = if conflict { tended.conflicts + 1 } else { 0 };
        tended.refused.clone_from(&trouble);
        if trouble.is_some() {
            tended.back_off(now);
        } else {
            tended.backoff = BACKOFF_MIN;
        }
        if tended.conflicts <= CONFLICTS_AT_ONCE {
            self.due.add(done.route);
        }
        outranked
    }

    /// A report has come to its end.
    pub(super) fn reported(&mut self, reported: Reported) {
        let now = self.context.clock.now();
        let Reported { route, written, status } = reported;
        if let (Some(object), Some(scope)) = (written, self.stores.scope(&route.namespace)) {
            scope.routes.show(*object, now);
        }
        if let Some(tended) = self.routes.get_mut(&route).filter(|_| status) {
            tended.reporting = false;
        }
    }

    /// Whether every route that has pods is blind, and the Lease was not given up for that before.
    pub(super) fn all_blind(&self) -> bool {
        let mut seen = self.routes.values().filter(|tended| tended.has_pods).peekable();
        seen.peek().is_some() && seen.all(|tended| tended.blind) && !self.context.gave_up_blind.load(Ordering::Relaxed)
    }

    fn forget(&mut self, key: &RouteKey) {
        if self.routes.remove(key).is_some() {
            info!(route = %key, "the route is gone: its pods keep their labels, its ledger stays");
            self.context.metrics.forget_route(&key.namespace, &key.name);
            let (credentials, key) = (Arc::clone(&self.surroundings.credentials), key.clone());
            self.reports.spawn(async move {
                credentials.forget(&key).await;
                Reported {
                    route: key,
                    written: None,
                    status: false,
                }
            });
        }
    }
}

/// What of the sightings can make a turn due: not how far the log has come.
fn gist(
    sightings: &Sightings,
) -> Option<(
    probe::Evidence,
    Option<shared::wal::Timeline>,
    Option<shared::wal::SystemIdentifier>,
)> {
    let deciding = sightings.deciding()?;
    let report = deciding.report.as_ref();
    Some((
        deciding.evidence,
        report.map(|report| report.timeline),
        report.map(|report| report.system_identifier),
    ))
}

fn role_of(label: &LabelState) -> Option<Role> {
    match label {
        LabelState::Known(role) => Some(*role),
        LabelState::Absent | LabelState::Foreign(_) => None,
    }
}

fn refusals(plan: &Plan) -> Vec<String> {
    let refused = |finding: &Finding| match finding {
        Finding::AcceptRefused { why } => Some(why.clone()),
        Finding::SplitBrain { .. }
        | Finding::NoMark { .. }
        | Finding::Orphaned { .. }
        | Finding::Foreign { .. }
        | Finding::Barred { .. }
        | Finding::Contested { .. } => None,
    };
    plan.findings.iter().filter_map(refused).collect()
}

/// The wall clock's time, for people: nothing is decided by it.
fn wall() -> Time {
    #[expect(clippy::disallowed_methods, reason = "a date for people; nothing is decided by it")]
    Time(k8s_openapi::jiff::Timestamp::now())
}
