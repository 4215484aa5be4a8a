//! Tells of a route's switches what [`crate::switch::Course`] finds worth telling: as spans of one trace a switch, as metrics, and
//! as a line in the log. It makes no choice of its own.
//!
//! ```text
//! switch                       from the first sighting that differed until nothing was left to do
//! ├ sighting                   from what was seen until it was decided upon
//! ├ decide                     verdict, actions, and what each pod looked like
//! ├ withdraw, set mark, grant  one write each: `permit`, and the request to the API server
//! ├ endpoints                  from the answer to the write until the EndpointSlices had followed
//! └ settled                    from then until nothing was left to do
//! ```

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use opentelemetry::{Array, StringValue, Value};
use probe::Evidence;
use shared::ledger::Phases;
use tracing::info;

use super::{RouteKey, tending::Tended};
use crate::{
    clock::{Clock, Tick},
    decide::{Action, LabelState, Observed, Plan, PodView},
    metrics::Metrics,
    switch::{Ended, Step},
    trace::{Span, Tracer, millis},
};

/// Pods that one decision's span names; a route has a handful.
const PODS_TOLD_MAX: usize = 32;

/// What a route's status is told of the last switch that this reign saw.
#[derive(Debug, Clone, Default)]
pub(super) struct LastSwitch {
    /// When it was written into the ledger.
    marked: Option<Time>,
    /// How long its parts took, once it is over.
    phases: Option<Phases>,
}

impl LastSwitch {
    /// These writes go out now: the switch is in the ledger under this time, if it is among them.
    pub(super) fn marks(&mut self, actions: &[Action], now: &Time) {
        let marks = |action: &Action| matches!(action, Action::SetMark { switch: Some(_), .. });
        if actions.iter().any(marks) {
            *self = Self {
                marked: Some(now.clone()),
                phases: None,
            };
        }
    }

    /// Under which time it is in the ledger, and how long its parts took; none while it is not over.
    pub(super) fn phases(&self) -> Option<(Time, Phases)> {
        self.marked.clone().zip(self.phases)
    }
}

/// The parts of a switch that came to its end, as people are told them.
fn phases(ended: &Ended) -> Phases {
    let millis = |span: Duration| u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
    let after = |at: Tick| millis(at.since(ended.began));
    Phases {
        withdrawn_millis: ended.withdrawn.map(after),
        granted_millis: ended.granted.map(after),
        followed_millis: ended.followed.map(after),
        settled_millis: after(ended.ended),
        write_outage_millis: ended.write_outage().map(millis),
    }
}

/// Where switches are told of.
pub(super) struct Teller<'a> {
    pub(super) tracer: &'a Tracer,
    pub(super) metrics: &'a Metrics,
    pub(super) clock: &'a dyn Clock,
    /// The change of leadership that this reign began with.
    pub(super) reign: &'a Span,
}

impl Teller<'_> {
    /// Looks at a turn of a route that has just been decided about, and tells what is new.
    pub(super) fn turn(&self, key: &RouteKey, tended: &mut Tended, observed: &Observed, plan: &Plan) {
        for step in tended.course.looked(observed, plan) {
            self.step(key, tended, observed, plan, step);
        }
    }

    fn step(&self, key: &RouteKey, tended: &mut Tended, observed: &Observed, plan: &Plan, step: Step) {
        let now = self.clock.now();
        let span = &mut tended.switch;
        match step {
            Step::Began { at, cause, from } => {
                tended.last_switch = LastSwitch::default();
                *span = self.tracer.begin("switch", at, self.clock, &[self.reign]);
                span.say("route", key.to_string())
                    .say("term", i64::from(observed.reign.term.0))
                    .say("cause", cause.as_str());
                if let Some(from) = &from {
                    span.say("from", from.clone());
                }
                let _within = span.enter();
                info!(route = %key, cause = cause.as_str(), from, "the primary changes");
            }
            Step::Sighted(seen) => {
                let sighting = span.child("sighting", seen.at);
                sighting
                    .say("pod", seen.pod)
                    .say("evidence", evidence(seen.evidence))
                    .say("detail", seen.detail);
                sighting.end(observed.at);
            }
            Step::Decided => decided(span, observed, plan, now),
            Step::Followed { since } => span.child("endpoints", since).end(observed.at),
            Step::Ended(ended) => {
                self.ended(key, span, &ended);
                *span = Span::default();
                tended.last_switch.phases = Some(phases(&ended));
            }
        }
    }

    fn ended(&self, key: &RouteKey, span: &Span, ended: &Ended) {
        if let Some(quiet) = ended.followed.or(ended.granted).or(ended.withdrawn) {
            span.child("settled", quiet).end(ended.ended);
        }
        span.say("outcome", ended.outcome.as_str());
        if let Some(to) = &ended.to {
            span.say("to", to.clone());
        }
        if let Some(outage) = ended.write_outage() {
            span.say("write_outage_ms", millis(outage));
        }
        span.end(ended.ended);
        let (trace, at) = (span.trace_id(), self.clock.wall().into());
        self.metrics.switch_ended(&key.namespace, &key.name, ended, trace, at);
        let _within = span.enter();
        info!(
            route = %key,
            cause = ended.cause.as_str(),
            outcome = ended.outcome.as_str(),
            from = ended.from,
            to = ended.to,
            took_ms = millis(ended.took()),
            write_outage_ms = ended.write_outage().map(millis),
            "the switch is over"
        );
    }
}

fn decided(span: &Span, observed: &Observed, plan: &Plan, now: Tick) {
    if !span.is_told() {
        return;
    }
    let decide = span.child("decide", observed.at);
    let actions = plan.actions.iter().map(|action| match action.pod() {
        Some(pod) => format!("{} {}", action.name(), pod.name),
        None => action.name().to_owned(),
    });
    let pods = observed.pods.iter().take(PODS_TOLD_MAX).map(|(pod, view)| {
        let member = plan.members.get(pod);
        let why = member.map(|member| member.why.as_str()).unwrap_or_default();
        let found = member.map_or_else(|| "not looked at".to_owned(), |member| evidence(member.evidence));
        format!(
            "{}: {}, {found}{}; {why}",
            pod.name,
            label(&view.label),
            position(view, observed.at)
        )
    });
    decide
        .say("verdict", plan.verdict.as_str())
        .say("actions", texts(actions))
        .say("pods", texts(pods))
        .say(
            "findings",
            texts(plan.findings.iter().map(|finding| format!("{finding:?}"))),
        );
    if let Some(chosen) = &plan.chosen {
        decide.say("chosen", chosen.name.clone());
    }
    if let Some(mark) = observed.mark() {
        decide.say(
            "mark",
            format!("{} on timeline {} at {}", mark.pod, mark.timeline, mark.lsn),
        );
    }
    decide.end(now);
}

fn texts(texts: impl Iterator<Item = String>) -> Value {
    Value::Array(Array::String(texts.map(StringValue::from).collect()))
}

fn evidence(evidence: Evidence) -> String {
    format!("{evidence:?}")
}

fn label(label: &LabelState) -> &str {
    match label {
        LabelState::Known(role) => role.as_str(),
        LabelState::Absent => "no role",
        LabelState::Foreign(_) => "a label of somebody else's",
    }
}

/// Where the server was when it last said so.
fn position(view: &PodView, now: Tick) -> String {
    let said = |(at, report): &(Tick, probe::Report)| {
        let age = millis(now.since(*at));
        format!(", on timeline {} at {} {age:.1} ms ago", report.timeline, report.lsn)
    };
    view.sightings.answer.as_ref().map(said).unwrap_or_default()
}
