//! What the leader would do, turn by turn, if nothing else changed: `decide` asked again and again, each time with what its last plan
//! would have written. Pure, and nothing is written.

use std::collections::BTreeSet;

use shared::{
    ledger::{Mark, PostgresLedgerSpec},
    role::Role,
};

use crate::{
    clock::Tick,
    decide::{Action, HeldSlice, LabelState, LedgerView, Listing, Observed, Plan, PodKey, Policy, decide},
    stamp::{Stamp, StampState},
};

/// Turns that are foreseen at most: stamp, withdraw, set mark, grant, and one more of each for good measure. A route that goes on longer
/// than that waits for something.
const TURNS_MAX: usize = 8;

/// The plans of the turns that would write something, in their order, and the last one, which would not.
#[derive(Debug)]
pub struct Foreseen {
    /// Each turn's plan.
    pub turns: Vec<Plan>,
    /// Where it would end; none: it would go on.
    pub end: Option<Plan>,
}

/// Looks ahead. Pauses that the rules demand between two turns are taken as over.
pub fn foresee(observed: &Observed, policy: &Policy) -> Foreseen {
    let mut observed = observed.clone();
    let mut turns = Vec::new();
    while turns.len() < TURNS_MAX {
        let plan = decide(&observed, policy);
        let stops = plan
            .actions
            .iter()
            .any(|action| matches!(action, Action::StepDown { .. }));
        if plan.actions.is_empty() || stops {
            return Foreseen { turns, end: Some(plan) };
        }
        for action in &plan.actions {
            carry_out(&mut observed, action);
        }
        turns.push(plan);
    }
    Foreseen { turns, end: None }
}

/// What the API server's objects would be after an action that was carried out.
fn carry_out(observed: &mut Observed, action: &Action) {
    let label = |role: Option<Role>| Some(role.map_or(LabelState::Absent, LabelState::Known));
    match action {
        Action::Stamp { pod, .. } => write(observed, pod, None),
        Action::Withdraw { pod, to, .. } | Action::Relabel { pod, to, .. } => write(observed, pod, label(*to)),
        Action::Grant { pod, .. } => write(observed, pod, label(Some(Role::Primary))),
        Action::StampLedger { .. } => write_ledger(observed, None),
        Action::SetMark { mark, .. } => {
            write_ledger(observed, Some(mark));
            observed.reign.mark_written = observed.at;
        }
        Action::CreateSlice { .. } | Action::StampSlice { .. } | Action::SetEndpoints { .. } => {
            write_slice(observed, action);
        }
        Action::ClearAccept => observed.accept = None,
        Action::StepDown { .. } => {}
    }
}

fn stamp(observed: &Observed) -> StampState {
    StampState::Known(Stamp {
        term: observed.reign.term,
        n: 0,
        holder: observed.reign.holder,
    })
}

fn write(observed: &mut Observed, pod: &PodKey, label: Option<LabelState>) {
    let stamp = stamp(observed);
    let Some(view) = observed.pods.get_mut(pod) else { return };
    view.stamp = stamp;
    view.unknown = false;
    if let Some(label) = label {
        // The endpoints follow, and every pause after it is over.
        if !observed.slices.is_routing {
            view.out_of_write_since = (label != LabelState::Known(Role::Primary)).then_some(Tick::default());
        }
        view.label = label;
    }
}

fn write_slice(observed: &mut Observed, action: &Action) {
    let stamp = stamp(observed);
    let Some(view) = action.slice().and_then(|name| observed.slices.slices.get_mut(name)) else {
        return;
    };
    let held = view.held.get_or_insert_with(|| HeldSlice {
        uid: String::new(),
        resource_version: String::new(),
        stamp: StampState::Absent,
        unknown: false,
        listing: Listing::default(),
        is_sound: true,
    });
    (held.stamp, held.unknown) = (stamp, false);
    if let Action::SetEndpoints { to, .. } = action {
        (held.listing, held.is_sound) = (to.clone(), true);
    }
    let of_write_service = observed
        .slices
        .slices
        .values()
        .filter(|slice| slice.service == observed.slices.write_service);
    let listed: BTreeSet<PodKey> = of_write_service
        .filter_map(|slice| slice.held.as_ref())
        .flat_map(|held| held.listing.endpoints.iter().map(|endpoint| endpoint.pod.clone()))
        .collect();
    for (pod, view) in &mut observed.pods {
        view.out_of_write_since = (!listed.contains(pod)).then_some(Tick::default());
    }
}

fn write_ledger(observed: &mut Observed, mark: Option<&Mark>) {
    let stamp = stamp(observed);
    let (uid, resource_version, before) = match &observed.ledger {
        LedgerView::Absent => (String::new(), String::new(), PostgresLedgerSpec::default()),
        LedgerView::Present {
            uid,
            resource_version,
            ledger,
            ..
        } => (uid.clone(), resource_version.clone(), ledger.clone()),
    };
    let ledger = PostgresLedgerSpec {
        term_floor: observed.reign.term,
        mark: mark.cloned().or(before.mark),
        ..before
    };
    observed.ledger = LedgerView::Present {
        uid,
        resource_version,
        stamp,
        ledger,
    };
    observed.ledger_unknown = false;
}
