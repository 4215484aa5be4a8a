//! The promise: the write Service's endpoints are never two servers, and never a stale one.

use std::time::Duration;

use super::facts::Pod;
use super::{Breach, Facts, Finding, Strike};
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

/// An informer whose API server was away asks again after at most 30 s, doubled by its jitter (client-go's reflector). Until then the
/// controller-manager does not know that a label is off.
const HEARD_AGAIN_MAX: Duration = Duration::from_mins(1);

pub(super) fn none_stale(facts: &Facts<'_>) -> Finding {
    let (mut longest, mut uncopied) = (Duration::ZERO, Duration::ZERO);
    let mut breaches = Vec::new();
    for mark in facts.mark.spans(facts.end) {
        let Some(value) = mark.value else { continue };
        for listed in stale(facts, value, mark.from, mark.to) {
            let since_mark = listed.to.since(mark.from.max(listed.from));
            longest = longest.max(since_mark);
            // While nobody copies labels into slices, or nobody can write any, the slice stays as it was.
            let limit = freed(facts, mark.from, listed.to, Duration::ZERO).after(STALE_MAX);
            if listed.to <= limit {
                continue;
            }
            let heard = freed(facts, mark.from, listed.to, HEARD_AGAIN_MAX).after(STALE_MAX);
            if !listed.pod.is_primary(limit) && listed.to <= heard {
                uncopied = uncopied.max(since_mark);
                continue;
            }
            breaches.push(Breach {
                at: limit.max(listed.from),
                seen: format!(
                    "{} ({}) below the mark ({} on timeline {}), {} ms after the mark rose",
                    listed.pod.name,
                    listed.data,
                    value.system,
                    value.timeline,
                    listed.to.millis_since(mark.from)
                ),
            });
        }
    }
    let copied_late = (uncopied > Duration::ZERO).then(|| {
        format!(
            "; {} ms with the label off and an informer that had not heard of it since the API server was away",
            uncopied.as_millis()
        )
    });
    Finding {
        rule: "no-stale-write-endpoint",
        text: "never a server below the ledger's mark among the write Service's endpoints, 1 s after the mark rose",
        seen: format!("at most {} ms{}", longest.as_millis(), copied_late.unwrap_or_default()),
        breaches,
    }
}

/// From when on labels can have been copied into slices: since this moment, or since who copies them, or takes them, was freed.
/// `late`: for how long an API server that is back may not have been heard of.
pub(super) fn freed(facts: &Facts<'_>, since: HostTime, to: HostTime, late: Duration) -> HostTime {
    let held = facts.strikes_on(&[Part::ControllerManager, Part::ApiServer]);
    let until = |strike: &Strike<'_>| match strike.target.part {
        Part::ApiServer => strike.to.after(late),
        _ => strike.to,
    };
    held.filter(|strike| strike.from <= to && until(strike) >= since)
        .map(until)
        .chain([since])
        .max()
        .unwrap_or(since)
}

/// A server below a mark, while it was an endpoint of the write Service.
struct Stale<'a> {
    pod: &'a Pod<'a>,
    /// What it served.
    data: String,
    from: HostTime,
    to: HostTime,
}

/// The times between two moments at which a server below a mark was an endpoint of the write Service.
fn stale<'a>(facts: &'a Facts<'_>, mark: &Mark, from: HostTime, to: HostTime) -> Vec<Stale<'a>> {
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
                    found.push(Stale {
                        pod,
                        data: format!("{system} on timeline {timeline}"),
                        from: served.from.max(begin),
                        to: served.to.min(end),
                    });
                }
            }
        }
    }
    found
}
