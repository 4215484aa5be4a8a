//! Tells people: writes the status, and publishes Events. Nothing here changes what is decided, and none of it is waited for.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use shared::{names, route::PostgresRoute, status::Reason};
use tracing::{debug, warn};

use super::{
    Context, RouteKey,
    record::{self, Notice, Told},
    stores::Scope,
    tending::Tended,
};
use crate::{
    chain::Chain,
    decide::Action,
    election::permit,
    metrics::{Write, WriteOutcome},
    tasks::Tasks,
    writer::Written,
};

/// Events of one report that are published at most; more would only hide the first ones.
const NOTICES_MAX: usize = 8;

/// A status that differs from the last one only in its words (a position that moves on) is written at most this often.
const WORDS_EVERY: Duration = Duration::from_mins(1);

/// What became of a report.
pub(crate) struct Reported {
    pub(crate) route: RouteKey,
    /// The route with its new status.
    pub(crate) written: Option<Box<PostgresRoute>>,
    /// Whether it was a status: a route has one under way at most.
    pub(crate) status: bool,
}

/// Begins to write the status, if it differs from what the route has, and to publish what is new in it.
pub(crate) fn begin(
    context: &Arc<Context>,
    reports: &mut Tasks<Reported>,
    key: &RouteKey,
    tended: &mut Tended,
    told: &Told<'_>,
) {
    let (status, notices) = record::status(told);
    let holds = |condition: &Condition| (condition.type_.clone(), condition.status == "True");
    let conditions = status.conditions.iter().map(holds).collect();
    context.metrics.show_conditions(&key.namespace, &key.name, conditions);
    let old = told.route.status.clone().unwrap_or_default();
    let now = context.clock.now();
    let words_may_wait = record::differs_in_words_only(&status, &old) && now.since(tended.reported_at) < WORDS_EVERY;
    if tended.reporting || status == old || words_may_wait {
        return;
    }
    tended.reporting = true;
    tended.reported_at = now;
    let (context, key, route) = (Arc::clone(context), key.clone(), told.route.clone());
    reports.spawn(async move {
        let leadership = context.election.leadership.borrow().clone();
        let written = match permit(&leadership, context.clock.now()) {
            Ok(permit) => context.writer.status(permit, &route, &status).await.ok(),
            Err(_not_leading) => None,
        };
        let (outcome, written) = match written {
            Some(Written::Done(object)) => (WriteOutcome::Done, Some(object)),
            Some(Written::Conflict(_) | Written::Gone) => (WriteOutcome::Conflict, None),
            Some(Written::Unknown(reason)) => {
                warn!(route = %key, reason, "the status was not written, as far as is known");
                (WriteOutcome::Unknown, None)
            }
            Some(Written::Refused(reason)) => {
                warn!(route = %key, reason, "the status was refused");
                (WriteOutcome::Refused, None)
            }
            None => (WriteOutcome::NotSent, None),
        };
        context.metrics.wrote(Write::Status, outcome);
        if outcome == WriteOutcome::Done {
            publish(&context, &route, &notices).await;
        }
        Reported {
            route: key,
            written,
            status: true,
        }
    });
}

/// Tells about a primary role that was moved.
pub(crate) fn role_moved(
    context: &Arc<Context>,
    reports: &mut Tasks<Reported>,
    scope: &Arc<Scope>,
    key: &RouteKey,
    action: &Action,
) {
    let (reason, note) = match action {
        Action::Grant { pod, .. } => (Reason::PrimaryGranted, format!("{} is primary", pod.name)),
        Action::Withdraw { pod, to, .. } => {
            let now_is = to.map_or("nothing".to_owned(), |role| role.to_string());
            (
                Reason::PrimaryWithdrawn,
                format!("{} is primary no more; it is labelled {now_is}", pod.name),
            )
        }
        Action::Stamp { .. }
        | Action::StampLedger { .. }
        | Action::Relabel { .. }
        | Action::SetMark { .. }
        | Action::CreateSlice { .. }
        | Action::StampSlice { .. }
        | Action::SetEndpoints { .. }
        | Action::ClearAccept
        | Action::StepDown { .. } => return,
    };
    let Some(route) = scope.routes.get(&key.namespace, &key.name) else {
        return;
    };
    let warning = false;
    tell(context, reports, key, &route, vec![Notice { warning, reason, note }]);
}

/// Publishes Events about a route.
pub(crate) fn tell(
    context: &Arc<Context>,
    reports: &mut Tasks<Reported>,
    key: &RouteKey,
    route: &Arc<PostgresRoute>,
    notices: Vec<Notice>,
) {
    if notices.is_empty() {
        return;
    }
    let (context, key, route) = (Arc::clone(context), key.clone(), Arc::clone(route));
    reports.spawn(async move {
        publish(&context, &route, &notices).await;
        Reported {
            route: key,
            written: None,
            status: false,
        }
    });
}

async fn publish(context: &Context, route: &PostgresRoute, notices: &[Notice]) {
    let reporter = Reporter {
        controller: names::FIELD_MANAGER.to_owned(),
        instance: None,
    };
    let recorder = Recorder::new(context.client.clone(), reporter);
    let reference: ObjectReference = route.object_ref(&());
    for notice in notices.iter().take(NOTICES_MAX) {
        let leadership = context.election.leadership.borrow().clone();
        let Ok(permit) = permit(&leadership, context.clock.now()) else {
            return;
        };
        let event = Event {
            type_: if notice.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: notice.reason.to_string(),
            note: Some(notice.note.clone()),
            action: "Route".to_owned(),
            secondary: None,
        };
        let remaining = permit.remaining(context.clock.now());
        let outcome = match tokio::time::timeout(remaining, recorder.publish(&event, &reference)).await {
            Ok(Ok(())) => WriteOutcome::Done,
            Ok(Err(error)) => {
                debug!(error = %Chain(&error), "an Event was not published");
                WriteOutcome::Refused
            }
            Err(_elapsed) => WriteOutcome::Unknown,
        };
        context.metrics.wrote(Write::Event, outcome);
    }
}
