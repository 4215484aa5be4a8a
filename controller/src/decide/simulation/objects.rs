//! What a write expects to find, what it leaves behind without an answer, and how a leader comes to see it.

use shared::role::Role;

use crate::{
    clock::Tick,
    decide::{Action, LabelState, LedgerView, Observed, PodKey, fixtures::World},
};

/// Whether the API server's objects are what a write expects to find.
pub(super) fn expects(api: &Observed, action: &Action) -> bool {
    let pod = |pod: &PodKey, version: &str| api.pods.get(pod).is_some_and(|pod| pod.resource_version == version);
    let ledger = |version: Option<&str>| match &api.ledger {
        LedgerView::Absent => version.is_none(),
        LedgerView::Present { resource_version, .. } => version == Some(resource_version),
    };
    match action {
        Action::Stamp {
            pod: key,
            resource_version,
        }
        | Action::Withdraw {
            pod: key,
            resource_version,
            ..
        }
        | Action::Relabel {
            pod: key,
            resource_version,
            ..
        }
        | Action::Grant {
            pod: key,
            resource_version,
        } => pod(key, resource_version),
        Action::StampLedger { resource_version, .. } => ledger(Some(resource_version)),
        Action::SetMark { expected, .. } => {
            ledger(expected.as_ref().map(|expected| expected.resource_version.as_str()))
        }
        Action::CreateSlice { slice, .. } => api.slices.slices[slice].held.is_none(),
        Action::StampSlice {
            slice,
            resource_version,
        }
        | Action::SetEndpoints {
            slice,
            resource_version,
            ..
        } => {
            let held = api.slices.slices[&slice.name].held.as_ref();
            held.is_some_and(|held| held.resource_version == *resource_version)
        }
        Action::ClearAccept | Action::StepDown { .. } => true,
    }
}

/// The pod that an action writes to; none: the ledger, or nothing.
pub(super) fn target(action: &Action) -> Option<&PodKey> {
    match action {
        Action::Stamp { pod, .. }
        | Action::Withdraw { pod, .. }
        | Action::Relabel { pod, .. }
        | Action::Grant { pod, .. } => Some(pod),
        Action::StampLedger { .. }
        | Action::SetMark { .. }
        | Action::CreateSlice { .. }
        | Action::StampSlice { .. }
        | Action::SetEndpoints { .. }
        | Action::ClearAccept
        | Action::StepDown { .. } => None,
    }
}

/// A write had no definite answer.
pub(super) fn unsettled(observed: &mut Observed, action: &Action) {
    if let Some(slice) = action.slice() {
        let held = observed
            .slices
            .slices
            .get_mut(slice)
            .and_then(|slice| slice.held.as_mut());
        if let Some(held) = held {
            held.unknown = true;
        }
        return;
    }
    match target(action) {
        Some(pod) => observed.pods.get_mut(pod).expect("a pod").unknown = true,
        None => observed.ledger_unknown |= !matches!(action, Action::StepDown { .. } | Action::ClearAccept),
    }
}

/// The answer to a write, or the GET after a conflict, shows the leader its object.
pub(super) fn look(leader: &mut World, api: &World, action: &Action, done: bool) {
    let at = leader.observed.at;
    if let Some(key) = target(action) {
        let unknown = !done && leader.observed.pods[key].unknown;
        copy_pod(leader, api, key, at);
        leader.observed.pods.get_mut(key).expect("a pod").unknown = unknown;
    } else if let Some(name) = action.slice() {
        copy_slice(leader, api, name, done);
    } else {
        leader.observed.ledger = api.observed.ledger.clone();
        leader.observed.ledger_unknown &= !done;
    }
}

/// The watch shows the leader every object.
pub(super) fn watch(leader: &mut World, api: &World) {
    let at = leader.observed.at;
    for key in api.observed.pods.keys() {
        copy_pod(leader, api, key, at);
    }
    leader.observed.ledger = api.observed.ledger.clone();
    for name in api.observed.slices.slices.keys() {
        copy_slice(leader, api, name, false);
    }
}

fn copy_slice(leader: &mut World, api: &World, name: &str, is_settled: bool) {
    let held = &mut leader.observed.slices.slices.get_mut(name).expect("a slice").held;
    let unknown = !is_settled && held.as_ref().is_some_and(|held| held.unknown);
    held.clone_from(&api.observed.slices.slices[name].held);
    if let Some(held) = held {
        held.unknown = unknown;
    }
    leader.let_go();
}

fn copy_pod(leader: &mut World, api: &World, key: &PodKey, at: Tick) {
    let theirs = &api.observed.pods[key];
    let ours = leader.observed.pods.get_mut(key).expect("a pod");
    ours.label = theirs.label.clone();
    ours.stamp = theirs.stamp.clone();
    ours.resource_version.clone_from(&theirs.resource_version);
    if leader.observed.slices.is_routing {
        return;
    }
    let among = theirs.label == LabelState::Known(Role::Primary);
    ours.out_of_write_since = if among {
        None
    } else {
        Some(ours.out_of_write_since.unwrap_or(at))
    };
}
