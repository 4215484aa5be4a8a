//! The writing half of one turn: permit, apply, and a second look at what was not as expected.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt, future, stream};
use k8s_openapi::api::{core::v1::Pod, discovery::v1::EndpointSlice};
use shared::ledger::PostgresLedger;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{Context, RouteKey};
use crate::{
    apply::{Effect, Place, apply},
    clock::Tick,
    decide::Action,
    election::permit,
    metrics::{Write, WriteOutcome},
    trace::{Span, millis},
    writer::{LabelWrite, NotSent, Written},
};

/// Writes of one turn that are under way at once. They are on different objects; a route with more pods than this takes a
/// moment longer.
const WRITES_AT_ONCE: usize = 16;

/// How old a decision may be when a write that gives something goes out. A turn takes milliseconds; a process that stood still between its
/// decision and its write decides again.
const DECISION_AGE_MAX: Duration = Duration::from_secs(1);

/// How long a second look may take: the route has no other turn meanwhile, and a withdrawal may be waiting for it.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(1);

/// What a turn has done.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) route: RouteKey,
    pub(crate) began: Tick,
    pub(crate) effects: Vec<(Action, Effect)>,
    /// Whether there were writes without a permit: they were not sent.
    pub(crate) is_unsent: bool,
    /// Pods that were not as expected, as they are now; `None`: gone.
    pub(crate) pods: BTreeMap<String, Option<Pod>>,
    /// The ledger as it is now, when it was not as expected and there is one.
    pub(crate) ledger: Option<PostgresLedger>,
    /// Slices that were not as expected and are there, as they are now.
    pub(crate) slices: Vec<EndpointSlice>,
}

/// Carries a plan's actions out, side by side, as parts of a switch's span if there is one. `decided` is the moment that the plan is for.
pub(crate) async fn carry_out(
    context: Arc<Context>,
    route: RouteKey,
    place: Place,
    decided: Tick,
    actions: Vec<Action>,
    switch: Span,
) -> Done {
    let began = context.clock.now();
    let planned = actions.len();
    let effects: Vec<(Action, Effect)> = stream::iter(actions)
        .map(|action| {
            let (context, place, switch) = (&context, &place, &switch);
            async move {
                let span = switch.child(action.name(), context.clock.now());
                if let Some(pod) = pod_name(&action) {
                    span.say("pod", pod.to_owned());
                }
                if let Some(slice) = action.slice() {
                    span.say("slice", slice.to_owned());
                }
                let effect = span.around(one(context, place, decided, &action)).await;
                span.end(context.clock.now());
                Some((action, effect?))
            }
        })
        .buffer_unordered(WRITES_AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    let mut done = Done {
        route,
        began,
        is_unsent: effects.len() < planned,
        effects,
        pods: BTreeMap::new(),
        ledger: None,
        slices: Vec::new(),
    };
    switch.around(look_again(&context, &place, &mut done)).await;
    done
}

/// One action: // permit (leadership), // apply (client and permit).
async fn one(context: &Context, place: &Place, decided: Tick, action: &Action) -> Option<Effect> {
    let asked = context.clock.now();
    if let Err(too_old) = recent(decided, asked, action) {
        not_sent(context, action, &too_old);
        return None;
    }
    // permit (leadership)
    let span = Span::current().child("permit", asked);
    let leadership = context.election.leadership.borrow().clone();
    let permit = match permit(&leadership, asked) {
        Ok(permit) => permit,
        Err(error) => {
            span.fail(error.to_string());
            not_sent(context, action, &error);
            return None;
        }
    };
    span.say("term", i64::from(permit.term().0))
        .say("remaining_ms", millis(permit.remaining(asked)));
    span.end(context.clock.now());
    // apply (client and permit)
    let effect = match apply(&context.writer, permit, place, action).await {
        Ok(effect) => effect,
        Err(error @ (NotSent::PermitOver | NotSent::Identity(_))) => {
            not_sent(context, action, &error);
            return None;
        }
    };
    tell(context, place, action, &effect);
    Some(effect)
}

/// What a decision was based on is no longer known to hold.
#[derive(Debug, thiserror::Error)]
#[error("the decision is {0:?} old: it is made again")]
struct TooOld(Duration);

/// Whether a decision of then may still be carried out (I3).
fn recent(decided: Tick, now: Tick, action: &Action) -> Result<(), TooOld> {
    let age = now.since(decided);
    if action.gives() && age > DECISION_AGE_MAX {
        Err(TooOld(age))
    } else {
        Ok(())
    }
}

/// A write that did not go out.
fn not_sent(context: &Context, action: &Action, error: &dyn std::error::Error) {
    context.metrics.wrote(kind_of(action), WriteOutcome::NotSent);
    Span::current().fail(error.to_string());
    info!(%error, action = action.name(), "not written");
}

/// Logs and counts one write.
fn tell(context: &Context, place: &Place, action: &Action, effect: &Effect) {
    let (route, name, pod) = (
        format!("{}/{}", place.namespace, place.name),
        action.name(),
        pod_name(action),
    );
    let outcome = match effect {
        Effect::Pod { written, .. } => outcome(written),
        Effect::Ledger { written, .. } => outcome(written),
        Effect::Slice { written, .. } => outcome(written),
        Effect::Route(written) => outcome(written),
        Effect::Outranked(met) => {
            warn!(%route, %met, "somebody with a higher claim has written: this replica stops leading");
            return;
        }
    };
    context.metrics.wrote(kind_of(action), outcome.0);
    let span = Span::current();
    span.say("outcome", outcome.0.as_str());
    if outcome.0 != WriteOutcome::Done {
        span.fail(outcome.1);
    }
    match outcome {
        (WriteOutcome::Done, _) => match effect {
            Effect::Pod {
                label: LabelWrite::Keep,
                ..
            }
            | Effect::Ledger { mark: false, .. } => {
                tracing::debug!(%route, pod, "stamped");
            }
            Effect::Pod {
                label: LabelWrite::Set(role),
                ..
            } => info!(%route, pod, %role, action = name, "role label set"),
            Effect::Pod {
                label: LabelWrite::Remove,
                ..
            } => info!(%route, pod, action = name, "role label removed"),
            Effect::Ledger { mark: true, .. } => info!(%route, "mark set"),
            Effect::Slice { name: slice, .. } => {
                if let Action::SetEndpoints { to, .. } = action {
                    let pods: Vec<&str> = to.endpoints.iter().map(|endpoint| endpoint.pod.name.as_str()).collect();
                    info!(%route, slice, ?pods, "endpoints set");
                } else {
                    tracing::debug!(%route, slice, action = name, "slice stamped");
                }
            }
            Effect::Route(_) => info!(%route, "accept annotation removed: it is done"),
            Effect::Outranked(_) => {}
        },
        (WriteOutcome::Conflict, reason) => {
            tracing::debug!(%route, pod, action = name, reason, "the object had changed; looking again");
        }
        (_, reason) => warn!(%route, pod, action = name, reason, "the write was not carried out, as far as is known"),
    }
}

/// The outcome of a write, and in words why it was not carried out.
fn outcome<K>(written: &Written<K>) -> (WriteOutcome, &str) {
    match written {
        Written::Done(_) => (WriteOutcome::Done, ""),
        Written::Conflict(reason) => (WriteOutcome::Conflict, reason),
        Written::Gone => (WriteOutcome::Conflict, "it is gone"),
        Written::Unknown(reason) => (WriteOutcome::Unknown, reason),
        Written::Refused(reason) => (WriteOutcome::Refused, reason),
    }
}

/// Reads the objects that were not as expected. What is not read soon is looked at by the next turn as it was; and a process that is to
/// end has no next turn.
async fn look_again(context: &Context, place: &Place, done: &mut Done) {
    let (mut unread, mut ledger_unread, mut slices_unread) = (Vec::new(), false, Vec::new());
    for (_, effect) in &done.effects {
        match effect {
            Effect::Pod {
                pod,
                written: Written::Conflict(_) | Written::Unknown(_),
                ..
            } => unread.push(pod.clone()),
            Effect::Ledger {
                written: Written::Conflict(_) | Written::Gone | Written::Unknown(_),
                ..
            } => ledger_unread = true,
            Effect::Slice {
                name,
                written: Written::Conflict(_) | Written::Gone | Written::Unknown(_),
                ..
            } => slices_unread.push(name.clone()),
            Effect::Pod { .. }
            | Effect::Ledger { .. }
            | Effect::Slice { .. }
            | Effect::Route(_)
            | Effect::Outranked(_) => {}
        }
    }
    let reads = stream::iter(unread).map(|pod| async move {
        let read = timeout(LOOK_AGAIN_MAX, context.writer.read::<Pod>(&place.namespace, &pod.name)).await;
        read.ok()?.ok().map(|found| (pod.uid, found))
    });
    let reads = reads
        .buffer_unordered(WRITES_AT_ONCE)
        .filter_map(std::future::ready)
        .collect();
    let slices = stream::iter(slices_unread).map(|name| async move {
        let read = timeout(
            LOOK_AGAIN_MAX,
            context.writer.read::<EndpointSlice>(&place.namespace, &name),
        )
        .await;
        read.ok()?.ok()?
    });
    let slices = slices
        .buffer_unordered(WRITES_AT_ONCE)
        .filter_map(std::future::ready)
        .collect();
    let ledger = async {
        if !ledger_unread {
            return None;
        }
        let read = context.writer.read::<PostgresLedger>(&place.namespace, &place.name);
        timeout(LOOK_AGAIN_MAX, read).await.ok()?.ok()?
    };
    tokio::select! {
        biased;
        () = context.stop.cancelled() => {}
        (pods, ledger, slices) = future::join3(reads, ledger, slices) => {
            (done.pods, done.ledger, done.slices) = (pods, ledger, slices);
        }
    }
}

const fn kind_of(action: &Action) -> Write {
    match action {
        Action::Stamp { .. } => Write::Stamp,
        Action::StampLedger { .. } => Write::StampLedger,
        Action::Withdraw { .. } => Write::Withdraw,
        Action::Relabel { .. } => Write::Relabel,
        Action::SetMark { .. } => Write::SetMark,
        Action::Grant { .. } => Write::Grant,
        Action::CreateSlice { .. } => Write::CreateSlice,
        Action::StampSlice { .. } => Write::StampSlice,
        Action::SetEndpoints { .. } => Write::SetEndpoints,
        Action::ClearAccept | Action::StepDown { .. } => Write::ClearAccept,
    }
}

fn pod_name(action: &Action) -> Option<&str> {
    action.pod().map(|pod| pod.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::PodKey;

    #[test]
    fn an_old_decision_gives_nothing_any_more_and_still_takes_away() {
        let pod = || PodKey {
            name: "pg-0".to_owned(),
            uid: "uid-1".to_owned(),
        };
        let grant = Action::Grant {
            pod: pod(),
            resource_version: "1".to_owned(),
        };
        let withdraw = Action::Withdraw {
            pod: pod(),
            resource_version: "1".to_owned(),
            to: None,
        };
        let decided = Tick::from_nanos(0);
        let later = decided + DECISION_AGE_MAX + Duration::from_nanos(1);
        for (name, now, action, sent) in [
            ("a grant at the limit", decided + DECISION_AGE_MAX, &grant, true),
            ("a grant beyond it", later, &grant, false),
            ("a withdrawal beyond it", later, &withdraw, true),
        ] {
            assert_eq!(recent(decided, now, action).is_ok(), sent, "{name}");
        }
    }
}
