//! Which server is to be primary.

use std::collections::{BTreeMap, BTreeSet};

use probe::{Evidence, Report};
use shared::{
    ledger::Mark,
    wal::{Lsn, Timeline},
};

use super::{
    eligible::{self, Ineligible},
    evidence::{Assessment, takes_writes},
    observed::{Lifecycle, Observed, PodKey, Policy},
};

/// What each pod is worth, by pod.
pub(crate) type Assessments<'a> = BTreeMap<&'a PodKey, Assessment<'a>>;

/// Which server is to be primary.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Choice<'a> {
    /// This one.
    One(&'a PodKey),
    /// None: nothing that takes writes is eligible.
    Nobody,
    /// Several on one new timeline: only a person can tell.
    Tie(Vec<&'a PodKey>),
    /// There is no mark, and it is not clear.
    NoMark(String),
}

impl<'a> Choice<'a> {
    /// The chosen server, if there is one.
    pub(crate) fn chosen(&self) -> Option<&'a PodKey> {
        match self {
            Self::One(pod) => Some(pod),
            Self::Nobody | Self::Tie(_) | Self::NoMark(_) => None,
        }
    }
}

/// The choice, and why each of the others that take writes may not be it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chosen<'a> {
    /// The choice.
    pub(crate) choice: Choice<'a>,
    /// Why a server that takes writes is not eligible.
    pub(crate) refused: BTreeMap<&'a PodKey, Ineligible>,
}

/// Chooses.
pub(crate) fn choose<'a>(
    observed: &'a Observed,
    mark: Option<&Mark>,
    assessments: &Assessments<'a>,
    policy: &Policy,
) -> Chosen<'a> {
    match mark {
        Some(mark) => against_mark(observed, mark, assessments, policy),
        None => Chosen { choice: first(observed, assessments), refused: BTreeMap::new() },
    }
}

/// The servers that take writes and are not excluded.
pub(crate) fn writable<'a>(
    observed: &'a Observed,
    assessments: &Assessments<'a>,
) -> impl Iterator<Item = (&'a PodKey, &'a Report)> {
    assessments
        .iter()
        .filter(|(key, _)| observed.pods.get(**key).is_some_and(|pod| !pod.excluded))
        .filter_map(|(key, assessment)| Some((*key, assessment.report.filter(|report| takes_writes(report))?)))
        .collect::<Vec<_>>()
        .into_iter()
}

fn against_mark<'a>(
    observed: &'a Observed,
    mark: &Mark,
    assessments: &Assessments<'a>,
    policy: &Policy,
) -> Chosen<'a> {
    let data = |key: &PodKey| observed.pods.get(key).map(|pod| &pod.data);
    let holder_at: Option<Lsn> = writable(observed, assessments)
        .find(|(key, report)| {
            data(key) == Some(&mark.data)
                && report.timeline == mark.timeline
                && report.system_identifier == mark.system_identifier
        })
        .map(|(_, report)| report.lsn);
    let mut refused = BTreeMap::new();
    let mut eligible: Vec<(Timeline, &PodKey)> = Vec::new();
    for (key, report) in writable(observed, assessments) {
        let Some(pod) = observed.pods.get(key) else { continue };
        match eligible::primary(report, &pod.data, mark, holder_at, policy.max_behind) {
            Ok(()) => eligible.push((report.timeline, key)),
            Err(why) => {
                refused.insert(key, why);
            }
        }
    }
    let highest = eligible.iter().map(|(timeline, _)| *timeline).max();
    let mut best: Vec<&PodKey> =
        eligible.into_iter().filter(|(timeline, _)| Some(*timeline) == highest).map(|(_, key)| key).collect();
    let choice = match (best.pop(), best.is_empty()) {
        (None, _) => Choice::Nobody,
        (Some(only), true) => Choice::One(only),
        (Some(last), false) => {
            best.push(last);
            Choice::Tie(best)
        }
    };
    Chosen { choice, refused }
}

/// The first choice of a route: every selected pod has to have answered, all be one cluster, and one take writes.
fn first<'a>(observed: &'a Observed, assessments: &Assessments<'a>) -> Choice<'a> {
    let mut systems = BTreeSet::new();
    let mut writers = Vec::new();
    for (key, pod) in &observed.pods {
        if pod.excluded || pod.lifecycle == Lifecycle::Ended {
            continue;
        }
        let report = assessments
            .get(key)
            .filter(|assessment| matches!(assessment.evidence, Evidence::Writable | Evidence::InRecovery))
            .and_then(|assessment| assessment.report);
        let Some(report) = report else {
            return Choice::NoMark(format!("{} has not answered yet", key.name));
        };
        systems.insert(report.system_identifier);
        if takes_writes(report) {
            writers.push(key);
        }
    }
    match (systems.len(), writers.as_slice()) {
        (_, []) => Choice::Nobody,
        (1, [only]) => Choice::One(only),
        (1, several) => Choice::NoMark(format!("{} servers take writes", several.len())),
        (clusters, _) => Choice::NoMark(format!("the pods belong to {clusters} different PostgreSQL clusters")),
    }
}
