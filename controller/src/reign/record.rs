//! What people are told: the route's status and conditions, and the Events that follow from a change of them. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use probe::Evidence;
use shared::{
    ledger::{Phases, Switch},
    names,
    role::Role,
    route::{PostgresRoute, Routing},
    status::{ConditionType, LastSwitch, Member, PostgresRouteStatus, Reason},
    term::Term,
};

use super::acceptance::{Refusal, ServiceProblem};
use crate::decide::{Finding, LabelState, LedgerView, Observed, Plan, Verdict};

/// A condition's message is cut to this length: the API server takes 32 KiB, and nobody reads more than this.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// Everything that a status is made of.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub(crate) route: &'a PostgresRoute,
    pub(crate) term: Term,
    pub(crate) now: Time,
    pub(crate) services: &'a [ServiceProblem],
    pub(crate) outcome: Outcome<'a>,
}

/// What became of the route's turn.
#[derive(Debug)]
pub(crate) enum Outcome<'a> {
    /// It was decided about.
    Decided {
        /// What was looked at.
        observed: &'a Observed,
        /// What was decided.
        plan: &'a Plan,
        /// A write that was refused, if the last one was.
        refused: Option<&'a str>,
        /// When the last switch that this reign saw was written into the ledger, and how long its parts took, once it is over.
        last_switch: Option<(Time, Phases)>,
    },
    /// It cannot be served as it is written.
    Refused(&'a Refusal),
}

/// Something to tell once, as an Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Whether a person should look.
    pub(crate) warning: bool,
    /// What it is about.
    pub(crate) reason: Reason,
    /// In words.
    pub(crate) note: String,
}

/// One condition, before its times.
struct Says {
    kind: ConditionType,
    holds: bool,
    reason: Reason,
    message: String,
}

impl Says {
    fn new(kind: ConditionType, holds: bool, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            kind,
            holds,
            reason,
            message: message.into(),
        }
    }

    fn fine(kind: ConditionType, holds: bool) -> Self {
        Self::new(kind, holds, Reason::AsExpected, "")
    }
}

/// Whether the condition means trouble when it holds.
const fn is_trouble(kind: ConditionType) -> bool {
    match kind {
        ConditionType::Accepted
        | ConditionType::Settled
        | ConditionType::PrimaryAvailable
        | ConditionType::ServicesCorrect
        | ConditionType::CredentialsValid => false,
        ConditionType::Blind
        | ConditionType::SplitBrain
        | ConditionType::LabelContested
        | ConditionType::NoMark
        | ConditionType::ForeignServer
        | ConditionType::ForeignEndpoints => true,
    }
}

/// The status as it should be, equal to the old one when nothing that matters has changed; and what to tell about what has.
pub(crate) fn status(told: &Told<'_>) -> (PostgresRouteStatus, Vec<Notice>) {
    let old = told.route.status.clone().unwrap_or_default();
    let says = conditions(told);
    let conditions = says.iter().map(|says| dated(says, told, &old.conditions)).collect();
    let notices = says.iter().filter_map(|says| notice(says, &old.conditions)).collect();
    let mut status = PostgresRouteStatus {
        observed_generation: told.route.metadata.generation,
        term: told.term,
        conditions,
        last_switch: old.last_switch.clone(),
        ..PostgresRouteStatus::default()
    };
    match &told.outcome {
        Outcome::Refused(_) => "Refused".clone_into(&mut status.state),
        Outcome::Decided {
            observed,
            plan,
            last_switch: ended,
            ..
        } => {
            plan.verdict.as_str().clone_into(&mut status.state);
            members(&mut status, observed, plan);
            for (member, pod) in status.members.iter_mut().zip(observed.pods.values()) {
                if pod.sightings.deciding().is_none() {
                    keep_found(member, &old.members);
                }
                date(member, &old.members, &told.now);
            }
            if let LedgerView::Present { ledger, .. } = &observed.ledger {
                let last = ledger.switches.first();
                status.last_switch = last.map(|switch| last_switch(switch, ended.as_ref(), old.last_switch.as_ref()));
            }
        }
    }
    (status, notices)
}

/// Whether nothing but explanations differs: they may name a position, which moves all the time.
pub(crate) fn differs_in_words_only(new: &PostgresRouteStatus, old: &PostgresRouteStatus) -> bool {
    let wordless = |status: &PostgresRouteStatus| {
        let mut status = status.clone();
        status.members.iter_mut().for_each(|member| member.why.clear());
        status
            .conditions
            .iter_mut()
            .for_each(|condition| condition.message.clear());
        status
    };
    new != old && wordless(new) == wordless(old)
}

fn members(status: &mut PostgresRouteStatus, observed: &Observed, plan: &Plan) {
    for (key, pod) in &observed.pods {
        let role = match pod.label {
            LabelState::Known(role) => Some(role),
            LabelState::Absent | LabelState::Foreign(_) => None,
        };
        let timeline = pod.sightings.answer.as_ref().map(|(_, report)| report.timeline);
        let member = plan.members.get(key);
        match role {
            Some(Role::Primary) => {
                status.primary = Some(key.name.clone());
                status.timeline = timeline;
            }
            Some(Role::Replica) => status.replicas += 1,
            Some(Role::Orphan) | None => {}
        }
        status.members.push(Member {
            pod: key.name.clone(),
            node: pod.node.clone(),
            evidence: format!("{:?}", member.map_or(Evidence::Silent, |member| member.evidence)),
            role,
            timeline,
            since: None,
            why: member.map(|member| member.why.clone()).unwrap_or_default(),
        });
    }
}

/// A leader that has just taken over has seen nothing of the pod yet: what was last found still is what was last found.
fn keep_found(member: &mut Member, before: &[Member]) {
    let before = before
        .iter()
        .find(|old| old.pod == member.pod && old.role == member.role);
    if let Some(old) = before {
        member.evidence.clone_from(&old.evidence);
        member.timeline = old.timeline;
    }
}

/// Says since when a pod has been found and labelled as it is: since before, if it was so before.
fn date(member: &mut Member, before: &[Member], now: &Time) {
    let same = |old: &&Member| old.pod == member.pod && old.evidence == member.evidence && old.role == member.role;
    let since = before.iter().find(same).and_then(|old| old.since.clone());
    member.since = Some(since.unwrap_or_else(|| now.clone()));
}

/// The last switch as the ledger has it. `ended` is the last one that this reign saw the end of, `told` what the status said before.
fn last_switch(switch: &Switch, ended: Option<&(Time, Phases)>, told: Option<&LastSwitch>) -> LastSwitch {
    let mut last = LastSwitch {
        at: switch.at.clone(),
        from: switch.from.clone(),
        to: switch.to.clone(),
        cause: switch.cause.clone(),
        trace: switch.trace.clone(),
        phases: switch.phases,
    };
    let ended = ended.filter(|(at, _)| at.0.as_second() == switch.at.0.as_second());
    let told = told.filter(|told| told.is_about(switch));
    last.phases = last
        .phases
        .or_else(|| ended.map(|(_, phases)| *phases))
        .or_else(|| told.and_then(|told| told.phases));
    last
}

/// What to tell about a condition that is not as it was: each change once.
fn notice(says: &Says, old: &[Condition]) -> Option<Notice> {
    let kind = says.kind.to_string();
    let before = old.iter().find(|before| before.type_ == kind);
    let changed =
        before.is_none_or(|before| before.status != word(says.holds) || before.reason != says.reason.to_string());
    let bad = says.holds == is_trouble(says.kind);
    // Moving is what Settled does on the way; its beginning and end are told by grants and withdrawals. What cannot be moved has no
    // other condition.
    let on_the_way = says.kind == ConditionType::Settled && says.reason != Reason::WriteRefused;
    let worth = changed && !on_the_way && (bad || before.is_some());
    let state = if says.holds { "" } else { "not " };
    let note = if says.message.is_empty() {
        format!("the route is {state}{kind}")
    } else {
        shortened(&says.message)
    };
    worth.then_some(Notice {
        warning: bad,
        reason: says.reason,
        note,
    })
}

/// How a condition says yes and no.
const fn word(holds: bool) -> &'static str {
    if holds { "True" } else { "False" }
}

fn shortened(message: &str) -> String {
    message.chars().take(MESSAGE_CHARS_MAX).collect()
}

fn dated(says: &Says, told: &Told<'_>, old: &[Condition]) -> Condition {
    let status = word(says.holds);
    let kind = says.kind.to_string();
    let since = old
        .iter()
        .find(|before| before.type_ == kind && before.status == status)
        .map_or_else(|| told.now.clone(), |before| before.last_transition_time.clone());
    Condition {
        type_: kind,
        status: status.to_owned(),
        reason: says.reason.to_string(),
        message: shortened(&says.message),
        last_transition_time: since,
        observed_generation: told.route.metadata.generation,
    }
}

fn conditions(told: &Told<'_>) -> Vec<Says> {
    let services = match told.services.first() {
        None => Says::fine(ConditionType::ServicesCorrect, true),
        Some(problem) => {
            let texts: Vec<&str> = told.services.iter().map(|problem| problem.text.as_str()).collect();
            Says::new(ConditionType::ServicesCorrect, false, problem.reason, texts.join("; "))
        }
    };
    match &told.outcome {
        Outcome::Refused(refusal) => vec![
            Says::new(ConditionType::Accepted, false, refusal.reason(), refusal.to_string()),
            Says::new(
                ConditionType::Settled,
                false,
                refusal.reason(),
                "the route is not served",
            ),
            services,
        ],
        Outcome::Decided {
            observed,
            plan,
            refused,
            last_switch: _,
        } => {
            let mut all = vec![
                Says::fine(ConditionType::Accepted, true),
                settled(observed, plan, *refused),
                services,
            ];
            all.push(primary_available(observed, plan));
            all.extend(found(plan));
            if told.route.spec.routing == Routing::EndpointSlices {
                all.push(foreign_endpoints(told.route, plan));
            }
            all
        }
    }
}

fn settled(observed: &Observed, plan: &Plan, refused: Option<&str>) -> Says {
    let kind = ConditionType::Settled;
    if let Some(refused) = refused {
        return Says::new(
            kind,
            false,
            Reason::WriteRefused,
            format!("the API server refuses a write: {refused}"),
        );
    }
    match plan.verdict {
        _ if observed.pods.is_empty() => Says::new(
            kind,
            false,
            Reason::NoPods,
            "podSelector picks no pod in this namespace: correct it, or start the pods",
        ),
        Verdict::Settled => Says::fine(kind, true),
        Verdict::Moving => Says::new(kind, false, Reason::Moving, ""),
        Verdict::NoPrimary => Says::new(kind, false, Reason::NoEligibleServer, ""),
        Verdict::SplitBrain => Says::new(kind, false, Reason::SeveralWritable, ""),
        Verdict::Blind => Says::new(kind, false, Reason::NoReply, "no server replies; labels are held"),
        Verdict::Paused => Says::new(
            kind,
            false,
            Reason::Paused,
            "paused by the annotation pgsteer.io/paused",
        ),
    }
}

fn primary_available(observed: &Observed, plan: &Plan) -> Says {
    let kind = ConditionType::PrimaryAvailable;
    if observed
        .pods
        .values()
        .any(|pod| pod.label == LabelState::Known(Role::Primary))
    {
        return Says::fine(kind, true);
    }
    if observed.pods.is_empty() {
        return Says::new(kind, false, Reason::NoPods, "");
    }
    let whys: Vec<String> = plan
        .members
        .iter()
        .map(|(key, member)| format!("{}: {}", key.name, member.why))
        .collect();
    Says::new(kind, false, Reason::NoEligibleServer, whys.join("; "))
}

/// The conditions that follow from what was found.
fn found(plan: &Plan) -> Vec<Says> {
    let mut barred = Vec::new();
    let mut contested = Vec::new();
    let mut foreign = Vec::new();
    let mut no_mark = None;
    let mut split = None;
    for finding in &plan.findings {
        match finding {
            Finding::Barred { pod, detail } => barred.push(format!("{pod}: {detail}")),
            Finding::Contested { pod } => contested.push(pod.clone()),
            Finding::Foreign { pod, why } | Finding::Orphaned { pod, why: Some(why) } => {
                foreign.push(format!("{pod}: {why}"));
            }
            Finding::NoMark { missing } => no_mark = Some(missing),
            Finding::SplitBrain { pods, tie } => split = Some((pods, *tie)),
            Finding::Orphaned { why: None, .. } | Finding::AcceptRefused { .. } | Finding::ForeignEndpoints { .. } => {}
        }
    }
    let list = |kind, texts: &[String], reason, advice: &str| {
        if texts.is_empty() {
            return Says::fine(kind, !is_trouble(kind));
        }
        Says::new(kind, is_trouble(kind), reason, format!("{}{advice}", texts.join("; ")))
    };
    vec![
        list(ConditionType::CredentialsValid, &barred, Reason::ProbeBarred, ""),
        list(
            ConditionType::LabelContested,
            &contested,
            Reason::ChangedByOthers,
            ": somebody else keeps changing the role label; `kubectl get pod --show-managed-fields` names who",
        ),
        list(
            ConditionType::ForeignServer,
            &foreign,
            Reason::OtherHistory,
            "; if this server is the right one, annotate the route with pgsteer.io/accept=<pod uid>",
        ),
        match no_mark {
            None => Says::fine(ConditionType::NoMark, false),
            Some(missing) => Says::new(
                ConditionType::NoMark,
                true,
                Reason::FirstPrimaryUnclear,
                missing.clone(),
            ),
        },
        match split {
            None => Says::fine(ConditionType::SplitBrain, false),
            Some((pods, tie)) => split_brain(pods, tie),
        },
        match plan.verdict {
            Verdict::Blind => Says::new(
                ConditionType::Blind,
                true,
                Reason::NoReply,
                "no server replies; labels are held",
            ),
            Verdict::Settled | Verdict::Moving | Verdict::NoPrimary | Verdict::SplitBrain | Verdict::Paused => {
                Says::fine(ConditionType::Blind, false)
            }
        },
    ]
}

/// Endpoints that others list for a Service whose slices the controller writes, and the command that clears them.
fn foreign_endpoints(route: &PostgresRoute, plan: &Plan) -> Says {
    let kind = ConditionType::ForeignEndpoints;
    let namespace = route.namespace().unwrap_or_default();
    let texts = plan.findings.iter().filter_map(|finding| {
        let Finding::ForeignEndpoints { service, slices } = finding else {
            return None;
        };
        // By label: Kubernetes mirrors an Endpoints object into one more slice a moment after the selector has gone.
        let others = format!(
            "{}={service},{}!={}",
            names::SLICE_SERVICE,
            names::SLICE_MANAGED_BY,
            names::GROUP
        );
        Some(format!(
            "somebody else lists endpoints for Service {service} ({}), so nobody is listed for it anew: \
             kubectl -n {namespace} delete endpoints {service} --ignore-not-found; \
             kubectl -n {namespace} delete endpointslice -l '{others}'",
            slices.join(", ")
        ))
    });
    let texts: Vec<String> = texts.collect();
    if texts.is_empty() {
        return Says::fine(kind, false);
    }
    Says::new(kind, true, Reason::ListedByOthers, texts.join("; "))
}

fn split_brain(pods: &[String], tie: bool) -> Says {
    let pods = pods.join(", ");
    if tie {
        let text = format!(
            "{pods} take writes on the same new timeline: stop all but one, or annotate the route with pgsteer.io/accept=<pod uid>"
        );
        Says::new(ConditionType::SplitBrain, true, Reason::PersonMustChoose, text)
    } else {
        let text = format!("{pods} take writes; all but the primary are orphans: stop them, their writes will be lost");
        Says::new(ConditionType::SplitBrain, true, Reason::SeveralWritable, text)
    }
}
