//! The summary for the terminal.

use super::{span, zero};
use crate::history::{History, ServiceOf};
use crate::oracle::{Cause, Facts, Outage, Verdict};

/// Breaches of one rule that are told; the report has all of them.
const BREACHES_TOLD: usize = 5;

/// The summary, line by line: the faults, the outages, the losses, the rules.
pub fn summary(history: &History, verdict: &Verdict) -> Vec<String> {
    let facts = Facts::of(history);
    let zero = zero(&facts);
    let header = &history.header;
    let length = span(facts.end.millis_since(header.began));
    let mut lines = vec![format!("{} on {}, {length}", header.scenario, header.route)];
    for strike in &facts.strikes {
        let lasted = strike.to.millis_since(strike.from);
        let lasted = if lasted > 0 {
            format!(", for {}", span(lasted))
        } else {
            String::new()
        };
        lines.push(format!(
            "fault   at {:>9}  {}: {}{lasted}",
            span(strike.from.millis_since(zero)),
            strike.name,
            strike.target.name
        ));
    }
    let (outages, more) = longest(&facts, verdict);
    lines.extend(outages.into_iter().map(|outage| {
        format!(
            "outage  at {:>9}  {}",
            span(outage.from.millis_since(zero)),
            outage_words(outage)
        )
    }));
    if more > 0 {
        lines.push(format!("        and {more} shorter ones"));
    }
    for cause in Cause::ALL {
        let count = verdict.losses.iter().filter(|loss| loss.cause == cause).count();
        if count > 0 {
            lines.push(format!("lost    {count:>12}  {}", cause.words()));
        }
    }
    for finding in &verdict.findings {
        let held = finding.breaches.is_empty();
        let word = if held { "ok    " } else { "BROKEN" };
        lines.push(format!("{word}  {}: {}", finding.text, finding.seen));
        let told = finding.breaches.iter().take(BREACHES_TOLD);
        lines.extend(
            told.map(|breach| format!("        at {:>9}  {}", span(breach.at.millis_since(zero)), breach.seen)),
        );
        if let Some(more) = finding
            .breaches
            .len()
            .checked_sub(BREACHES_TOLD)
            .filter(|more| *more > 0)
        {
            lines.push(format!("        and {more} more"));
        }
    }
    lines.push(if verdict.passed() { "PASS" } else { "FAIL" }.to_owned());
    lines
}

/// Outages that are told, the longest; on a host under load there are many short ones.
const OUTAGES_TOLD: usize = 12;

/// The longest outages, by their beginning, and how many more there were.
pub(super) fn longest<'a>(facts: &Facts<'_>, verdict: &'a Verdict) -> (Vec<&'a Outage>, usize) {
    let mut outages: Vec<&Outage> = verdict.outages.iter().collect();
    outages.sort_by_key(|outage| std::cmp::Reverse(outage.to.unwrap_or(facts.end).since(outage.from)));
    let more = outages.len().saturating_sub(OUTAGES_TOLD);
    outages.truncate(OUTAGES_TOLD);
    outages.sort_by_key(|outage| outage.from);
    (outages, more)
}

/// An outage in words.
pub(super) fn outage_words(outage: &Outage) -> String {
    let name = service(outage.service);
    let lasted = outage.to.map_or_else(
        || "until the end".to_owned(),
        |to| format!("for {}", span(to.millis_since(outage.from))),
    );
    format!(
        "{name} {lasted}, {} attempts failed: {}",
        outage.failed, outage.first_error
    )
}

/// A Service as a person calls it.
pub(super) fn service(service: ServiceOf) -> &'static str {
    match service {
        ServiceOf::Writes => "writes",
        ServiceOf::Reads => "reads",
    }
}
