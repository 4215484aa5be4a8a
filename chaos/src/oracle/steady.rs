//! In a steady time no label changes: whatever has no cause is a controller that wavers.

use std::time::Duration;

use super::{Breach, Facts, Finding};
use crate::history::{AuditedWrite, Event, Happening};
use crate::host_time::HostTime;
use crate::install::SYSTEM;

pub(super) fn check(facts: &Facts<'_>) -> Finding {
    let settle = Duration::from_millis(facts.history.header.settle_within_millis);
    let causes = causes(facts, settle);
    let mut changes = 0;
    let mut breaches = Vec::new();
    for pod in facts.pods.values() {
        for (at, before, since) in pod.role.changes().filter(|(at, _, _)| pod.gone != Some(*at)) {
            changes += 1;
            if !causes.iter().any(|(from, to)| (*from..=*to).contains(&at)) {
                let word = |role: Option<&str>| role.unwrap_or("nothing").to_owned();
                let seen = format!(
                    "the label of {} went from {} to {} without a cause",
                    pod.name,
                    word(*before),
                    word(*since)
                );
                breaches.push(Breach { at, seen });
            }
        }
    }
    Finding {
        rule: "steady-labels",
        text: "no label changes while nothing is struck and no server changes",
        seen: format!("{changes} changes, {} without a cause", breaches.len()),
        breaches,
    }
}

/// The times in which a label may change: a fault, a promotion, what a server said of itself, a pod's coming or going, a hand edit,
/// and after each the time that a route may take to settle.
fn causes(facts: &Facts<'_>, settle: Duration) -> Vec<(HostTime, HostTime)> {
    let strikes = facts
        .strikes
        .iter()
        .map(|strike| (strike.from, strike.to.after(settle)));
    let known = |event: &&Event| match &event.what {
        Happening::Standing(_) | Happening::PodGone { .. } | Happening::Promotion { .. } => true,
        Happening::Write(write) => is_by_hand(write),
        _ => false,
    };
    // What the observer tells may be heard later than what follows from it: it asks once a millisecond, the controller may ask in between.
    let since = |event: &Event| match &event.what {
        Happening::Standing(standing) => standing.not_before.min(event.at),
        _ => event.at,
    };
    let events = facts.history.events.iter().filter(known);
    strikes
        .chain(events.map(|event| (since(event), event.at.after(settle))))
        .collect()
}

fn is_by_hand(write: &AuditedWrite) -> bool {
    let controller = format!("system:serviceaccount:{SYSTEM}:");
    write.resource == "pods" && !write.role.is_none() && !write.user.starts_with(&controller)
}
