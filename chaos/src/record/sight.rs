//! How things stand by what the recorder has heard so far, for whoever waits for something.

use std::collections::{BTreeMap, BTreeSet};

use crate::fault::lasting_name;
use crate::history::{Event, Happening, PodSeen, ServiceOf, State};

/// The pods of the route that exist, by name.
pub(crate) fn pods(events: &[Event]) -> BTreeMap<&str, &PodSeen> {
    let mut pods = BTreeMap::new();
    for event in events {
        match &event.what {
            Happening::Pod(seen) => {
                pods.insert(seen.pod.as_str(), seen);
            }
            Happening::PodGone { pod, .. } => {
                pods.remove(pod.as_str());
            }
            _ => {}
        }
    }
    pods
}

/// The pod of this lasting name that is there to stay; the one that is on its way out when there is no other.
pub(crate) fn pod_of<'a>(events: &'a [Event], lasting: &str) -> Option<&'a PodSeen> {
    let pods = pods(events);
    let mut of_name: Vec<&PodSeen> = pods
        .into_values()
        .filter(|seen| lasting_name(&seen.pod) == Some(lasting))
        .collect();
    of_name.sort_by_key(|seen| (seen.is_terminating, seen.address.is_none()));
    of_name.first().copied()
}

/// The ready addresses of a Service.
pub(crate) fn endpoints(events: &[Event], of: ServiceOf) -> BTreeSet<String> {
    let mut latest = events.iter().rev();
    let found = latest.find_map(|event| match &event.what {
        Happening::Endpoints { service, ready, .. } if *service == of => Some(ready.clone()),
        _ => None,
    });
    found.unwrap_or_default()
}

/// Who holds the Lease.
pub(crate) fn leader(events: &[Event]) -> Option<String> {
    let mut latest = events.iter().rev();
    let found = latest.find_map(|event| match &event.what {
        Happening::Lease { holder, .. } => Some(holder.clone()),
        _ => None,
    });
    found.flatten()
}

/// What a server says of itself.
pub(crate) fn state<'a>(events: &'a [Event], uid: &str) -> Option<&'a State> {
    let mut latest = events.iter().rev();
    latest.find_map(|event| match &event.what {
        Happening::Standing(standing) if standing.uid == uid => Some(&standing.state),
        _ => None,
    })
}
