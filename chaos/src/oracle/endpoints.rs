//! The promise: the write Service's endpoints are never two servers, and never a stale one.

use std::time::Duration;

use super::{Breach, Facts, Finding};
use crate::history::{Mark, Part, ServiceOf};
use crate::host_time::HostTime;

/// How long after the mark rose a server below it may still be an endpoint: the label is off already, the EndpointSlice has to follow.
const STALE_MAX: Duration = Duration::from_secs(1);

pub(super) fn one(facts: &Facts<'_>) -> Finding {
    let mut most = 0;
    let mut breaches = Vec::new();
    for span in facts
        .ready
        .get(&ServiceOf::Writes)
        .into_iter()
        .flat_map(|track| track.spans(facts.end))
    {
        most = most.max(span.value.len());
        if span.value.len() > 1 {
            let servers: Vec<&str> = span.value.iter().copied().collect();
            breaches.push(Breach {
                at: span.from,
                seen: format!("{} for {} ms", servers.join(" and "), span.to.millis_since(span.from)),
            });
        }
    }
    Finding {
        rule: "one-write-endpoint",
        text: "never two servers among the write Service's endpoints",
        seen: format!("at most {most} at once"),
        breaches,
    }
}

pub(super) fn none_stale(facts: &Facts<'_>) -> Finding {
    let mut longest = Duration::ZERO;
    let mut breaches = Vec::new();
    for mark in facts.mark.spans(facts.end) {
        let Some(value) = mark.value else { continue };
        for (from, to, seen) in stale(facts, value, mark.from, mark.to) {
            let since_mark = to.since(mark.from.max(from));
            longest = longest.max(since_mark);
            // While nobody copies labels into slices, or nobody can write any, the slice stays as it was.
            let held = facts.strikes_on(&[Part::ControllerManager, Part::ApiServer]);
            let freed = held
                .filter(|strike| strike.from <= to && strike.to >= mark.from)
                .map(|strike| strike.to);
            let limit = freed.chain([mark.from]).max().unwrap_or(mark.from).after(STALE_MAX);
            if to > limit {
                let seen = format!("{seen}, {} ms after the mark rose", to.millis_since(mark.from));
                breaches.push(Breach {
                    at: limit.max(from),
                    seen,
                });
            }
        }
    }
    Finding {
        rule: "no-stale-write-endpoint",
        text: "never a server below the ledger's mark among the write Service's endpoints, 1 s after the mark rose",
        seen: format!("at most {} ms", longest.as_millis()),
        breaches,
    }
}

/// The times between two moments at which a server below a mark was an endpoint of the write Service.
fn stale(facts: &Facts<'_>, mark: &Mark, from: HostTime, to: HostTime) -> Vec<(HostTime, HostTime, String)> {
    let mut found = Vec::new();
    let Some(track) = facts.ready.get(&ServiceOf::Writes) else {
        return found;
    };
    for listed in track.spans(facts.end).filter(|span| span.to > from && span.from < to) {
        for address in listed.value {
            let Some(pod) = facts.pod_at(address, listed.from.max(from)) else {
                continue;
            };
            let (begin, end) = (listed.from.max(from), listed.to.min(to));
            // It may have been what it should be only for a part of that time.
            for served in pod
                .data
                .spans(facts.end)
                .filter(|span| span.to > begin && span.from < end)
            {
                let (system, timeline) = *served.value;
                if system != mark.system || timeline < mark.timeline {
                    let seen = format!(
                        "{} ({system} on timeline {timeline}) below the mark ({} on timeline {})",
                        pod.name, mark.system, mark.timeline
                    );
                    found.push((served.from.max(begin), served.to.min(end), seen));
                }
            }
        }
    }
    found
}
