//! What became of a scenario: for the terminal, for the exit status, and for a run that goes on later.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster;
use crate::history::{Event, Happening};
use crate::host_time::HostTime;
use crate::judge::Judged;
use crate::oracle::{Finding, Verdict};
use crate::report;
use crate::workload::{Kind, SessionKind};

/// What became of one scenario, with all its rounds.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The scenario.
    pub name: String,
    /// The judge's general rules, a verdict a recording.
    pub verdicts: Vec<Verdict>,
    /// The scenario's own expectations, a list a round.
    pub rounds: Vec<Vec<Finding>>,
    /// What kept it from its end.
    pub failure: Option<String>,
    /// What became of late requests, where a scenario is about them.
    pub late: Option<Late>,
    /// The longest time without an answer on new connections to the write name.
    pub writes_out: Duration,
    /// The same of the read name.
    pub reads_out: Duration,
    /// From the reset to the verdict.
    pub took: Duration,
    /// The reports, to look at.
    pub reports: Vec<PathBuf>,
}

/// What became of the requests of leaders that had been frozen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Late {
    /// Rounds that were played.
    pub rounds: usize,
    /// Rounds in which such a request came to the API server.
    pub came: usize,
    /// How many were answered with which status.
    pub answers: BTreeMap<u16, usize>,
}

/// A host on which fewer than nine rounds of ten show what they are about has not shown it.
const SHOWN_TENTHS: usize = 9;
/// So many rounds before that is asked: one alone may miss its moment.
const ROUNDS_ASKED: usize = 10;

impl Late {
    /// One more round, with the statuses of its late requests.
    pub(super) fn add(&mut self, answers: &[u16]) {
        self.rounds += 1;
        self.came += usize::from(!answers.is_empty());
        for code in answers {
            *self.answers.entry(*code).or_default() += 1;
        }
    }

    /// Whether enough rounds have shown something.
    fn is_shown(&self) -> bool {
        self.rounds < ROUNDS_ASKED || self.came * 10 >= self.rounds * SHOWN_TENTHS
    }

    fn line(&self) -> String {
        let answers = self
            .answers
            .iter()
            .map(|(code, count)| format!("{count} answered {code}"));
        let answers: Vec<String> = answers.collect();
        format!(
            "late requests came in {} of {} rounds: {}",
            self.came,
            self.rounds,
            if answers.is_empty() {
                "none".to_owned()
            } else {
                answers.join(", ")
            }
        )
    }
}

/// What is kept of an outcome, so that a run that was ended goes on where it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// The scenario.
    pub name: String,
    /// Whether everything held.
    pub passed: bool,
    /// How long it took.
    pub millis: u64,
}

impl Outcome {
    /// Of a scenario that has not been played yet.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            verdicts: Vec::new(),
            rounds: Vec::new(),
            failure: None,
            late: None,
            writes_out: Duration::ZERO,
            reads_out: Duration::ZERO,
            took: Duration::ZERO,
            reports: Vec::new(),
        }
    }

    /// One more recording, with what the scenario expected of its rounds; writes its report.
    pub(super) fn add(&mut self, judged: &Judged, own: Vec<Vec<Finding>>) -> Result<(), cluster::Error> {
        let (history, general) = (&judged.history, &judged.verdict);
        let all = Verdict {
            findings: general.findings.iter().chain(own.iter().flatten()).cloned().collect(),
            ..general.clone()
        };
        let report = judged.file.with_extension("html");
        report::write(history, &all, &report).map_err(cluster::Error::io("write", &report))?;
        self.writes_out = self.writes_out.max(longest_gap(&history.events, Kind::Write));
        self.reads_out = self.reads_out.max(longest_gap(&history.events, Kind::Read));
        self.rounds.extend(own);
        self.verdicts.push(general.clone());
        self.reports.push(report);
        Ok(())
    }

    /// Whether everything held.
    pub fn passed(&self) -> bool {
        let rounds = self.rounds.iter().flatten();
        self.failure.is_none()
            && self.late.as_ref().is_none_or(Late::is_shown)
            && self.verdicts.iter().all(Verdict::passed)
            && rounds.clone().all(|finding| finding.breaches.is_empty())
    }

    /// What is kept of it.
    pub fn kept(&self) -> Kept {
        Kept {
            name: self.name.clone(),
            passed: self.passed(),
            millis: u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// As a person reads it: one line, and what did not hold below it.
    pub fn lines(&self) -> Vec<String> {
        let word = if self.passed() { "ok  " } else { "FAIL" };
        let mut lines = vec![format!(
            "{word}  {:31} writes out {:>6}   reads out {:>6}   took {:>5.1} s",
            self.name,
            told(self.writes_out),
            told(self.reads_out),
            self.took.as_secs_f64()
        )];
        lines.extend(self.late.iter().map(|late| format!("      {}", late.line())));
        lines.extend(self.failure.iter().map(|failure| format!("      {failure}")));
        let general = self.verdicts.iter().flat_map(Verdict::broken);
        let own = self
            .rounds
            .iter()
            .flatten()
            .filter(|finding| !finding.breaches.is_empty());
        for finding in general.chain(own) {
            lines.push(format!(
                "      broken: {}: {} ({})",
                finding.rule, finding.text, finding.seen
            ));
            let breaches = finding.breaches.iter().take(BREACHES_TOLD);
            lines.extend(breaches.map(|breach| format!("        {}", breach.seen)));
        }
        lines.extend(self.reports.iter().map(|report| format!("      {}", report.display())));
        lines
    }
}

/// More breaches of one rule than these are in the report.
const BREACHES_TOLD: usize = 5;

fn told(outage: Duration) -> String {
    if outage < Duration::from_secs(10) {
        format!("{} ms", outage.as_millis())
    } else {
        format!("{:.1} s", outage.as_secs_f64())
    }
}

/// The longest time between two answers on new connections of one kind; the first and the last attempt count as answers.
fn longest_gap(events: &[Event], wanted: Kind) -> Duration {
    let attempts = events.iter().filter_map(|event| match &event.what {
        Happening::Client { kind, line, .. } if *kind == wanted && line.session == SessionKind::Fresh => Some(line),
        _ => None,
    });
    let attempts: Vec<_> = attempts.collect();
    let ends = [attempts.first(), attempts.last()].into_iter().flatten();
    let answers = attempts.iter().filter(|line| line.outcome.by().is_some());
    let mut moments: Vec<HostTime> = ends.chain(answers).map(|line| line.at).collect();
    moments.sort_unstable();
    let gaps = moments.windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].0));
    Duration::from_nanos(gaps.max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_many_rounds_that_shows_too_little_does_not_pass() {
        let mut outcome = Outcome::new("leader-frozen");
        let mut late = Late::default();
        for _ in 0..ROUNDS_ASKED - 1 {
            late.add(&[]);
        }
        outcome.late = Some(late.clone());
        assert!(outcome.passed(), "a few rounds may miss their moment");
        late.add(&[409]);
        outcome.late = Some(late);
        assert!(!outcome.passed());
        assert!(
            outcome
                .lines()
                .iter()
                .any(|line| line.contains("1 of 10 rounds: 1 answered 409"))
        );
    }

    #[test]
    fn what_kept_a_scenario_from_its_end_fails_it() {
        let mut outcome = Outcome::new("x");
        assert!(outcome.passed());
        outcome.failure = Some("it did not come about".to_owned());
        assert!(!outcome.passed() && !outcome.kept().passed);
    }
}
