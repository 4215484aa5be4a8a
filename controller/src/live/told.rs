//! One route as people and programs are told about it by the leader's endpoint. Pure.

use std::time::Duration;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use probe::{Evidence, Report, Standing};
use serde::{Deserialize, Serialize};
use shared::{
    ledger::{Mark, Switch},
    role::Role,
    route::PostgresRoute,
    term::Term,
    wal::{Lsn, Timeline},
};

use crate::{
    clock::Tick,
    decide::{Action, LabelState, LedgerView, Observed, Plan, PodKey, PodView, Policy},
    foresee::foresee,
    switch::Cause,
};

/// Who answers: the head of every answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenBy {
    /// Version of this interface: the custom resources' own.
    pub api_version: String,
    /// What the answer is: `RouteOverview`, `RouteView`, `RoutePlan` or `RouteHistory`.
    pub kind: String,
    /// The leader's identity, as the Lease has it: `<pod>_<8 hex>`.
    pub leader: String,
    /// Its term.
    pub term: Term,
    /// The version that runs.
    pub version: String,
    /// The leader's wall clock when it answered.
    pub now: Time,
}

/// All routes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// Who answers.
    #[serde(flatten)]
    pub by: SeenBy,
    /// By namespace and name.
    pub routes: Vec<LiveRoute>,
}

/// What the leader would do about one route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoutePlan {
    /// Who answers.
    #[serde(flatten)]
    pub by: SeenBy,
    /// The route's namespace.
    pub namespace: String,
    /// The route's name.
    pub name: String,
    /// The state that it is in.
    pub state: String,
    /// What would follow.
    pub next: NextTurns,
}

/// The last switches of one route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteHistory {
    /// Who answers.
    #[serde(flatten)]
    pub by: SeenBy,
    /// The route's namespace.
    pub namespace: String,
    /// The route's name.
    pub name: String,
    /// The newest first.
    pub switches: Vec<Switch>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveRoute {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// In a word, as the status has it.
    pub state: String,
    /// Whether a person paused it.
    #[serde(default)]
    pub paused: bool,
    /// The two Services.
    pub services: Services,
    /// The pod that is labelled primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// Its timeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
    /// A switch that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<Moving>,
    /// Its pods.
    pub members: Vec<LiveMember>,
    /// The conditions, as the status has them.
    pub conditions: Vec<Condition>,
    /// What is remembered of the last primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// The last switches, the newest first.
    pub switches: Vec<Switch>,
    /// What would follow if nothing else changed.
    pub next: NextTurns,
    /// When the leader looked: every two seconds at least.
    pub seen_at: Time,
}

/// The names of the two Services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// For writes.
    pub primary: String,
    /// For reads.
    pub replica: String,
}

/// A switch that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// Why: a word of the list in docs/metrics.md.
    pub cause: String,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveMember {
    /// Its name.
    pub pod: String,
    /// Its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// What its server was last found to be: the words of the status' `evidence`.
    pub evidence: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// What it is labelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// What it should be labelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<Role>,
    /// Its server's timeline, as it last said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
    /// Its server's position in the write-ahead log, as it last said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lsn: Option<Lsn>,
    /// How far a standby is behind the primary, in bytes, as both last said; absent where they cannot be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_bytes: Option<u64>,
    /// How long the last question took, in microseconds, answered or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_micros: Option<u64>,
    /// How long ago its server last answered, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_millis_ago: Option<u64>,
    /// Whether the write Service's endpoints hold it.
    pub among_write_endpoints: bool,
    /// Why it has this role, or none, in words.
    pub why: String,
}

/// What would follow if nothing else changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextTurns {
    /// Whether it is what would follow if the route were resumed: it is paused, and nothing is going to be done.
    #[serde(default)]
    pub if_resumed: bool,
    /// Turns that would write something, in their order.
    pub turns: Vec<Turn>,
    /// The state after them, in a word; absent: it would go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<String>,
}

/// One turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// What it would write, in words.
    pub writes: Vec<String>,
}

/// A route as a turn has just found it. `wall` is the wall clock's time of a tick.
pub fn route(
    object: &PostgresRoute,
    (namespace, name): (&str, &str),
    observed: &Observed,
    plan: &Plan,
    cause: Option<Cause>,
    wall: impl Fn(Tick) -> Timestamp,
) -> LiveRoute {
    let primary = observed.pods.iter().find(|(_, pod)| is_primary(pod));
    let (mark, switches) = match &observed.ledger {
        LedgerView::Present { ledger, .. } => (ledger.mark.clone(), ledger.switches.clone()),
        LedgerView::Absent => (None, Vec::new()),
    };
    let status = object.status.as_ref();
    let last = status.and_then(|status| status.last_switch.as_ref());
    LiveRoute {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        state: plan.verdict.as_str().to_owned(),
        paused: observed.paused,
        services: Services {
            primary: object.spec.services.primary.clone(),
            replica: object.spec.services.replica.clone(),
        },
        primary: primary.map(|(key, _)| key.name.clone()),
        timeline: primary.and_then(|(_, pod)| answer(pod)).map(|report| report.timeline),
        moving: cause.map(|cause| Moving {
            cause: cause.as_str().to_owned(),
        }),
        members: observed
            .pods
            .iter()
            .map(|(key, pod)| member(key, pod, primary.map(|(_, pod)| pod), (observed, plan), object, &wall))
            .collect(),
        conditions: status.map(|status| status.conditions.clone()).unwrap_or_default(),
        mark,
        switches: last.map_or(switches.clone(), |last| last.complete(switches)),
        next: next(observed, plan, &Policy::of(&object.spec)),
        seen_at: Time(wall(observed.at)),
    }
}

/// A route that is not served: nobody is asked, nothing is done.
pub fn refused(object: &PostgresRoute, (namespace, name): (&str, &str), at: Timestamp) -> LiveRoute {
    LiveRoute {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        state: "Refused".to_owned(),
        paused: false,
        services: Services {
            primary: object.spec.services.primary.clone(),
            replica: object.spec.services.replica.clone(),
        },
        primary: None,
        timeline: None,
        moving: None,
        members: Vec::new(),
        conditions: object
            .status
            .as_ref()
            .map(|status| status.conditions.clone())
            .unwrap_or_default(),
        mark: None,
        switches: Vec::new(),
        next: NextTurns {
            then: Some("Refused".to_owned()),
            ..NextTurns::default()
        },
        seen_at: Time(at),
    }
}

/// Since when a server has been found so. The status may know of a longer time: this reign has seen it only since it began.
fn since(
    key: &PodKey,
    pod: &PodView,
    evidence: Evidence,
    object: &PostgresRoute,
    wall: &impl Fn(Tick) -> Timestamp,
) -> Option<Time> {
    let own = pod.sightings.since.map(|since| Time(wall(since)))?;
    let members = object.status.iter().flat_map(|status| &status.members);
    let told = members
        .filter(|member| member.pod == key.name && member.evidence == format!("{evidence:?}"))
        .find_map(|member| member.since.clone());
    Some(told.filter(|told| told.0 < own.0).unwrap_or(own))
}

fn member(
    key: &PodKey,
    pod: &PodView,
    primary: Option<&PodView>,
    (observed, plan): (&Observed, &Plan),
    object: &PostgresRoute,
    wall: &impl Fn(Tick) -> Timestamp,
) -> LiveMember {
    let told = plan.members.get(key);
    let evidence = told.map_or(Evidence::Silent, |member| member.evidence);
    let newest = [&pod.sightings.fresh, &pod.sightings.kept].into_iter().flatten();
    let newest = newest.max_by_key(|sighting| sighting.at);
    LiveMember {
        pod: key.name.clone(),
        node: pod.node.clone(),
        ip: pod.ip.map(|ip| ip.to_string()),
        evidence: format!("{evidence:?}"),
        since: since(key, pod, evidence, object, wall),
        role: role(pod),
        desired: told.and_then(|member| member.desired),
        timeline: answer(pod).map(|report| report.timeline),
        lsn: answer(pod).map(|report| report.lsn),
        lag_bytes: (evidence == Evidence::InRecovery)
            .then(|| behind(pod, primary))
            .flatten(),
        probe_micros: newest.map(|sighting| whole(sighting.took, Duration::as_micros)),
        answered_millis_ago: pod
            .sightings
            .answer
            .as_ref()
            .map(|(at, _)| whole(observed.at.since(*at), Duration::as_millis)),
        among_write_endpoints: pod.out_of_write_since.is_none(),
        why: told.map(|member| member.why.clone()).unwrap_or_default(),
    }
}

/// How far a standby is behind the primary; none where the two cannot be compared.
pub(crate) fn behind(pod: &PodView, primary: Option<&PodView>) -> Option<u64> {
    let (own, primary) = (answer(pod)?, answer(primary?)?);
    let comparable = own.standing == Standing::InRecovery
        && own.system_identifier == primary.system_identifier
        && own.timeline == primary.timeline;
    comparable.then(|| primary.lsn.0.saturating_sub(own.lsn.0))
}

fn next(observed: &Observed, plan: &Plan, policy: &Policy) -> NextTurns {
    let if_resumed = observed.paused;
    // A route at rest, as nearly all are nearly always: there is nothing to look ahead for.
    if plan.actions.is_empty() && !if_resumed {
        return NextTurns {
            if_resumed,
            turns: Vec::new(),
            then: Some(plan.verdict.as_str().to_owned()),
        };
    }
    let resumed = Observed {
        paused: false,
        ..observed.clone()
    };
    let foreseen = foresee(&resumed, policy);
    NextTurns {
        if_resumed,
        turns: foreseen
            .turns
            .iter()
            .map(|plan| Turn {
                writes: plan.actions.iter().map(words).collect(),
            })
            .collect(),
        then: foreseen.end.map(|plan| plan.verdict.as_str().to_owned()),
    }
}

/// A write, as an instruction.
fn words(action: &Action) -> String {
    let label = |to: &Option<Role>| to.map_or_else(|| "no role".to_owned(), |role| role.to_string());
    match action {
        Action::Stamp { pod, .. } => format!("stamp {}", pod.name),
        Action::StampLedger { .. } => "stamp the ledger".to_owned(),
        Action::Withdraw { pod, to, .. } => {
            format!("withdraw the primary role from {}, label it {}", pod.name, label(to))
        }
        Action::Relabel { pod, to, .. } => format!("label {} {}", pod.name, label(to)),
        Action::SetMark { mark, switch, .. } => {
            let what = if switch.is_some() {
                "set the mark to"
            } else {
                "refresh the mark:"
            };
            format!("{what} {} on timeline {} at {}", mark.pod, mark.timeline, mark.lsn)
        }
        Action::Grant { pod, .. } => format!("grant the primary role to {}", pod.name),
        Action::CreateSlice { slice, .. } => format!("make EndpointSlice {slice}, without endpoints"),
        Action::StampSlice { slice, .. } => format!("stamp EndpointSlice {}", slice.name),
        Action::SetEndpoints { slice, to, .. } => {
            let pods: Vec<&str> = to.endpoints.iter().map(|endpoint| endpoint.pod.name.as_str()).collect();
            let pods = if pods.is_empty() {
                "nobody".to_owned()
            } else {
                pods.join(", ")
            };
            format!("list {pods} in EndpointSlice {}", slice.name)
        }
        Action::ClearAccept => "take the accept annotation off the route".to_owned(),
        Action::StepDown { met } => format!("stop leading: somebody has written under term {met}"),
    }
}

fn is_primary(pod: &PodView) -> bool {
    role(pod) == Some(Role::Primary)
}

fn role(pod: &PodView) -> Option<Role> {
    match pod.label {
        LabelState::Known(role) => Some(role),
        LabelState::Absent | LabelState::Foreign(_) => None,
    }
}

fn answer(pod: &PodView) -> Option<&Report> {
    pod.sightings.answer.as_ref().map(|(_, report)| report)
}

fn whole(span: Duration, unit: impl Fn(&Duration) -> u128) -> u64 {
    u64::try_from(unit(&span)).unwrap_or(u64::MAX)
}
