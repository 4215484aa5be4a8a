//! What is made of a run: the judge's findings and the demo's own, which decide, and the figures that are told. Pure.

use std::collections::BTreeMap;

use super::switch::{Switch, failures};
use crate::ground::Skipped;
use crate::host_time::HostTime;
use crate::judge::Judged;
use crate::oracle::{Breach, Cause, Facts, Finding, Loss};
use crate::workload::{Kind, Outcome, SessionKind};

/// Everything a run showed.
#[derive(Debug)]
pub struct Verdict {
    /// The history, and what was found in it; every finding has to hold.
    pub judged: Judged,
    /// What is told besides, line by line.
    pub figures: Vec<String>,
}

/// What was seen of the controllers when their leader's pod was deleted and a label was taken off by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Succession {
    pub(super) deleted: HostTime,
    pub(super) old: String,
    pub(super) new: String,
    pub(super) led: HostTime,
    pub(super) unlabelled: HostTime,
    pub(super) repaired: HostTime,
}

/// The API server was away; afterwards a label was taken off by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Absence {
    pub(super) stopped: HostTime,
    pub(super) back: HostTime,
    /// The pod whose label was taken off.
    pub(super) edited: String,
    pub(super) unlabelled: HostTime,
    pub(super) repaired: HostTime,
}

impl Absence {
    /// Labels that changed since the API server went away, other than by hand.
    fn changed_labels(&self, facts: &Facts<'_>) -> Vec<Breach> {
        let mut breaches = Vec::new();
        for pod in facts.pods.values() {
            let by_hand = |at: HostTime| pod.name == self.edited && at >= self.unlabelled;
            let during = |at: HostTime| (self.stopped..=self.repaired).contains(&at);
            let changes = pod.role.changes().filter(|(at, _, _)| during(*at) && !by_hand(*at));
            breaches.extend(changes.map(|(at, _, since)| Breach {
                at,
                seen: format!("{} was labelled {}", pod.name, since.unwrap_or("nothing")),
            }));
        }
        breaches
    }

    /// New connections through the write Service that were served meanwhile, and those that were not.
    fn writes(&self, facts: &Facts<'_>) -> (usize, usize) {
        let during = facts
            .lines(Kind::Write)
            .filter(|line| line.session == SessionKind::Fresh && line.began >= self.stopped && line.at <= self.back);
        let (served, failed): (Vec<_>, Vec<_>) = during.partition(|line| line.outcome.by().is_some());
        (served.len(), failed.len())
    }
}

/// What was done in a run, beside its history.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) failover: Switch,
    pub(super) succession: Succession,
    pub(super) switchover: Switch,
    /// Containers of the route that were restarted, or pods that were replaced, during the switchover.
    pub(super) pod_events: usize,
    pub(super) absence: Result<Absence, Skipped>,
    /// Whether the clients' stamps had to be translated from other clocks.
    pub(super) is_translated: bool,
}

impl Verdict {
    /// Adds the demo's own findings to the judge's.
    pub(super) fn of(run: &Run, mut judged: Judged) -> Self {
        let facts = Facts::of(&judged.history);
        let figures = figures(run, &facts, &judged.verdict.losses);
        let own = [switches(run, &facts), controllers(run, &facts), absence(run, &facts)].concat();
        judged.verdict.findings.splice(0..0, own);
        Self { judged, figures }
    }

    /// Whether everything held.
    pub fn passed(&self) -> bool {
        self.judged.verdict.passed()
    }

    /// The verdict as a person reads it: the last line is PASS or FAIL.
    pub fn lines(&self) -> Vec<String> {
        let findings = self.judged.verdict.findings.iter().flat_map(|finding| {
            let held = finding.breaches.is_empty();
            let word = if held { "ok  " } else { "FAIL" };
            let breaches = finding.breaches.iter().take(BREACHES_TOLD);
            let breaches = breaches.map(|breach| format!("        {}", breach.seen));
            std::iter::once(format!("{word}  {}: {}", finding.text, finding.seen)).chain(breaches)
        });
        let last = if self.passed() { "PASS" } else { "FAIL" };
        let figures = self.figures.iter().cloned();
        figures.chain(findings).chain([last.to_owned()]).collect()
    }
}

/// More breaches of one rule than these are in the report.
const BREACHES_TOLD: usize = 5;

fn switches(run: &Run, facts: &Facts<'_>) -> Vec<Finding> {
    vec![
        complete(
            "failover-complete",
            "the primary was killed: both Services switched over",
            &run.failover,
            facts,
        ),
        complete(
            "switchover-complete",
            "a promotion while the old primary ran: both Services switched over",
            &run.switchover,
            facts,
        ),
        finding(
            "no-pod-event",
            "that promotion came with no pod event",
            format!("{} containers restarted or pods replaced", run.pod_events),
            run.pod_events == 0,
            facts,
        ),
    ]
}

fn controllers(run: &Run, facts: &Facts<'_>) -> Vec<Finding> {
    let Succession {
        deleted,
        old,
        new,
        led,
        unlabelled,
        repaired,
    } = &run.succession;
    vec![
        finding(
            "leader-moves",
            "the leader's pod was deleted: another replica leads",
            format!("{new}, after {} ms", led.millis_since(*deleted)),
            old != new,
            facts,
        ),
        finding(
            "label-repaired",
            "a label was taken off by hand: the new leader put it back",
            format!("after {} ms", repaired.millis_since(*unlabelled)),
            repaired >= unlabelled,
            facts,
        ),
    ]
}

/// A new connection may be given up after a second because the host is busy: one in so many.
const SERVED_PER_FAILURE_MIN: usize = 50;

fn absence(run: &Run, facts: &Facts<'_>) -> Vec<Finding> {
    let Ok(absence) = &run.absence else {
        return Vec::new();
    };
    let changed = absence.changed_labels(facts);
    let (served, failed) = absence.writes(facts);
    vec![
        Finding {
            rule: "no-role-changes-without-the-api-server",
            text: "the API server was away: no label changed",
            seen: format!(
                "{} changed in {} ms; a label taken off afterwards was put back after {} ms",
                changed.len(),
                absence.back.millis_since(absence.stopped),
                absence.repaired.millis_since(absence.unlabelled)
            ),
            breaches: changed,
        },
        finding(
            "writes-without-the-api-server",
            "and the write Service went on",
            format!("{served} new connections served, {failed} not"),
            served > 0 && failed * SERVED_PER_FAILURE_MIN <= served,
            facts,
        ),
    ]
}

fn figures(run: &Run, facts: &Facts<'_>, losses: &[Loss]) -> Vec<String> {
    let clocks = if run.is_translated {
        "labels and EndpointSlices are stamped when this program's watch heard of them, writes and reads by the clients in their pods, \
         translated to this host's clock: some milliseconds late"
    } else {
        "one clock, the host's; labels and EndpointSlices are stamped when this program's watch heard of them, \
         writes and reads by the clients in their pods"
    };
    let mut told = vec![clocks.to_owned()];
    told.extend(steps("killed", &run.failover));
    told.extend(steps("promotion asked for, the old primary running", &run.switchover));
    let written = facts.lines(Kind::Write);
    let acknowledged = written.filter(|line| matches!(line.outcome, Outcome::Written { .. }));
    told.push(format!("acknowledged writes: {}; of these lost", acknowledged.count()));
    let span = span_of_failover(run, losses);
    for cause in Cause::ALL {
        let count = losses.iter().filter(|loss| loss.cause == cause).count();
        let span = if cause == Cause::Failover { span.as_str() } else { "" };
        told.push(format!("{count:>8}      {}{span}", cause.words()));
    }
    told.push(format!(
        "exposure, from the promotion to the beaten primary's last acknowledged write: {} ms",
        run.switchover.exposure_millis()
    ));
    for (kind, verb) in [(Kind::Write, "write"), (Kind::Read, "read")] {
        told.push(format!("failed attempts to {verb}:"));
        told.extend(most_frequent(failures(&facts.history.events, kind)));
    }
    told.extend(run.absence.as_ref().err().map(Skipped::to_string));
    told
}

/// When the writes that the killed primary took along had been acknowledged, seen from the kill.
fn span_of_failover(run: &Run, losses: &[Loss]) -> String {
    let ended = run.failover.cut.promoted;
    let gone = losses
        .iter()
        .filter(|loss| loss.cause == Cause::Failover && loss.at <= ended);
    let millis: Vec<i64> = gone.map(|loss| loss.at.millis_since(run.failover.cut.began)).collect();
    match (millis.iter().min(), millis.iter().max()) {
        (Some(from), Some(to)) => format!("; of the killed primary's, acknowledged {from} to {to} ms after the kill"),
        _ => String::new(),
    }
}

fn steps(began: &str, switch: &Switch) -> Vec<String> {
    let line = |what: &str, at: Option<i64>| match at {
        Some(at) => format!("{at:>8} ms  {what}"),
        None => format!("   never     {what}"),
    };
    let heading = format!("{} -> {}", switch.cut.old.pod, switch.cut.new.pod);
    let mut steps = switch.steps();
    steps.sort_by_key(|(_, at)| at.unwrap_or(i64::MAX));
    [heading, line(began, Some(0))]
        .into_iter()
        .chain(steps.into_iter().map(|(what, at)| line(what, at)))
        .collect()
}

/// More kinds of failure than these are rare ones.
const FAILURES_TOLD: usize = 5;

fn most_frequent(failures: BTreeMap<String, usize>) -> Vec<String> {
    let mut failures: Vec<(String, usize)> = failures.into_iter().collect();
    failures.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    failures.truncate(FAILURES_TOLD);
    failures
        .into_iter()
        .map(|(error, count)| format!("{count:>8} x   {error}"))
        .collect()
}

fn complete(rule: &'static str, text: &'static str, switch: &Switch, facts: &Facts<'_>) -> Finding {
    let missing = switch.missing();
    let seen = match switch.first_write {
        Some(at) if missing.is_empty() => {
            format!(
                "the first write through the name after {} ms",
                at.millis_since(switch.cut.began)
            )
        }
        _ => missing.join(", "),
    };
    finding(rule, text, seen, missing.is_empty(), facts)
}

fn finding(rule: &'static str, text: &'static str, seen: String, held: bool, facts: &Facts<'_>) -> Finding {
    let breach = (!held).then(|| Breach {
        at: facts.end,
        seen: seen.clone(),
    });
    Finding {
        rule,
        text,
        seen,
        breaches: breach.into_iter().collect(),
    }
}
