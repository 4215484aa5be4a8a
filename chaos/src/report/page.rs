//! The page: tables and pictures in one file that needs nothing from anywhere.

use std::fmt::Write as _;
use std::time::Duration;

use super::summary::{longest, service};
use super::{chart, lanes, span, zero};
use crate::host_time::HostTime;
use crate::oracle::{Cause, Facts, Verdict};

const STYLE: &str = include_str!("style.css");

/// What the closer picture shows before the first fault and after the last change.
const AROUND: Duration = Duration::from_millis(1500);

/// The whole file.
pub(super) fn page(facts: &Facts<'_>, verdict: &Verdict) -> String {
    let header = &facts.history.header;
    let scenario = escaped(&header.scenario);
    let (class, word) = if verdict.passed() {
        ("pass", "PASS")
    } else {
        ("fail", "FAIL")
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{scenario}: {word}</title>\n<style>\n{STYLE}</style></head>\n\
         <body>\n<h1>{scenario} <span class=\"{class}\">{word}</span></h1>\n"
    );
    let length = span(facts.end.millis_since(header.began));
    writeln!(
        page,
        "<p>{} · {} · {length} · {} events. Times are counted from the first fault; one clock, the host's.</p>",
        escaped(&header.route),
        began(header.began_unix),
        facts.history.events.len()
    )
    .ok();
    page.push_str(&outages(facts, verdict));
    page.push_str(&pictures(facts, verdict));
    page.push_str(&rules(facts, verdict));
    page.push_str(&losses(verdict));
    page.push_str(LEGEND);
    page.push_str("</body></html>\n");
    page
}

fn began(unix: u64) -> String {
    let seconds = i64::try_from(unix).unwrap_or(0);
    k8s_openapi::jiff::Timestamp::from_second(seconds).map_or_else(|_out_of_range| String::new(), |at| at.to_string())
}

fn outages(facts: &Facts<'_>, verdict: &Verdict) -> String {
    let zero = zero(facts);
    let mut table = String::from("<h2>Faults and outages</h2>\n");
    table.push_str(
        "<table><thead><tr><th>at</th><th>what</th><th>length</th><th>failed</th><th>said</th></tr></thead>\n<tbody>\n",
    );
    let mut rows: Vec<(HostTime, String)> = Vec::new();
    for strike in &facts.strikes {
        let cells = [
            span(strike.from.millis_since(zero)),
            format!("fault: {}", strike.name),
            span(strike.to.millis_since(strike.from)),
            String::new(),
            strike.target.name.clone(),
        ];
        rows.push((strike.from, row("fault-row", &cells)));
    }
    let (outages, more) = longest(facts, verdict);
    for outage in outages {
        let length = outage
            .to
            .map_or_else(|| "until the end".to_owned(), |to| span(to.millis_since(outage.from)));
        let cells = [
            span(outage.from.millis_since(zero)),
            format!("no {}", service(outage.service)),
            length,
            outage.failed.to_string(),
            outage.first_error.clone(),
        ];
        rows.push((outage.from, row("outage-row", &cells)));
    }
    rows.sort_by_key(|(at, _)| *at);
    if more > 0 {
        let cells = ["", "and shorter outages", "", "", ""].map(str::to_owned);
        rows.push((
            facts.end,
            row("", &cells).replace("and shorter", &format!("and {more} shorter")),
        ));
    }
    if rows.is_empty() {
        rows.push((
            zero,
            row(
                "",
                &["", "nothing was struck, and nobody failed", "", "", ""].map(str::to_owned),
            ),
        ));
    }
    table.extend(rows.into_iter().map(|(_, row)| row));
    table.push_str("</tbody></table>\n");
    table
}

fn pictures(facts: &Facts<'_>, verdict: &Verdict) -> String {
    let (zero, began) = (zero(facts), facts.history.header.began);
    let picture = |from, to| {
        let lanes = lanes::lanes(facts, from, to);
        format!("<div class=\"picture\">{}</div>\n", chart::draw(&lanes, from, to, zero))
    };
    let mut pictures = String::new();
    if !facts.strikes.is_empty() || !facts.asked.is_empty() {
        let (from, to) = (
            zero.before(AROUND).max(began),
            last_change(facts, verdict).after(AROUND).min(facts.end),
        );
        write!(pictures, "<h2>What happened</h2>\n{}", picture(from, to)).ok();
    }
    write!(pictures, "<h2>The whole run</h2>\n{}", picture(began, facts.end)).ok();
    pictures
}

/// When the last label or endpoint changed or the last outage ended.
fn last_change(facts: &Facts<'_>, verdict: &Verdict) -> HostTime {
    let labels = facts
        .pods
        .values()
        .flat_map(|pod| pod.role.changes().map(|(at, _, _)| at));
    let endpoints = facts
        .ready
        .values()
        .flat_map(|track| track.changes().map(|(at, _, _)| at));
    let outages = verdict.outages.iter().filter_map(|outage| outage.to);
    let heals = facts.strikes.iter().map(|strike| strike.to);
    labels
        .chain(endpoints)
        .chain(outages)
        .chain(heals)
        .max()
        .unwrap_or(facts.end)
}

fn rules(facts: &Facts<'_>, verdict: &Verdict) -> String {
    let zero = zero(facts);
    let mut table =
        String::from("<h2>Rules</h2>\n<table><thead><tr><th></th><th>rule</th><th>seen</th></tr></thead>\n<tbody>\n");
    for finding in &verdict.findings {
        let (class, word) = if finding.breaches.is_empty() {
            ("pass", "ok")
        } else {
            ("fail", "BROKEN")
        };
        let mut seen = escaped(&finding.seen);
        if !finding.breaches.is_empty() {
            seen.push_str("<ul>");
            for breach in &finding.breaches {
                let at = span(breach.at.millis_since(zero));
                write!(seen, "<li>{at}: {}</li>", escaped(&breach.seen)).ok();
            }
            seen.push_str("</ul>");
        }
        writeln!(
            table,
            "<tr><td><span class=\"{class}\">{word}</span></td><td title=\"{}\">{}</td><td>{seen}</td></tr>",
            finding.rule,
            escaped(finding.text)
        )
        .ok();
    }
    table.push_str("</tbody></table>\n");
    table
}

fn losses(verdict: &Verdict) -> String {
    let mut table = String::from(
        "<h2>Acknowledged writes that are gone</h2>\n<table><thead><tr><th>count</th><th>through whose doing</th></tr></thead>\n<tbody>\n",
    );
    for cause in Cause::ALL {
        let count = verdict.losses.iter().filter(|loss| loss.cause == cause).count();
        table.push_str(&row("", &[count.to_string(), cause.words().to_owned()]));
    }
    table.push_str("</tbody></table>\n");
    table
}

fn row(class: &str, cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
    format!("<tr class=\"{class}\"><td>{}</td></tr>\n", cells.join("</td><td>"))
}

const LEGEND: &str = "<p class=\"legend\"><span class=\"key primary\"></span> takes writes, primary \
    <span class=\"key replica\"></span> in recovery, replica <span class=\"key orphan\"></span> orphan \
    <span class=\"key down\"></span> down <span class=\"key silent\"></span> silent <span class=\"key none\"></span> none \
    <span class=\"key served\"></span> answered <span class=\"key failed\"></span> failed <span class=\"key fault\"></span> fault. \
    Of each pod the upper row is what its server says of itself, the lower one its label: the same colour is right. \
    Point at a bar to see more.</p>\n";

/// Text as HTML shows it.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}
