//! What each pod is worth now, from what has been seen of it. I3 and I6 of docs/invariants.md are kept here.

use std::time::Duration;

use probe::{Evidence, Report, Standing};

use super::observed::{Container, Lifecycle, Observed, PodView, Policy};
use crate::clock::Tick;

/// A server cannot have started before its container. Both clocks are the node's, but the kubelet cuts to whole seconds.
const START_SLACK_MICROS: i64 = 2_000_000;

/// A standby that has received something this recently proves that its primary lives.
const RECEIVER_RECENT: Duration = Duration::from_secs(1);

/// Whether the server says that it takes writes.
pub(crate) fn takes_writes(report: &Report) -> bool {
    report.standing == Standing::Writable
}

/// What one pod is worth now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assessment<'a> {
    /// The evidence that decides.
    pub(crate) evidence: Evidence,
    /// What its server says of itself, when the evidence is `Writable` or `InRecovery`.
    pub(crate) report: Option<&'a Report>,
    /// Whether it may still take writes, for all we know.
    pub(crate) may_write: bool,
    /// Since when it has given no answer that keeps a role; only for `Silent` and `Unclear`.
    pub(crate) silent_since: Option<Tick>,
    /// In words.
    pub(crate) detail: &'a str,
    /// When this assessment expires by itself.
    pub(crate) expires: Option<Tick>,
}

impl<'a> Assessment<'a> {
    fn bare(evidence: Evidence, detail: &'a str) -> Self {
        Self { evidence, report: None, may_write: false, silent_since: None, detail, expires: None }
    }
}

/// Assesses one pod.
pub(crate) fn assess<'a>(observed: &Observed, pod: &'a PodView, policy: &Policy) -> Assessment<'a> {
    if pod.lifecycle == Lifecycle::Ended {
        return Assessment::bare(Evidence::Down, "the pod has ended");
    }
    if pod.container == Container::Stopped {
        return Assessment::bare(Evidence::Down, "the container does not run");
    }
    let silent_since = pod.sightings.alive.unwrap_or(observed.reign.began).max(observed.reign.began);
    let wrote_last = pod.sightings.answer.as_ref().is_some_and(|(_, report)| takes_writes(report));
    let silent = |evidence, detail| Assessment {
        evidence,
        report: None,
        may_write: wrote_last,
        silent_since: Some(silent_since),
        detail,
        expires: Some(silent_since + policy.silent_after),
    };
    let Some(sighting) = pod.sightings.deciding().filter(|sighting| Some(sighting.ip) == pod.ip) else {
        return silent(Evidence::Silent, "not asked yet at its present address");
    };
    if observed.at.since(sighting.at) > policy.sighting_limit() {
        return silent(Evidence::Silent, "the last sighting is too old");
    }
    let fresh_until = Some(sighting.at + policy.sighting_limit());
    match sighting.evidence {
        Evidence::Writable | Evidence::InRecovery => match &sighting.report {
            Some(report) if started_with(pod.container, report) => Assessment {
                evidence: sighting.evidence,
                report: Some(report),
                may_write: takes_writes(report),
                silent_since: None,
                detail: "",
                expires: fresh_until,
            },
            Some(_) => silent(Evidence::Unclear, "the server that answered is older than the pod's container"),
            None => silent(Evidence::Unclear, "an answer without content"),
        },
        Evidence::Down | Evidence::Starting => {
            Assessment { expires: fresh_until, ..Assessment::bare(sighting.evidence, &sighting.detail) }
        }
        Evidence::Barred => Assessment {
            may_write: wrote_last,
            expires: fresh_until,
            ..Assessment::bare(Evidence::Barred, &sighting.detail)
        },
        Evidence::Silent | Evidence::Unclear => silent(sighting.evidence, &sighting.detail),
    }
}

/// Whether the server that answered can be the one of this container.
fn started_with(container: Container, report: &Report) -> bool {
    match container {
        Container::Running { since_micros } => report.postmaster_started.0 >= since_micros - START_SLACK_MICROS,
        Container::Unknown => true,
        Container::Stopped => false,
    }
}

/// Whether, and until when, the controller itself may be the one who cannot see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sight {
    /// No pod replies, or none has replied yet: labels are held.
    pub(crate) blind: bool,
    /// Whether silence may withdraw a role.
    pub(crate) silence_counts: bool,
}

/// Two pods on two nodes: fewer cannot tell a dead server from a cut wire.
const NODES_TO_TRUST_SILENCE: usize = 2;

/// Looks at the route's pods together.
pub(crate) fn sight(observed: &Observed, policy: &Policy) -> Sight {
    let proven = observed.reign.nodes_replied >= NODES_TO_TRUST_SILENCE;
    let replies = |pod: &PodView| {
        pod.sightings.replied.is_some_and(|at| {
            at >= observed.reign.began && observed.at.since(at) < policy.silent_after
        })
    };
    let asked = observed.pods.values().any(|pod| pod.lifecycle != Lifecycle::Ended && pod.ip.is_some());
    let replying = observed.pods.values().any(replies);
    Sight { blind: asked && !replying, silence_counts: proven && replying }
}

/// Whether a silent pod is known, by what a standby receives, to be alive all the same: then it is we who cannot see it.
pub(crate) fn alive_by_its_standby(observed: &Observed, silent: &PodView) -> bool {
    observed.pods.values().any(|standby| {
        standby.sightings.advance.is_some_and(|advance| {
            observed.at.since(advance.to) <= RECEIVER_RECENT
                && silent.sightings.replied.is_none_or(|replied| advance.from > replied)
        })
    })
}
