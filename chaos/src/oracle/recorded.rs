//! A verdict is worth what was heard: a history with holes shows nothing.

use super::{Breach, Facts, Finding};
use crate::history::{Happening, Heard, Part};
use crate::workload::Kind;

pub(super) fn check(facts: &Facts<'_>) -> Finding {
    let events = &facts.history.events;
    let mut breaches = Vec::new();
    let mut gaps = Vec::new();
    for event in events {
        let Happening::Gap { of, why, since } = &event.what else {
            continue;
        };
        gaps.push(format!("{of:?}: {why}"));
        // A watch breaks with the API server, and the audit log, which is whole, is judged beside it.
        let is_grave = match of {
            Heard::Watch | Heard::AuditLog | Heard::Rows => false,
            Heard::Client => facts
                .strikes_on(&[Part::Node, Part::Kubelet, Part::ApiServer])
                .next()
                .is_none(),
            Heard::Observer | Heard::Recorder => true,
        };
        if is_grave {
            breaches.push(Breach {
                at: *since,
                seen: format!("{of:?}: {why}"),
            });
        }
    }
    let answered = |kind| facts.lines(kind).filter(|line| line.outcome.by().is_some()).count();
    let missing = [
        (answered(Kind::Write) == 0, "no write was acknowledged"),
        (answered(Kind::Read) == 0, "no read was served"),
        (
            facts.pods.values().all(|pod| pod.state.last().is_none()),
            "no server was observed",
        ),
        (
            !events.iter().any(|event| event.what == Happening::End),
            "the file was cut off: the run did not come to its end",
        ),
    ];
    breaches.extend(missing.into_iter().filter(|(is_so, _)| *is_so).map(|(_, seen)| Breach {
        at: facts.end,
        seen: seen.to_owned(),
    }));
    let longest = events.iter().filter_map(|event| match event.what {
        Happening::Observed { longest_micros, .. } => Some(longest_micros),
        _ => None,
    });
    let longest = longest.max().unwrap_or(0);
    gaps.dedup();
    let gaps = if gaps.is_empty() {
        "no gaps".to_owned()
    } else {
        format!("gaps: {}", gaps.join("; "))
    };
    Finding {
        rule: "recorded",
        text: "everything that the verdict rests on was recorded",
        seen: format!(
            "{} events; every server asked each {} ms, at the longest {} ms apart; {gaps}",
            events.len(),
            facts.history.header.observed_every_micros / 1000,
            longest / 1000
        ),
        breaches,
    }
}
