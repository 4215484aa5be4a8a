//! What the metrics show of a route, from what was looked at and decided. Pure.

use std::collections::BTreeMap;

use probe::{Evidence, Report};
use shared::role::Role;

use crate::{
    clock::Tick,
    decide::{self, LabelState, Observed, Plan},
    live,
    metrics::{PodView, RouteState, RouteView},
};

/// A route that was decided about. `since_1970` is the wall clock's time of a tick.
pub(super) fn view(observed: &Observed, plan: &Plan, since_1970: impl Fn(Tick) -> f64) -> RouteView {
    let has_role = |pod: &&decide::PodView| pod.label == LabelState::Known(Role::Primary);
    let primary_pod = observed.pods.values().find(has_role);
    let primary = primary_pod.and_then(answer);
    let mark_behind = observed.mark().zip(primary).and_then(|(mark, primary)| {
        let same = mark.timeline == primary.timeline && mark.system_identifier == primary.system_identifier;
        same.then(|| primary.lsn.0.saturating_sub(mark.lsn.0))
    });
    let pods: BTreeMap<_, _> = observed
        .pods
        .iter()
        .map(|(key, pod)| {
            let standing = plan.members.get(key).map_or(Evidence::Silent, |member| member.evidence);
            let shown = PodView {
                role: match &pod.label {
                    LabelState::Known(role) => Some(*role),
                    LabelState::Absent | LabelState::Foreign(_) => None,
                },
                standing,
                lag: live::behind(pod, primary_pod).filter(|_| standing == Evidence::InRecovery),
            };
            (key.name.clone(), shown)
        })
        .collect();
    RouteView {
        state: RouteState::Decided(plan.verdict),
        writable: pods.values().filter(|pod| pod.standing == Evidence::Writable).count(),
        mark_behind,
        mark_written: observed.mark().map(|_| since_1970(observed.reign.mark_written)),
        pods,
    }
}

/// A route that is not served.
pub(super) fn refused() -> RouteView {
    RouteView {
        state: RouteState::Refused,
        writable: 0,
        mark_behind: None,
        mark_written: None,
        pods: BTreeMap::new(),
    }
}

fn answer(pod: &decide::PodView) -> Option<&Report> {
    pod.sightings.answer.as_ref().map(|(_, report)| report)
}
