//! Reads through the name are never served by an orphan: a server that takes writes beside the chosen one.

use std::time::Duration;

use super::endpoints::freed;
use super::facts::RULES_LAG;
use super::writes::{Route, route};
use super::{Breach, Facts, Finding};
use crate::history::ServiceOf;
use crate::install::ORPHAN;
use crate::workload::{Kind, Outcome};

pub(super) fn check(facts: &Facts<'_>) -> Finding {
    let (mut served, mut stale, mut remembered, mut astray) = (0, 0, 0, 0);
    let mut breaches = listed(facts);
    for (client, line) in facts.attempts(Kind::Read) {
        let Outcome::Read { by, .. } = &line.outcome else {
            continue;
        };
        served += 1;
        match route(facts, ServiceOf::Reads, client, line, by) {
            Route::Entitled => {}
            Route::Outlived => stale += 1,
            Route::Remembered => remembered += 1,
            Route::Astray => {
                astray += 1;
                let opened = line.opened.unwrap_or(line.at);
                let pod = facts.pod_at(&by.address, opened);
                if pod.is_some_and(|pod| pod.role.at(opened) == Some(&Some(ORPHAN))) {
                    let seen = format!("a read served by {}, an orphan on timeline {}", by.address, by.timeline);
                    breaches.push(Breach { at: line.at, seen });
                }
            }
        }
    }
    Finding {
        rule: "reads-never-by-an-orphan",
        text: "no read through the name is served by an orphan, and none is an endpoint of the read Service for longer than 1.3 s",
        seen: format!(
            "{served} served; {stale} over sessions that outlived a switch, {remembered} from ports that the node still led where they had led before, {astray} by a server that was no endpoint"
        ),
        breaches,
    }
}

/// The times for which an orphan was an endpoint of the read Service.
fn listed(facts: &Facts<'_>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let Some(reads) = facts.ready.get(&ServiceOf::Reads) else {
        return breaches;
    };
    for pod in facts.pods.values() {
        let orphaned = pod.role.spans(facts.end).filter(|span| *span.value == Some(ORPHAN));
        for (role, address) in orphaned.filter_map(|span| Some((span, (*pod.address.at(span.from)?)?))) {
            let since = freed(facts, role.from, role.to, Duration::ZERO);
            let for_long: Duration = reads
                .spans(facts.end)
                .filter(|span| span.to > since && span.from < role.to && span.value.contains(address))
                .map(|span| span.to.min(role.to).since(span.from.max(since)))
                .sum();
            if for_long > RULES_LAG {
                let seen = format!(
                    "{} was an orphan and an endpoint of the read Service for {} ms",
                    pod.name,
                    for_long.as_millis()
                );
                breaches.push(Breach { at: role.from, seen });
            }
        }
    }
    breaches
}
