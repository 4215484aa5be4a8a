//! What the controller's own EndpointSlices are to say. I1 of docs/invariants.md is kept here for `routing: EndpointSlices`:
//! whoever is listed for writes was let in by the same rules as the label, and one write replaces the one who is listed.
//!
//! A server that may still take writes is never replaced in one write: it is taken out first, and its successor waits for
//! `beatenGap`, because the nodes copy a slice one after the other (docs/adr/0007-the-beaten-gap-holds-for-slices-too.md).

use std::time::Duration;

use probe::Evidence;
use shared::role::Role;

use super::{
    Draft, View,
    evidence::refused_since,
    grant::{self, Wait},
    listing::{Blocked, Endpoint, HeldSlice, Listing, Port, Purpose, SliceKey, SliceView},
    observed::{Lifecycle, Observed, PodKey},
    plan::{Action, Finding},
};
use crate::{clock::Tick, stamp::StampState};

/// A primary that is down stays listed for so long at most while a successor is awaited: nobody can write there, and every change
/// of a slice makes kube-proxy put the next one off by a second. A promoter that is fast has promoted by then.
const SUCCESSOR_AWAITED_FOR: Duration = Duration::from_secs(1);

/// Whether every slice allows that the role is granted to `chosen` in this turn.
pub(super) fn may(observed: &Observed, chosen: &PodKey) -> Result<(), Wait> {
    let slices = &observed.slices;
    if let Some(blocked) = slices.writes_blocked.as_ref().filter(|_| slices.is_routing) {
        return Err(Wait::Blocked(blocked.to_string()));
    }
    for (name, slice) in &slices.slices {
        let Some(held) = &slice.held else {
            if slice.purpose == Purpose::Writes {
                return Err(Wait::Unstamped(format!("EndpointSlice {name}")));
            }
            continue;
        };
        if held.unknown {
            return Err(Wait::Unknown(format!("EndpointSlice {name}")));
        }
        if !grant::stamped(observed, &held.stamp) {
            return Err(Wait::Unstamped(format!("EndpointSlice {name}")));
        }
    }
    if slices.is_routing && !slices.for_writes().any(|(_, slice)| slice.targets.contains_key(chosen)) {
        return Err(Wait::Unlistable);
    }
    let alone = alone(observed);
    let elsewhere = slices
        .of_write_service()
        .find(|(_, slice)| slice.leads_elsewhere(chosen));
    match elsewhere {
        // This very write replaces what it says.
        Some((_, slice)) if alone && slice.purpose == Purpose::Writes => Ok(()),
        Some((name, _)) => Err(Wait::Listed(name.clone())),
        None => Ok(()),
    }
}

/// Whether one write can switch the write Service: all that leads anywhere is one slice.
fn alone(observed: &Observed) -> bool {
    let slices = &observed.slices;
    let counts = |slice: &SliceView| slice.purpose == Purpose::Writes || !slice.is_empty();
    let mut counted = slices.of_write_service().filter(|(_, slice)| counts(slice));
    counted.next().is_some() && counted.next().is_none()
}

/// The stamps on the controller's own slices.
pub(super) fn stamps(observed: &Observed) -> impl Iterator<Item = &StampState> {
    let held = observed.slices.slices.values().filter_map(|slice| slice.held.as_ref());
    held.map(|held| &held.stamp)
}

impl View<'_> {
    /// Whether the write Service's slices lead to this server, or others make the Services follow.
    pub(super) fn is_led_to(&self, key: &PodKey) -> bool {
        let says =
            |held: &HeldSlice, slice: &SliceView| held.is_sound && held.listing == slice.leading_to(key, self.observed);
        self.observed
            .slices
            .for_writes()
            .all(|(_, slice)| slice.held.as_ref().is_some_and(|held| says(held, slice)))
    }

    /// The writes that bring the slices to what they are to say, and their stamps.
    pub(super) fn slices(&self, draft: &mut Draft) {
        let slices = &self.observed.slices;
        for blocked in [&slices.writes_blocked, &slices.reads_blocked].into_iter().flatten() {
            if let Blocked::Foreign { service, slices } = blocked {
                draft.findings.push(Finding::ForeignEndpoints {
                    service: service.clone(),
                    slices: slices.clone(),
                });
            }
        }
        let of = |purpose| slices.slices.iter().filter(move |(_, slice)| slice.purpose == purpose);
        for (name, slice) in of(Purpose::Writes)
            .chain(of(Purpose::Nothing))
            .chain(of(Purpose::Reads))
        {
            let Some(held) = &slice.held else {
                self.make(name, slice, draft);
                continue;
            };
            let wanted = match slice.purpose {
                Purpose::Writes => self.for_writes(slice, held, draft),
                // Whatever changes in a slice, kube-proxy puts the next change off by a second: the primary goes first.
                Purpose::Reads if self.is_switching(draft) => held.listing.clone(),
                Purpose::Reads => self.for_reads(slice, held, draft),
                Purpose::Nothing => slice.empty(),
            };
            self.write(name, slice, held, wanted, draft);
        }
    }

    /// Whether the write Service is switched with this turn, or with the next: only the mark is to be raised first.
    fn is_switching(&self, draft: &Draft) -> bool {
        let leads = |action: &Action| {
            matches!(action, Action::SetEndpoints { service, to, .. }
                if *service == self.observed.slices.write_service && !to.endpoints.is_empty())
        };
        draft.awaits_mark || draft.actions.iter().any(leads)
    }

    fn write(&self, name: &str, slice: &SliceView, held: &HeldSlice, wanted: Listing, draft: &mut Draft) {
        let key = SliceKey {
            name: name.to_owned(),
            uid: held.uid.clone(),
        };
        let resource_version = held.resource_version.clone();
        if !self.observed.paused && (wanted != held.listing || !held.is_sound) {
            draft.actions.push(Action::SetEndpoints {
                slice: key,
                resource_version,
                service: slice.service.clone(),
                to: wanted,
            });
        } else if held.unknown || !grant::stamped(self.observed, &held.stamp) {
            draft.actions.push(Action::StampSlice {
                slice: key,
                resource_version,
            });
        }
    }

    /// A slice that is missing is made empty. Whoever of an earlier reign makes one late makes an empty one too.
    fn make(&self, name: &str, slice: &SliceView, draft: &mut Draft) {
        let blocked = match slice.purpose {
            Purpose::Writes => &self.observed.slices.writes_blocked,
            Purpose::Reads => &self.observed.slices.reads_blocked,
            Purpose::Nothing => return,
        };
        if self.observed.paused || blocked.is_some() {
            return;
        }
        draft.actions.push(Action::CreateSlice {
            slice: name.to_owned(),
            service: slice.service.clone(),
            service_uid: slice.service_uid.clone(),
            family: slice.family,
        });
    }

    /// Whom a slice of the write Service lists: the one who was let in with this turn, else whoever of those in it may stay.
    fn for_writes(&self, slice: &SliceView, held: &HeldSlice, draft: &mut Draft) -> Listing {
        if let Some(key) = &draft.let_in {
            return slice.leading_to(key, self.observed);
        }
        let at_home = |endpoint: &&Endpoint| {
            let target = slice.targets.get(&endpoint.pod);
            target.is_some_and(|target| target.address == endpoint.address)
        };
        let stays = |endpoint: &&Endpoint| {
            let member = draft.members.get(&endpoint.pod);
            member.is_some_and(|member| member.desired == Some(Role::Primary))
        };
        let listed = &held.listing.endpoints;
        if let Some(primary) = listed.iter().filter(at_home).find(stays) {
            return slice.leading_to(&primary.pod, self.observed);
        }
        if let [only] = listed.as_slice()
            && at_home(&only)
            && held.is_sound
            && let Some(until) = self.awaits_successor(&only.pod)
        {
            draft.wake(until);
            draft.awaits_successor = true;
            return slice.leading_to(&only.pod, self.observed);
        }
        slice.empty()
    }

    /// Until when a primary that is down may stay listed: nobody can write there, so what is left of the outage is the same, and
    /// one write less is in the successor's way.
    fn awaits_successor(&self, key: &PodKey) -> Option<Tick> {
        let pod = self.observed.pods.get(key)?;
        let chosen = self.chosen.choice.chosen();
        let rival = |(other, assessment): (&&PodKey, &super::evidence::Assessment<'_>)| {
            *other != key && Some(*other) != chosen && assessment.evidence == Evidence::Writable
        };
        if !alone(self.observed)
            || pod.lifecycle != Lifecycle::Alive
            || pod.excluded
            || self.observed.slices.writes_blocked.is_some()
            || self.assessments.iter().any(rival)
        {
            return None;
        }
        let (since, until) = refused_since(self.observed, pod, self.policy)?;
        let until = until.min(since + SUCCESSOR_AWAITED_FOR);
        (self.observed.at < until).then_some(until)
    }

    /// Whom a slice of the read Service lists: the replicas that the kubelet calls ready, on the ports that most of them have.
    fn for_reads(&self, slice: &SliceView, held: &HeldSlice, draft: &Draft) -> Listing {
        let is_blocked = self.observed.slices.reads_blocked.is_some();
        let replicas = self.observed.pods.iter().filter_map(|(key, pod)| {
            let listed = held.listing.endpoints.iter().any(|before| before.pod == *key);
            // Who is to be primary goes on serving reads until then, as its label does; and so does whoever may be about to be promoted, and
            // is ahead of the mark by that.
            let is_next = self.chosen.choice.chosen() == Some(key) && draft.let_in.as_ref() != Some(key);
            let member = draft.members.get(key)?;
            let may_be_next = draft.awaits_successor && member.evidence == Evidence::InRecovery;
            let serves = member.desired == Some(Role::Replica) || (listed && (is_next || may_be_next));
            let target = slice.targets.get(key).filter(|target| serves && target.is_ready)?;
            let endpoint = Endpoint {
                pod: key.clone(),
                address: target.address,
                node: pod.node.clone(),
                draining: pod.lifecycle == Lifecycle::Terminating,
            };
            (listed || !is_blocked).then_some((&target.ports, endpoint))
        });
        let replicas: Vec<(&Vec<Port>, Endpoint)> = replicas.collect();
        let count = |ports: &Vec<Port>| replicas.iter().filter(|(its, _)| *its == ports).count();
        let most = replicas
            .iter()
            .map(|(ports, _)| *ports)
            .max_by_key(|ports| (count(ports), *ports));
        let Some(ports) = most else { return slice.empty() };
        let endpoints = replicas.iter().filter(|(its, _)| *its == ports);
        Listing {
            ports: ports.clone(),
            endpoints: endpoints.map(|(_, endpoint)| endpoint.clone()).collect(),
        }
    }
}
