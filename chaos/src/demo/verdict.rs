//! What is made of a run: the checks that decide, and the figures that are told. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::ground::Skipped;
use crate::host_time::HostTime;
use crate::timeline::{self, Cause, Entry, Happening, Loss, Switch};
use crate::workload::{Kind, SessionKind};

/// One thing that had to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub what: String,
    /// Whether it held.
    pub held: bool,
    /// What was seen.
    pub seen: String,
}

/// Everything a run showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The checks; all have to hold.
    pub checks: Vec<Check>,
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
    fn changed_labels(&self, history: &[Entry]) -> usize {
        let during = history
            .iter()
            .filter(|entry| (self.stopped..=self.repaired).contains(&entry.at));
        let by_hand = |at: HostTime, pod: &str| pod == self.edited && at >= self.unlabelled;
        let changed = during.filter(|entry| match &entry.what {
            Happening::Role { pod, .. } | Happening::PodGone { pod } => !by_hand(entry.at, pod),
            Happening::Did(_) | Happening::Endpoints { .. } | Happening::Leader { .. } | Happening::Client { .. } => {
                false
            }
        });
        changed.count()
    }

    /// New connections through the write Service that were served meanwhile, and those that were not.
    fn writes(&self, history: &[Entry]) -> (usize, usize) {
        let during = timeline::lines(history, Kind::Write)
            .filter(|line| line.session == SessionKind::Fresh && line.began >= self.stopped && line.at <= self.back);
        let (served, failed): (Vec<_>, Vec<_>) = during.partition(|line| line.outcome.by().is_some());
        (served.len(), failed.len())
    }
}

/// A whole run.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) history: &'a [Entry],
    /// False when the history ran over and something may be missing from it.
    pub(super) complete: bool,
    pub(super) failover: Switch,
    pub(super) succession: Succession,
    pub(super) switchover: Switch,
    /// Containers of the route that were restarted, or pods that were replaced, during the switchover.
    pub(super) pod_events: usize,
    pub(super) absence: Result<Absence, Skipped>,
    /// Whether the clients' stamps had to be translated from other clocks.
    pub(super) is_translated: bool,
    /// The rows that the last primary has.
    pub(super) present: BTreeSet<u64>,
}

impl Verdict {
    /// Whether every check held.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.held)
    }

    /// The verdict as a person reads it.
    pub fn lines(&self) -> Vec<String> {
        let checks = self.checks.iter().map(|check| {
            let word = if check.held { "ok  " } else { "FAIL" };
            format!("{word}  {}: {}", check.what, check.seen)
        });
        let last = if self.passed() { "PASS" } else { "FAIL" };
        let figures = self.figures.iter().cloned();
        figures.chain(checks).chain([last.to_owned()]).collect()
    }
}

/// Judges a run.
pub(super) fn judge(run: &Run<'_>) -> Verdict {
    let switches = [run.failover.clone(), run.switchover.clone()];
    let acknowledged = timeline::acknowledged(run.history);
    let lost = timeline::losses(&acknowledged, &run.present, &switches);
    Verdict {
        checks: [
            switches_checked(run),
            controllers_checked(run),
            absence_checked(run),
            always_checked(run, acknowledged.len(), &lost),
        ]
        .concat(),
        figures: figures(run, acknowledged.len(), &lost),
    }
}

fn switches_checked(run: &Run<'_>) -> Vec<Check> {
    vec![
        complete("the primary was killed: both Services switched over", &run.failover),
        complete(
            "a promotion while the old primary ran: both Services switched over",
            &run.switchover,
        ),
        check(
            "that promotion came with no pod event",
            run.pod_events == 0,
            format!("{} containers restarted or pods replaced", run.pod_events),
        ),
    ]
}

/// A new connection may be given up after a second because the host is busy: one in so many.
const SERVED_PER_FAILURE_MIN: usize = 50;

fn controllers_checked(run: &Run<'_>) -> Vec<Check> {
    let Succession {
        deleted,
        old,
        new,
        led,
        unlabelled,
        repaired,
    } = &run.succession;
    vec![
        check(
            "the leader's pod was deleted: another replica leads",
            old != new,
            format!("{new}, after {} ms", led.millis_since(*deleted)),
        ),
        check(
            "a label was taken off by hand: the new leader put it back",
            repaired >= unlabelled,
            format!("after {} ms", repaired.millis_since(*unlabelled)),
        ),
    ]
}

fn absence_checked(run: &Run<'_>) -> Vec<Check> {
    let Ok(absence) = &run.absence else {
        return Vec::new();
    };
    let changed = absence.changed_labels(run.history);
    let (served, failed) = absence.writes(run.history);
    vec![
        check(
            "the API server was away: no label changed",
            changed == 0,
            format!(
                "{changed} changed in {} ms; a label taken off afterwards was put back after {} ms",
                absence.back.millis_since(absence.stopped),
                absence.repaired.millis_since(absence.unlabelled)
            ),
        ),
        check(
            "and the write Service went on",
            served > 0 && failed * SERVED_PER_FAILURE_MIN <= served,
            format!("{served} new connections served, {failed} not"),
        ),
    ]
}

fn always_checked(run: &Run<'_>, acknowledged: usize, lost: &[Loss]) -> Vec<Check> {
    let routing = count(lost, Cause::Routing);
    let primaries = timeline::most_primaries(run.history);
    let endpoints = timeline::most_write_endpoints(run.history);
    vec![
        check(
            "never two pods labelled primary",
            primaries <= 1,
            format!("at most {primaries} at once, of all that the watch saw"),
        ),
        check(
            "never two addresses in the write Service's EndpointSlices",
            endpoints <= 1,
            format!("at most {endpoints} at once"),
        ),
        check(
            "acknowledged writes lost by routing",
            routing == 0 && acknowledged > 0,
            format!("{routing} of {acknowledged}"),
        ),
        check(
            "everything was recorded",
            run.complete,
            format!("{} entries", run.history.len()),
        ),
    ]
}

fn figures(run: &Run<'_>, acknowledged: usize, lost: &[Loss]) -> Vec<String> {
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
    told.push(format!("acknowledged writes: {acknowledged}; of these lost"));
    let span = span_of_failover(run, lost);
    let causes = [
        (
            Cause::Failover,
            "with the killed primary, which had not sent them yet: asynchronous replication",
        ),
        (
            Cause::Promotion,
            "with the beaten primary, which ran on while the standby was being promoted and received nothing any more",
        ),
        (Cause::Exposure, "with the beaten primary, before kube-proxy followed"),
        (
            Cause::OpenSession,
            "with the beaten primary, over a session opened before",
        ),
        (Cause::Routing, "by routing"),
    ];
    for (cause, what) in causes {
        let span = if cause == Cause::Failover { span.as_str() } else { "" };
        told.push(format!("{:>8}      {what}{span}", count(lost, cause)));
    }
    told.push(format!(
        "exposure, from the promotion to the beaten primary's last acknowledged write: {} ms",
        run.switchover.exposure_millis()
    ));
    for kind in [Kind::Write, Kind::Read] {
        told.push(format!(
            "failed attempts to {}:",
            if kind == Kind::Write { "write" } else { "read" }
        ));
        told.extend(most_frequent(timeline::failures(run.history, kind)));
    }
    told.extend(run.absence.as_ref().err().map(Skipped::to_string));
    told
}

/// When the writes that the killed primary took along had been acknowledged, seen from the kill.
fn span_of_failover(run: &Run<'_>, lost: &[Loss]) -> String {
    let gone = lost.iter().filter(|loss| loss.cause == Cause::Failover);
    let millis: Vec<i64> = gone.map(|loss| loss.at.millis_since(run.failover.cut.began)).collect();
    match (millis.iter().min(), millis.iter().max()) {
        (Some(from), Some(to)) => format!(" (acknowledged {from} to {to} ms after the kill)"),
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

fn count(lost: &[Loss], cause: Cause) -> usize {
    lost.iter().filter(|loss| loss.cause == cause).count()
}

fn complete(what: &str, switch: &Switch) -> Check {
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
    check(what, missing.is_empty(), seen)
}

fn check(what: &str, held: bool, seen: String) -> Check {
    Check {
        what: what.to_owned(),
        held,
        seen,
    }
}
