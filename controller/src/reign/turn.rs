//! The writing half of one turn: permit, apply, and a second look at what was not as expected.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use shared::ledger::PostgresLedger;
use tracing::{Instrument, info, info_span, warn};

use super::{Context, RouteKey};
use crate::{
    apply::{Effect, Place, apply},
    clock::Tick,
    decide::Action,
    election::permit,
    metrics::{Write, WriteOutcome},
    writer::{LabelWrite, NotSent, Written},
};

/// Writes of one turn that are under way at once. They are on different objects; a route with more pods than this takes a
/// moment longer.
const WRITES_AT_ONCE: usize = 16;

/// What a turn has done.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) route: RouteKey,
    pub(crate) began: Tick,
    pub(crate) effects: Vec<(Action, Effect)>,
    /// Pods that were not as expected, as they are now; `None`: gone.
    pub(crate) pods: BTreeMap<String, Option<Pod>>,
    /// The ledger as it is now, when it was not as expected and there is one.
    pub(crate) ledger: Option<PostgresLedger>,
}

/// Carries a plan's actions out, side by side.
pub(crate) async fn carry_out(context: Arc<Context>, route: RouteKey, place: Place, actions: Vec<Action>) -> Done {
    let began = context.clock.now();
    let effects: Vec<(Action, Effect)> = stream::iter(actions)
        .map(|action| {
            let (context, place) = (&context, &place);
            async move {
                let span = info_span!(
                    "write",
                    otel.name = name_of(&action),
                    action = name_of(&action),
                    pod = pod_of(&action)
                );
                let effect = one(context, place, &action).instrument(span).await?;
                Some((action, effect))
            }
        })
        .buffer_unordered(WRITES_AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    let mut done = Done {
        route,
        began,
        effects,
        pods: BTreeMap::new(),
        ledger: None,
    };
    look_again(&context, &place, &mut done).await;
    done
}

/// One action: // permit (leadership), // apply (client and permit).
async fn one(context: &Context, place: &Place, action: &Action) -> Option<Effect> {
    // permit (leadership)
    let leadership = context.election.leadership.borrow().clone();
    let permit = match permit(&leadership, context.clock.now()) {
        Ok(permit) => permit,
        Err(error) => {
            context.metrics.wrote(kind_of(action), WriteOutcome::NotSent);
            info!(%error, action = name_of(action), "not written");
            return None;
        }
    };
    // apply (client and permit)
    let effect = match apply(&context.writer, permit, place, action).await {
        Ok(effect) => effect,
        Err(error @ (NotSent::PermitOver | NotSent::Identity(_))) => {
            context.metrics.wrote(kind_of(action), WriteOutcome::NotSent);
            info!(%error, action = name_of(action), "not written");
            return None;
        }
    };
    tell(context, place, action, &effect);
    Some(effect)
}

/// Logs and counts one write.
fn tell(context: &Context, place: &Place, action: &Action, effect: &Effect) {
    let (route, name, pod) = (
        format!("{}/{}", place.namespace, place.name),
        name_of(action),
        pod_of(action),
    );
    let outcome = match effect {
        Effect::Pod { written, .. } => outcome(written),
        Effect::Ledger { written, .. } => outcome(written),
        Effect::Route(written) => outcome(written),
        Effect::Outranked(met) => {
            warn!(%route, %met, "somebody with a higher claim has written: this replica stops leading");
            return;
        }
    };
    context.metrics.wrote(kind_of(action), outcome.0);
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

/// Reads the objects that were not as expected.
async fn look_again(context: &Context, place: &Place, done: &mut Done) {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &place.namespace);
    let ledgers: Api<PostgresLedger> = Api::namespaced(context.client.clone(), &place.namespace);
    for (_, effect) in &done.effects {
        match effect {
            Effect::Pod {
                pod,
                written: Written::Conflict(_) | Written::Unknown(_),
                ..
            } => {
                let read = tokio::time::timeout(super::READ_TIMEOUT, pods.get_opt(&pod.name)).await;
                if let Ok(Ok(found)) = read {
                    done.pods.insert(pod.uid.clone(), found);
                }
            }
            Effect::Ledger {
                written: Written::Conflict(_) | Written::Gone | Written::Unknown(_),
                ..
            } => {
                let read = tokio::time::timeout(super::READ_TIMEOUT, ledgers.get_opt(&place.name)).await;
                if let Ok(Ok(found)) = read {
                    done.ledger = found;
                }
            }
            Effect::Pod { .. } | Effect::Ledger { .. } | Effect::Route(_) | Effect::Outranked(_) => {}
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
        Action::ClearAccept | Action::StepDown { .. } => Write::ClearAccept,
    }
}

const fn name_of(action: &Action) -> &'static str {
    match action {
        Action::Stamp { .. } => "stamp",
        Action::StampLedger { .. } => "stamp ledger",
        Action::Withdraw { .. } => "withdraw",
        Action::Relabel { .. } => "relabel",
        Action::SetMark { .. } => "set mark",
        Action::Grant { .. } => "grant",
        Action::ClearAccept => "clear accept",
        Action::StepDown { .. } => "step down",
    }
}

fn pod_of(action: &Action) -> Option<&str> {
    match action {
        Action::Stamp { pod, .. }
        | Action::Withdraw { pod, .. }
        | Action::Relabel { pod, .. }
        | Action::Grant { pod, .. } => Some(&pod.name),
        Action::StampLedger { .. } | Action::SetMark { .. } | Action::ClearAccept | Action::StepDown { .. } => None,
    }
}
