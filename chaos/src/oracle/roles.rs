//! After the last fault has healed every role, and with it both Services, is right within a bound, and stays so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Breach, Facts, Finding};
use crate::history::{Event, Happening, Mark, PodSeen, ServiceOf, State};
use crate::host_time::HostTime;
use crate::install::{ORPHAN, PRIMARY, REPLICA};

pub(super) fn check(facts: &Facts<'_>) -> Finding {
    let settle = Duration::from_millis(facts.history.header.settle_within_millis);
    let healed = disturbed_last(facts);
    let mut world = World::default();
    // Since when all has been right without a break, or what is wrong.
    let mut since: Result<HostTime, String> = Err("nothing has been heard".to_owned());
    for event in &facts.history.events {
        if is_pause(facts, event) || !world.take(&event.what) {
            continue;
        }
        match world.wrong() {
            None => {
                if since.is_err() {
                    since = Ok(event.at);
                }
            }
            Some(wrong) => since = Err(wrong),
        }
    }
    let limit = healed.after(settle);
    let (seen, breach) = match since {
        Ok(at) if at <= healed => ("right all the time since the last heal".to_owned(), None),
        Ok(at) => {
            let seen = format!("right {} ms after the last heal", at.millis_since(healed));
            (seen.clone(), (at > limit).then_some((limit, seen)))
        }
        Err(wrong) => (
            format!("wrong at the end: {wrong}"),
            Some((limit.min(facts.end), wrong)),
        ),
    };
    Finding {
        rule: "roles-right-after-the-heal",
        text: "every role and both Services' endpoints are right within a bound after the last heal",
        seen: format!("{seen} (at most {} s)", settle.as_secs()),
        breaches: breach.into_iter().map(|(at, seen)| Breach { at, seen }).collect(),
    }
}

/// Whether a server was silent for less than `silentAfter`, which changes nobody's role: on a busy host it happens by itself.
fn is_pause(facts: &Facts<'_>, event: &Event) -> bool {
    let Happening::Standing(standing) = &event.what else {
        return false;
    };
    let silent_after = Duration::from_millis(facts.history.header.silent_after_millis);
    let pod = facts.pods.get(standing.uid.as_str());
    standing.state == State::Silent
        && pod.is_some_and(|pod| {
            let mut spans = pod.state.spans(facts.end);
            spans.any(|span| span.from == event.at && span.to.since(span.from) < silent_after)
        })
}

/// When the last fault healed or the last promotion was seen.
fn disturbed_last(facts: &Facts<'_>) -> HostTime {
    let heals = facts.strikes.iter().map(|strike| strike.to);
    let promotions = facts.promotions();
    let promotions = promotions.iter().map(|promotion| promotion.at);
    heals.chain(promotions).max().unwrap_or(facts.history.header.began)
}

/// How things stand.
#[derive(Debug, Default)]
struct World<'a> {
    pods: BTreeMap<&'a str, &'a PodSeen>,
    states: BTreeMap<&'a str, &'a State>,
    mark: Option<&'a Mark>,
    endpoints: BTreeMap<ServiceOf, &'a BTreeSet<String>>,
}

impl<'a> World<'a> {
    /// Whether it bears on what is right.
    fn take(&mut self, what: &'a Happening) -> bool {
        match what {
            Happening::Pod(pod) => drop(self.pods.insert(&pod.uid, pod)),
            Happening::PodGone { uid, .. } => {
                self.pods.remove(uid.as_str());
                self.states.remove(uid.as_str());
            }
            Happening::Standing(standing) => drop(self.states.insert(&standing.uid, &standing.state)),
            Happening::Ledger { mark } => self.mark = mark.as_ref(),
            Happening::Endpoints { service, ready, .. } => drop(self.endpoints.insert(*service, ready)),
            _ => return false,
        }
        true
    }

    /// What is wrong, if anything.
    fn wrong(&self) -> Option<String> {
        let claims: Vec<(&str, u32)> = self
            .pods
            .keys()
            .filter_map(|uid| Some((*uid, self.claim(uid)?)))
            .collect();
        let highest = claims.iter().map(|(_, timeline)| *timeline).max();
        let is_tied = claims.iter().filter(|(_, timeline)| Some(*timeline) == highest).count() > 1;
        let primaries: Vec<&&PodSeen> = self
            .pods
            .values()
            .filter(|pod| pod.role.as_deref() == Some(PRIMARY))
            .collect();
        if !claims.is_empty() && primaries.is_empty() && !is_tied {
            return Some("no pod is labelled primary although a server may be".to_owned());
        }
        let may_be_primary = |uid: &str| claims.iter().any(|(claiming, _)| *claiming == uid);
        let mut wrong = self
            .pods
            .values()
            .filter_map(|pod| self.wrong_label(pod, may_be_primary(&pod.uid)));
        wrong.next().or_else(|| self.wrong_endpoints())
    }

    /// The timeline with which a server may be primary: it takes writes, on the mark's data or above it.
    fn claim(&self, uid: &str) -> Option<u32> {
        match (self.states.get(uid)?, self.mark) {
            (State::Writable { system, timeline }, Some(mark)) => {
                (*system == mark.system && *timeline >= mark.timeline).then_some(*timeline)
            }
            _ => None,
        }
    }

    fn wrong_label(&self, pod: &PodSeen, may_be_primary: bool) -> Option<String> {
        let state = self.states.get(pod.uid.as_str());
        let (right, why): (&[Option<&str>], &str) = match (state, self.mark) {
            (Some(State::Writable { .. }), _) if may_be_primary => (&[Some(PRIMARY), Some(ORPHAN)], "takes writes"),
            (Some(State::Writable { .. }), _) => (&[Some(ORPHAN)], "takes writes, below the mark"),
            (Some(State::InRecovery { system, timeline }), Some(mark))
                if *system == mark.system && *timeline <= mark.timeline =>
            {
                (&[Some(REPLICA)], "is a standby of the mark's data")
            }
            (Some(State::InRecovery { .. }), _) => (&[None], "is a standby of other data"),
            // What is in no Service cannot mislead anybody.
            (Some(State::Down { .. } | State::Silent) | None, _) => (&[None, Some(ORPHAN)], "does not answer"),
        };
        let role = pod.role.as_deref();
        (!right.contains(&role)).then(|| format!("{} {why} and is labelled {}", pod.pod, role.unwrap_or("nothing")))
    }

    fn wrong_endpoints(&self) -> Option<String> {
        for (service, role) in [(ServiceOf::Writes, PRIMARY), (ServiceOf::Reads, REPLICA)] {
            let labelled = self
                .pods
                .values()
                .filter(|pod| pod.role.as_deref() == Some(role) && pod.is_ready && !pod.is_terminating);
            let right: BTreeSet<&str> = labelled.filter_map(|pod| pod.address.as_deref()).collect();
            let listed: BTreeSet<&str> = self.endpoints.get(&service)?.iter().map(String::as_str).collect();
            if right != listed {
                return Some(format!(
                    "the endpoints for {service:?} are {listed:?} and not {right:?}"
                ));
            }
        }
        None
    }
}
