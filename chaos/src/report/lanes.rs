//! Which rows the picture has, and what is in each.

use std::collections::BTreeMap;
use std::time::Duration;

use super::chart::{Bar, Lane};
use super::span;
use crate::history::{ServiceOf, State};
use crate::host_time::HostTime;
use crate::install::{ORPHAN, PRIMARY, REPLICA};
use crate::oracle::{Facts, Track};
use crate::workload::{Kind, Line, Outcome, SessionKind};

/// The picture is divided into so many columns; attempts that fall into one are drawn as one mark.
const COLUMNS: u64 = 500;

/// More rows of faults than these would hide the rest.
const FAULTS_MAX: usize = 12;

/// All rows, for a picture between two moments.
pub(super) fn lanes(facts: &Facts<'_>, from: HostTime, to: HostTime) -> Vec<Lane> {
    let mut lanes = faults(facts);
    let mut pods: Vec<_> = facts.pods.values().filter(|pod| !pod.name.is_empty()).collect();
    pods.sort_by_key(|pod| pod.name);
    for pod in pods {
        let end = pod.gone.unwrap_or(facts.end);
        let states = pod.state.spans(facts.end).map(|span| {
            let (class, text) = (class(span.value), span.value.to_string());
            bar(span.from, span.to.min(end).max(span.from), class, text)
        });
        lanes.push(lane(pod.name, true, states.collect()));
        let roles = pod.role.spans(facts.end).map(|span| {
            let (class, text) = match *span.value {
                Some(PRIMARY) => ("primary", "primary"),
                Some(REPLICA) => ("replica", "replica"),
                Some(ORPHAN) => ("orphan", "orphan"),
                Some(_) => ("other", "another label"),
                None => ("none", "no label"),
            };
            bar(span.from, span.to.min(end).max(span.from), class, text.to_owned())
        });
        lanes.push(lane("    label", false, roles.collect()));
    }
    lanes.push(endpoints(facts, ServiceOf::Writes, "write endpoints", "primary", true));
    lanes.push(endpoints(facts, ServiceOf::Reads, "read endpoints", "replica", false));
    for (kind, name) in [(Kind::Write, "writes"), (Kind::Read, "reads")] {
        let said: Vec<&Line> = facts.lines(kind).collect();
        let attempts = |held: bool| columns(&said, held, from, to);
        lanes.push(lane(
            &format!("{name}, new connections"),
            kind == Kind::Write,
            attempts(false),
        ));
        lanes.push(lane(&format!("{name}, held sessions"), false, attempts(true)));
    }
    lanes.push(lane("mark", true, marks(facts)));
    lanes.push(lane("leader", false, text_spans(&facts.holder, facts.end, "leader")));
    lanes
}

/// A row a fault, as long as they are few.
fn faults(facts: &Facts<'_>) -> Vec<Lane> {
    let strikes = facts.strikes.iter().map(|strike| {
        let target = bar(strike.from, strike.to, "fault", strike.target.name.clone());
        (format!("fault: {}", strike.name), target)
    });
    let asked = facts
        .asked
        .iter()
        .map(|(at, pod)| ("promotion".to_owned(), bar(*at, *at, "asked", (*pod).to_owned())));
    let mut lanes: Vec<Lane> = Vec::new();
    for (name, bar) in strikes.chain(asked) {
        let is_full = lanes.len() >= FAULTS_MAX;
        match lanes.last_mut().filter(|last| last.name == name || is_full) {
            Some(last) => last.bars.push(bar),
            None => lanes.push(lane(&name, false, vec![bar])),
        }
    }
    lanes
}

/// How what a server says is coloured.
fn class(state: &State) -> &'static str {
    match state {
        State::Writable { .. } => "primary",
        State::InRecovery { .. } => "replica",
        State::Down { .. } => "down",
        State::Silent => "silent",
    }
}

fn endpoints(facts: &Facts<'_>, service: ServiceOf, name: &str, class: &'static str, begins_group: bool) -> Lane {
    let Some(track) = facts.ready.get(&service) else {
        return lane(name, begins_group, Vec::new());
    };
    let bars = track.spans(facts.end).map(|span| {
        let pods: Vec<&str> = span
            .value
            .iter()
            .map(|address| facts.pod_of(address, span.from).map_or(*address, |pod| pod.name))
            .collect();
        let (class, text) = match pods.len() {
            0 => ("none", "none".to_owned()),
            1 => (class, pods.join(", ")),
            _ if service == ServiceOf::Writes => ("breach", pods.join(", ")),
            _ => (class, pods.join(", ")),
        };
        bar(span.from, span.to, class, text)
    });
    lane(name, begins_group, bars.collect())
}

fn marks(facts: &Facts<'_>) -> Vec<Bar> {
    let bars = facts.mark.spans(facts.end).map(|span| match span.value {
        Some(mark) => bar(
            span.from,
            span.to,
            "leader",
            format!("{} on timeline {}, {}", mark.pod, mark.timeline, mark.lsn),
        ),
        None => bar(span.from, span.to, "none", "no mark".to_owned()),
    });
    bars.collect()
}

fn text_spans(track: &Track<Option<&str>>, end: HostTime, class: &'static str) -> Vec<Bar> {
    let bars = track.spans(end).map(|span| match span.value {
        Some(text) => bar(span.from, span.to, class, (*text).to_owned()),
        None => bar(span.from, span.to, "none", "nobody".to_owned()),
    });
    bars.collect()
}

/// Attempts, column by column: above those that were answered, below those that failed.
fn columns(lines: &[&Line], held: bool, from: HostTime, to: HostTime) -> Vec<Bar> {
    let width = (to.since(from) / u32::try_from(COLUMNS).unwrap_or(u32::MAX)).max(Duration::from_nanos(1));
    let mut counts: BTreeMap<u128, (usize, usize, Option<&str>)> = BTreeMap::new();
    let lines = lines.iter().filter(|line| (line.session != SessionKind::Fresh) == held);
    for line in lines.filter(|line| line.at >= from && line.at <= to) {
        let column = line.at.since(from).as_nanos() / width.as_nanos();
        let (served, failed, error) = counts.entry(column).or_default();
        match &line.outcome {
            Outcome::Failed { error: said } => {
                *failed += 1;
                *error = error.or(Some(said));
            }
            Outcome::Written { .. } | Outcome::Read { .. } => *served += 1,
        }
    }
    let mut bars = Vec::new();
    for (column, (served, failed, error)) in counts {
        let begin = from.after(width * u32::try_from(column).unwrap_or(u32::MAX));
        let mut mark = |class, title: String, height| {
            bars.push(Bar {
                title,
                height,
                ..bar(begin, begin.after(width), class, String::new())
            });
        };
        if served > 0 {
            mark("served", format!("{served} answered"), (0, 50));
        }
        if failed > 0 {
            mark(
                "failed",
                format!("{failed} failed: {}", error.unwrap_or_default()),
                (50, 100),
            );
        }
    }
    bars
}

fn lane(name: &str, begins_group: bool, bars: Vec<Bar>) -> Lane {
    Lane {
        name: name.to_owned(),
        bars,
        begins_group,
    }
}

fn bar(from: HostTime, to: HostTime, class: &'static str, text: String) -> Bar {
    Bar {
        from,
        to,
        class,
        title: format!("{text} ({})", span(to.millis_since(from))),
        text,
        height: (0, 100),
    }
}
