//! When new connections through a name were not served: what clients feel.

use std::time::Duration;

use super::Facts;
use crate::history::ServiceOf;
use crate::host_time::HostTime;
use crate::workload::{Kind, Outcome, SessionKind};

/// A time without service through one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Which name.
    pub service: ServiceOf,
    /// The last answer before it.
    pub from: HostTime,
    /// The first answer after it; nothing when none came.
    pub to: Option<HostTime>,
    /// Attempts that failed meanwhile.
    pub failed: usize,
    /// What the first of them was told.
    pub first_error: String,
}

/// Answers come every 20 ms; two that are closer than this have no outage between them.
const OUTAGE_MIN: Duration = Duration::from_millis(150);

/// Every outage, by its beginning. Only new connections tell: a held session may live on while the name leads nowhere.
pub(super) fn outages(facts: &Facts<'_>) -> Vec<Outage> {
    let mut outages = of(facts, Kind::Write, ServiceOf::Writes);
    outages.extend(of(facts, Kind::Read, ServiceOf::Reads));
    outages.sort_by_key(|outage| outage.from);
    outages
}

/// The times between two answers in which an attempt was begun that failed. A single attempt that a busy host lost is none: others were
/// answered meanwhile.
fn of(facts: &Facts<'_>, kind: Kind, service: ServiceOf) -> Vec<Outage> {
    let fresh = || facts.lines(kind).filter(|line| line.session == SessionKind::Fresh);
    let answers = fresh().filter(|line| line.outcome.by().is_some()).map(|line| line.at);
    let mut bounds: Vec<HostTime> = std::iter::once(facts.history.header.began).chain(answers).collect();
    bounds.sort_unstable();
    let mut failed: Vec<(HostTime, &str)> = fresh()
        .filter_map(|line| match &line.outcome {
            Outcome::Failed { error } => Some((line.began, error.as_str())),
            Outcome::Written { .. } | Outcome::Read { .. } => None,
        })
        .collect();
    failed.sort_unstable();
    let ends = bounds.iter().skip(1).map(|at| Some(*at)).chain([None]);
    let outages = bounds.iter().zip(ends).filter_map(|(from, to)| {
        let first = failed.partition_point(|(began, _)| began < from);
        let after = to.map_or(failed.len(), |to| failed.partition_point(|(began, _)| *began < to));
        let (_, error) = failed.get(first..after)?.first()?;
        let length = to.unwrap_or(facts.end).since(*from);
        (length >= OUTAGE_MIN).then(|| Outage {
            service,
            from: *from,
            to,
            failed: after - first,
            first_error: (*error).to_owned(),
        })
    });
    outages.collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Story, ms};
    use super::*;

    #[test]
    fn an_outage_lasts_from_answer_to_answer_and_a_lost_attempt_is_none() {
        let mut story = Story::sound();
        // One attempt of many is lost: it hung for a second while others were answered.
        story.failed(30_050, Kind::Read);
        story.failed(10_200, Kind::Write);
        let history = story.history();
        let outages = outages(&Facts::of(&history));
        let expected = Outage {
            service: ServiceOf::Writes,
            from: ms(9900),
            to: Some(ms(10_600)),
            failed: 2,
            first_error: "refused".to_owned(),
        };
        assert_eq!(outages, [expected]);
    }
}
