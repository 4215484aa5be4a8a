//! Exposure: the time from a promotion to the withdrawal of the beaten primary's role. Nobody can see a promotion before it is there;
//! from then on it is the controller's time.

use std::time::Duration;

use super::facts::{Pod, Promotion};
use super::{Breach, Facts, Finding};
use crate::history::{Part, State};
use crate::host_time::HostTime;
use crate::install::PRIMARY;

/// How long a withdrawal may take beyond what the evidence needs.
const EXPOSURE_MAX: Duration = Duration::from_secs(1);

pub(super) fn check(facts: &Facts<'_>) -> Finding {
    let mut told = Vec::new();
    let mut breaches = Vec::new();
    for promotion in facts.promotions() {
        let beaten = |pod: &&Pod<'_>| pod.is_primary(promotion.at);
        for (_, pod) in facts
            .pods
            .iter()
            .filter(|(uid, pod)| **uid != promotion.uid && beaten(pod))
        {
            let withdrawn = pod.role.first_since(promotion.at, |role| *role != Some(PRIMARY));
            let until = withdrawn.unwrap_or(facts.end);
            let exposure = until.millis_since(promotion.at);
            let seen = format!(
                "{} was labelled primary for {exposure} ms after {} had been promoted to timeline {}",
                pod.name, promotion.pod, promotion.timeline
            );
            let limit = limit(facts, &promotion, pod, until);
            if until > limit {
                breaches.push(Breach { at: limit, seen });
            }
            told.push(format!("{exposure} ms"));
        }
    }
    Finding {
        rule: "exposure",
        text: "the beaten primary's role is withdrawn within 1 s of the promotion, within silentAfter and 1 s when it is silent or the leader new",
        seen: if told.is_empty() {
            "none: no promotion while another pod was labelled primary".to_owned()
        } else {
            told.join(", ")
        },
        breaches,
    }
}

/// When the role has to be gone at the latest.
fn limit(facts: &Facts<'_>, promotion: &Promotion<'_>, beaten: &Pod<'_>, until: HostTime) -> HostTime {
    let silence = Duration::from_millis(facts.history.header.silent_after_millis) + EXPOSURE_MAX;
    // A refusal is an answer, too: the server is down.
    let is_silent = beaten
        .state
        .was(promotion.at, until, |state| matches!(state, State::Silent));
    let mut limit = promotion.at.after(if is_silent { silence } else { EXPOSURE_MAX });
    // A leader that cannot see or cannot write begins when it can.
    let struck = facts.strikes_on(&[
        Part::ApiServer,
        Part::Controller,
        Part::Network,
        Part::Node,
        Part::Processors,
    ]);
    for strike in struck.filter(|strike| strike.from <= until && strike.to >= promotion.at) {
        limit = limit.max(strike.to.after(silence));
    }
    // A new leader first hears every server, or waits until it counts as silent.
    let led = facts.holder.changes().filter(|(_, _, holder)| holder.is_some());
    let led = led
        .map(|(at, _, _)| at)
        .chain(facts.transitions.changes().map(|(at, _, _)| at));
    for at in led.filter(|at| *at <= until) {
        limit = limit.max(at.after(silence));
    }
    // While nobody leads nobody can.
    let unled = facts.holder.spans(facts.end).filter(|span| span.value.is_none());
    for span in unled.filter(|span| span.from <= until && span.to >= promotion.at) {
        limit = limit.max(span.to.after(silence));
    }
    limit.max(killed_leader(facts, promotion, until).map_or(limit, |led| led.after(silence)))
}

/// When somebody led again after the leader was struck shortly before or after the promotion: a leader that dies holds its Lease until it
/// has run out.
fn killed_leader(facts: &Facts<'_>, promotion: &Promotion<'_>, until: HostTime) -> Option<HostTime> {
    let struck = facts.strikes_on(&[Part::Controller, Part::Node]);
    let mut struck = struck.filter(|strike| strike.from <= until && strike.from.after(LEASE_MAX) >= promotion.at);
    struck.next()?;
    let mut changes = facts.holder.changes().filter(|(_, _, holder)| holder.is_some());
    changes
        .find(|(at, _, _)| at.after(LEASE_MAX) >= promotion.at)
        .map(|(at, _, _)| at)
}

/// A Lease runs out after 5 s; a successor notices within another second or two.
const LEASE_MAX: Duration = Duration::from_secs(10);
