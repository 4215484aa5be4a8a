//! One route's share of the loop: who is probed, what was seen, and what a turn of it does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::{Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt;
use shared::{role::Role, route::PostgresRoute, status::Reason, term::Term};
use tracing::{debug, info};

use super::{
    Government, RouteKey,
    acceptance::{self, Refusal, ServiceProblem},
    effects::BACKOFF_MIN,
    memory::Memory,
    observe::{self, Known},
    owners::Owner,
    probing::Probed,
    record::{Notice, Outcome, Told},
    report::{self, Reported},
    showing,
    slices::{self, Services},
    stores::Scope,
    switching::{LastSwitch, Teller},
    turn,
};
use crate::{
    apply::{Place, SwitchTold},
    clock::{Clock, Tick},
    decide::{Action, Finding, LabelState, Observed, Plan, PodKey, Policy, Verdict, decide},
    live,
    sighting::Sightings,
    stamp::StampState,
    switch::{Cause, Course},
    trace::Span,
};

/// What the reign keeps of one route.
pub(crate) struct Tended {
    pub(super) memory: Memory,
    pub(super) sightings: BTreeMap<PodKey, Sightings>,
    pub(super) probes: BTreeMap<PodKey, Probed>,
    /// When the route is due although nothing happens.
    pub(super) wake_at: Option<Tick>,
    /// Whether a turn's writes are under way.
    pub(super) writing: bool,
    /// Whether a status is under way.
    pub(super) reporting: bool,
    /// When the last status was sent.
    pub(super) reported_at: Tick,
    /// Whether anything could be seen at all.
    pub(super) has_pods: bool,
    /// Since when no pod carries the primary label.
    pub(super) without_primary_since: Option<Tick>,
    /// When something about its pods or servers changed last.
    pub(super) stirred: Option<Tick>,
    /// Conflicts in a row.
    pub(super) conflicts: u32,
    /// How long the next failure makes the route wait, and until when the last one does.
    pub(super) backoff: Duration,
    pub(super) not_before: Tick,
    /// Pods, by uid, whose template was complained about.
    pub(super) told_of_template: BTreeSet<String>,
    /// Why a person's word cannot be carried out, as it was last told.
    pub(super) told_of_word: Vec<String>,
    /// What the API server last refused.
    pub(super) refused: Option<String>,
    /// What the last turn said, to say only what is new.
    pub(super) last_verdict: Option<Verdict>,
    /// Where a change of the primary stands, and its span.
    pub(super) course: Course,
    pub(super) switch: Span,
    /// The last switch that this reign saw to its end.
    pub(super) last_switch: LastSwitch,
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
            has_pods: false,
            without_primary_since: None,
            stirred: None,
            conflicts: 0,
            backoff: BACKOFF_MIN,
            not_before: now,
            told_of_template: BTreeSet::new(),
            told_of_word: Vec::new(),
            refused: None,
            last_verdict: None,
            course: Course::default(),
            switch: Span::default(),
            last_switch: LastSwitch::default(),
        }
    }

    pub(super) fn wake(&mut self, at: Tick) {
        self.wake_at = Some(self.wake_at.map_or(at, |sooner| sooner.min(at)));
    }
}

/// What a route's turn looks at, as objects.
pub(crate) struct Scenery {
    pub(super) route: Arc<PostgresRoute>,
    pub(super) pods: Vec<Arc<Pod>>,
    rivals: Vec<Arc<PostgresRoute>>,
    services: Vec<ServiceProblem>,
    primary: Option<Arc<Service>>,
    replica: Option<Arc<Service>>,
    slices: Vec<Arc<EndpointSlice>>,
}

fn scenery(scope: &Scope, route: Arc<PostgresRoute>, key: &RouteKey) -> Scenery {
    let namespace = key.namespace.as_str();
    let pods = scope.pods.list(namespace, |pod| observe::selects(&route, pod));
    let rivals = scope.routes.list(namespace, |rival| rival.name_any() != key.name);
    let primary = scope.services.get(namespace, &route.spec.services.primary);
    let replica = scope.services.get(namespace, &route.spec.services.replica);
    let mut problems = Vec::new();
    for (role, service) in [(Role::Primary, &primary), (Role::Replica, &replica)] {
        let problem = acceptance::service_problem(&route, role, service.as_deref());
        problems.extend(problem.or_else(|| acceptance::port_problem(&route, service.as_deref()?, &pods)));
    }
    let slices = scope.slices.list(namespace, |slice| slices::concerns(&route, slice));
    Scenery {
        pods,
        rivals,
        services: problems,
        primary,
        replica,
        slices,
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
        let Some(route) = scope.routes.get(&key.namespace, &key.name) else {
            self.forget(key);
            return;
        };
        let tended = self.routes.entry(key.clone()).or_insert_with(|| Tended::new(now));
        if tended.writing {
            // Its end makes the route due again.
            return;
        }
        // observe (stores)
        let scene = scenery(&scope, route, key);
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
        let Some(term) = self.term() else { return };
        let Some(tended) = self.routes.get_mut(key) else { return };
        let ledger = scope.ledgers.get(&key.namespace, &key.name);
        let known = Known {
            at: now,
            term,
            holder: self.holder,
            route: &scene.route,
            pods: &scene.pods,
            ledger: ledger.as_deref(),
            services: Services {
                primary: scene.primary.as_deref(),
                replica: scene.replica.as_deref(),
            },
            slices: &scene.slices,
            sightings: &tended.sightings,
        };
        let observed = observe::observe(&known, &mut tended.memory);
        // decide (pure)
        let plan = decide(&observed, &Policy::of(&scene.route.spec));
        self.context.metrics.decided(self.context.clock.now().since(now));
        self.tell_of_templates(key, &scene, &observed);
        self.follow(
            key,
            &scene,
            &observed,
            &plan,
            ledger.map(|ledger| ledger.spec.clone()),
            term,
        );
        self.show(key, &scene, &observed, &plan);
    }

    /// Labels that pods were born with are taken off; whoever wrote the template should know. Each pod is told about once.
    fn tell_of_templates(&mut self, key: &RouteKey, scene: &Scenery, observed: &Observed) {
        let label = &scene.route.spec.role_label;
        let Some(tended) = self.routes.get_mut(key) else { return };
        tended
            .told_of_template
            .retain(|uid| observed.pods.keys().any(|pod| pod.uid == *uid));
        let mut notices = Vec::new();
        for pod in &scene.pods {
            let key = observe::key_of(pod);
            let born_with = observed
                .pods
                .get(&key)
                .is_some_and(|view| view.stamp == StampState::Absent && view.label != LabelState::Absent);
            let Some(Owner::Read(owner)) = self.owners.of(pod) else {
                continue;
            };
            if born_with && owner.template.contains(label) && tended.told_of_template.insert(key.uid) {
                let note = format!(
                    "pod {} was born with the label {label:?} from the template of {}: a role has to be earned, so the label \
                     is taken off. Remove it from the template",
                    key.name, owner.name
                );
                notices.push(Notice {
                    warning: true,
                    reason: Reason::TemplateCarriesRole,
                    note,
                });
            }
        }
        report::tell(&self.context, &mut self.reports, key, &scene.route, notices);
    }

    /// A person's word that cannot be carried out changes no status: it is told on its own, once for each reason.
    fn tell_of_word(&mut self, key: &RouteKey, scene: &Scenery, plan: &Plan) {
        let Some(tended) = self.routes.get_mut(key) else { return };
        let refused = refusals(plan);
        if refused == tended.told_of_word {
            return;
        }
        tended.told_of_word.clone_from(&refused);
        let notices = refused.into_iter().map(|note| Notice {
            warning: true,
            reason: Reason::AcceptRefused,
            note,
        });
        report::tell(&self.context, &mut self.reports, key, &scene.route, notices.collect());
    }

    /// Acts on a plan: writes go out, the report follows.
    fn follow(
        &mut self,
        key: &RouteKey,
        scene: &Scenery,
        observed: &Observed,
        plan: &Plan,
        ledger: Option<shared::ledger::PostgresLedgerSpec>,
        term: Term,
    ) {
        self.tell_of_word(key, scene, plan);
        let Some(tended) = self.routes.get_mut(key) else { return };
        tended.wake_at = plan.wake_at;
        let teller = Teller {
            tracer: &self.context.host.tracer,
            metrics: &self.context.metrics,
            clock: self.context.clock.as_ref(),
            reign: &self.accession,
        };
        teller.turn(key, tended, observed, plan);
        let _within = tended.switch.enter();
        if tended.last_verdict != Some(plan.verdict) {
            info!(route = %key, verdict = plan.verdict.as_str(), actions = plan.actions.len(), "decided");
            tended.last_verdict = Some(plan.verdict);
        }
        let view = showing::view(observed, plan, |at| since_1970(self.context.clock.as_ref(), at));
        self.context.metrics.show_route(&key.namespace, &key.name, view);
        let now = self.context.clock.now();
        // record (status, Events): a status is written between turns, not while a role is being moved, unless it cannot be moved.
        let moving = plan.actions.iter().any(|action| {
            !matches!(
                action,
                Action::Stamp { .. } | Action::StampLedger { .. } | Action::StampSlice { .. }
            )
        });
        if !moving || tended.refused.is_some() {
            let (refused, last_switch) = (tended.refused.clone(), tended.last_switch.clone());
            let outcome = Outcome::Decided {
                observed,
                plan,
                refused: refused.as_deref(),
                last_switch: last_switch.phases(),
            };
            self.report(key, scene, term, outcome);
        }
        let Some(tended) = self.routes.get_mut(key) else { return };
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
            now: Time(self.context.clock.wall()),
            switch: SwitchTold {
                cause: tended.course.cause().map(Cause::as_str),
                trace: tended.switch.trace_id(),
            },
        };
        tended.last_switch.marks(&plan.actions, &place.now);
        let switch = tended.switch.clone();
        let work = turn::carry_out(
            Arc::clone(&self.context),
            key.clone(),
            place,
            observed.at,
            plan.actions.clone(),
            switch,
        );
        self.turns.spawn(work);
    }

    /// Shows people what was found and decided. It looks ahead, so it comes after the writes have gone out.
    fn show(&self, key: &RouteKey, scene: &Scenery, observed: &Observed, plan: &Plan) {
        let Some(tended) = self.routes.get(key) else { return };
        let clock = self.context.clock.as_ref();
        let (name, cause) = ((key.namespace.as_str(), key.name.as_str()), tended.course.cause());
        let shown = live::route(&scene.route, name, observed, plan, cause, |at| wall_at(clock, at));
        self.context.live.show(key, shown);
    }

    /// A route that cannot be served as it is written: nobody is probed, nothing is written but its status.
    fn refuse(&mut self, key: &RouteKey, scene: &Scenery, refusal: &Refusal) {
        let Some(term) = self.term() else { return };
        let Some(tended) = self.routes.get_mut(key) else { return };
        tended.probes.clear();
        tended.sightings.clear();
        tended.wake_at = None;
        tended.has_pods = false;
        self.context
            .metrics
            .show_route(&key.namespace, &key.name, showing::refused());
        let shown = live::refused(&scene.route, (&key.namespace, &key.name), self.context.clock.wall());
        self.context.live.show(key, shown);
        self.report(key, scene, term, Outcome::Refused(refusal));
    }

    /// The term to write under; none when the reign is over.
    fn term(&self) -> Option<Term> {
        self.context
            .election
            .leadership
            .borrow()
            .reign()
            .map(|reign| reign.term)
    }

    /// Tells people what became of a turn.
    fn report(&mut self, key: &RouteKey, scene: &Scenery, term: Term, outcome: Outcome<'_>) {
        let Some(tended) = self.routes.get_mut(key) else { return };
        let told = Told {
            route: &scene.route,
            term,
            now: Time(self.context.clock.wall()),
            services: &scene.services,
            outcome,
        };
        report::begin(&self.context, &mut self.reports, key, tended, &told);
    }

    /// Whether every route that has pods is blind, and the Lease was not given up for that before.
    pub(super) fn all_blind(&self) -> bool {
        let mut seen = self.routes.values().filter(|tended| tended.has_pods).peekable();
        seen.peek().is_some()
            && seen.all(|tended| tended.last_verdict == Some(Verdict::Blind))
            && !self.context.gave_up_blind.load(Ordering::Relaxed)
    }

    fn forget(&mut self, key: &RouteKey) {
        if self.routes.remove(key).is_some() {
            info!(route = %key, "the route is gone: its pods keep their labels, its ledger stays");
            self.context.metrics.forget_route(&key.namespace, &key.name);
            self.context.live.forget(key);
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

/// A tick by the wall clock; for people.
fn wall_at(clock: &dyn Clock, at: Tick) -> Timestamp {
    let (now, wall) = (clock.now(), clock.wall());
    let moved = if at > now {
        wall.checked_add(at.since(now))
    } else {
        wall.checked_sub(now.since(at))
    };
    moved.unwrap_or(wall)
}

/// A tick by the wall clock, in seconds since 1970; for people.
fn since_1970(clock: &dyn Clock, at: Tick) -> f64 {
    clock.wall().as_duration().as_secs_f64() - clock.now().since(at).as_secs_f64()
}

fn refusals(plan: &Plan) -> Vec<String> {
    let refused = |finding: &Finding| match finding {
        Finding::AcceptRefused { why } => Some(why.clone()),
        Finding::SplitBrain { .. }
        | Finding::NoMark { .. }
        | Finding::Orphaned { .. }
        | Finding::Foreign { .. }
        | Finding::Barred { .. }
        | Finding::Contested { .. }
        | Finding::ForeignEndpoints { .. } => None,
    };
    plan.findings.iter().filter_map(refused).collect()
}
