//! Which server is to be primary.

use std::collections::{BTreeMap, BTreeSet};

use probe::{Evidence, Report};
use shared::{
    ledger::Mark,
    route::SplitBrainPolicy,
    wal::{Lsn, Timeline},
};

use super::{
    eligible::{self, Ineligible},
    evidence::{Assessment, takes_writes},
    mark,
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
    /// None: this one would be it, but gives no answer now. Its silence is nobody's gain.
    Unproven(&'a PodKey),
    /// None yet: the reign is young, and this pod, which might be another, has not been heard.
    Early(&'a PodKey),
    /// None: several on one new timeline, or one that would lose the role to the next at once, and only a person can tell.
    Tie(Vec<&'a PodKey>),
    /// None anew: several are eligible, and the route's policy is to leave that to a person.
    Frozen(Vec<&'a PodKey>),
    /// None at all: several take writes, and the route's policy is to have no primary until one is left.
    Dropped(Vec<&'a PodKey>),
    /// There is no mark, and it is not clear.
    NoMark(String),
}

impl<'a> Choice<'a> {
    /// The chosen server, if there is one.
    pub(crate) fn chosen(&self) -> Option<&'a PodKey> {
        match self {
            Self::One(pod) => Some(pod),
            Self::Nobody
            | Self::Unproven(_)
            | Self::Early(_)
            | Self::Tie(_)
            | Self::Frozen(_)
            | Self::Dropped(_)
            | Self::NoMark(_) => None,
        }
    }

    /// Whether it ends the claim of every other primary, whatever is known of that one.
    pub(crate) fn ends_claims(&self) -> bool {
        match self {
            Self::One(_) | Self::Tie(_) | Self::Dropped(_) => true,
            Self::Nobody | Self::Unproven(_) | Self::Early(_) | Self::Frozen(_) | Self::NoMark(_) => false,
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
    let measured = match mark {
        Some(mark) => against_mark(observed, mark, assessments, policy),
        None => Chosen {
            choice: first(observed, assessments),
            refused: BTreeMap::new(),
        },
    };
    let writers: Vec<&PodKey> = claims(observed, assessments).map(|(key, _, _)| key).collect();
    if policy.split_brain == SplitBrainPolicy::DropAll
        && writers.len() > 1
        && writable(observed, assessments).next().is_some()
    {
        return Chosen {
            choice: Choice::Dropped(writers),
            ..measured
        };
    }
    measured
}

/// Every server that takes writes, or took writes when it was last heard, and is not excluded; with whether it does so now.
fn claims<'a>(
    observed: &'a Observed,
    assessments: &Assessments<'a>,
) -> impl Iterator<Item = (&'a PodKey, &'a Report, bool)> {
    assessments
        .iter()
        .filter(|(key, _)| observed.pods.get(**key).is_some_and(|pod| !pod.excluded))
        .filter_map(|(key, assessment)| Some((*key, assessment.claim()?, assessment.report.is_some())))
}

/// The servers that take writes and are not excluded.
pub(crate) fn writable<'a>(
    observed: &'a Observed,
    assessments: &Assessments<'a>,
) -> impl Iterator<Item = (&'a PodKey, &'a Report)> {
    claims(observed, assessments)
        .filter(|(_, _, now)| *now)
        .map(|(key, report, _)| (key, report))
}

/// How far the mark's own server has come, as far as is known: the mark is up to a minute old.
fn reached(observed: &Observed, mark: &Mark, assessments: &Assessments<'_>) -> Lsn {
    assessments
        .iter()
        .filter(|(key, _)| observed.pods.get(**key).is_some_and(|pod| pod.data == mark.data))
        .filter_map(|(_, assessment)| assessment.claim())
        .filter(|report| report.system_identifier == mark.system_identifier && report.timeline == mark.timeline)
        .map(|report| report.lsn)
        .fold(mark.lsn, Lsn::max)
}

/// Chooses by the mark.
pub(crate) fn against_mark<'a>(
    observed: &'a Observed,
    mark: &Mark,
    assessments: &Assessments<'a>,
    policy: &Policy,
) -> Chosen<'a> {
    let reached = reached(observed, mark, assessments);
    let mut refused = BTreeMap::new();
    let mut eligible: Vec<(Timeline, &PodKey, bool)> = Vec::new();
    for (key, report, now) in claims(observed, assessments) {
        let Some(pod) = observed.pods.get(key) else { continue };
        match eligible::primary(report, &pod.data, mark, reached, policy.max_behind) {
            Ok(()) => eligible.push((report.timeline, key, now)),
            Err(why) if now => {
                refused.insert(key, why);
            }
            Err(_) => {}
        }
    }
    let highest = highest(&eligible);
    let heirs = highest
        .chosen()
        .map_or_else(Vec::new, |key| heirs(observed, key, assessments, policy));
    let choice = if policy.split_brain == SplitBrainPolicy::Freeze && eligible.len() + heirs.len() > 1 {
        let eligible = eligible.iter().map(|(_, key, _)| *key);
        Choice::Frozen(eligible.chain(heirs).collect())
    } else if heirs.is_empty() {
        highest
    } else {
        Choice::Tie(highest.chosen().into_iter().chain(heirs).collect())
    };
    // The one that is chosen is the highest.
    let above = eligible.iter().any(|(timeline, _, _)| *timeline > mark.timeline);
    let choice = match (choice, unheard(observed, assessments, policy)) {
        (Choice::One(_), Some(unheard)) if above => Choice::Early(unheard),
        (choice, _) => choice,
    };
    Chosen { choice, refused }
}

/// Who would be chosen after `key`, nothing else having changed. A promoted server may lack some of what the mark's own had, and so
/// may another on a yet higher timeline, which is too far behind the mark, but not too far behind `key`. The mark is not handed on so, a
/// little less each time: `maxBehind` is how much a route may lose without a person's word.
fn heirs<'a>(observed: &'a Observed, key: &PodKey, assessments: &Assessments<'a>, policy: &Policy) -> Vec<&'a PodKey> {
    let report = assessments.get(key).and_then(|assessment| assessment.report);
    let Some((pod, report)) = observed.pods.get(key).zip(report) else {
        return Vec::new();
    };
    let next = mark::of(key, pod, report);
    let reached = reached(observed, &next, assessments);
    claims(observed, assessments)
        .filter(|(_, report, _)| report.timeline > next.timeline)
        .filter(|(key, report, _)| {
            let data = observed.pods.get(*key).map(|pod| &pod.data);
            data.is_some_and(|data| eligible::primary(report, data, &next, reached, policy.max_behind).is_ok())
        })
        .map(|(key, _, _)| key)
        .collect()
}

/// A pod of which nothing is known, in a reign so young that it may be about to answer. Whoever answers first does not win by
/// that: the mark moves only when all have been heard, or have had their time.
fn unheard<'a>(observed: &'a Observed, assessments: &Assessments<'a>, policy: &Policy) -> Option<&'a PodKey> {
    if observed.at >= observed.reign.began + policy.silent_after {
        return None;
    }
    let mut pods = observed
        .pods
        .iter()
        .filter(|(_, pod)| !pod.excluded && pod.ip.is_some());
    let unheard = |key: &PodKey| assessments.get(key).is_some_and(|assessment| assessment.is_unheard);
    pods.find(|(key, _)| unheard(key)).map(|(key, _)| key)
}

/// The one on the highest timeline. Positions are not compared: they say nothing across two histories.
fn highest<'a>(eligible: &[(Timeline, &'a PodKey, bool)]) -> Choice<'a> {
    let highest = eligible.iter().map(|(timeline, _, _)| *timeline).max();
    let best: Vec<_> = eligible
        .iter()
        .filter(|(timeline, _, _)| Some(*timeline) == highest)
        .collect();
    match best.as_slice() {
        [(_, only, true)] => Choice::One(only),
        several if several.iter().any(|(_, _, now)| *now) => {
            Choice::Tie(several.iter().map(|(_, key, _)| *key).collect())
        }
        [(_, silent, _), ..] => Choice::Unproven(silent),
        [] => Choice::Nobody,
    }
}

/// The first choice of a route: every selected pod has to have answered, all be one cluster, and one take writes.
fn first<'a>(observed: &'a Observed, assessments: &Assessments<'a>) -> Choice<'a> {
    let mut systems = BTreeSet::new();
    let mut writers = Vec::new();
    let mut newest: Option<(Timeline, &PodKey)> = None;
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
        newest = newest.max(Some((report.timeline, key)));
        if takes_writes(report) {
            writers.push((key, report.timeline));
        }
    }
    match (systems.len(), writers.as_slice(), newest) {
        (_, [], _) => Choice::Nobody,
        (1, [(only, timeline)], Some((newest, standby))) if newest > *timeline => Choice::NoMark(format!(
            "{} takes writes on timeline {timeline}, but {} has seen timeline {newest}",
            only.name, standby.name
        )),
        (1, [(only, _)], _) => Choice::One(only),
        (1, several, _) => Choice::NoMark(format!("{} servers take writes", several.len())),
        (clusters, _, _) => Choice::NoMark(format!("the pods belong to {clusters} different PostgreSQL clusters")),
    }
}
