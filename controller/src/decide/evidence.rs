//! What each pod is worth now, from what has been seen of it. I3 and I6 of docs/invariants.md are kept here.

use std::time::Duration;

use probe::{Evidence, Report, Standing};
use shared::{
    ledger::Mark,
    planted::{Bug, is_planted},
};

use super::{
    choose::Assessments,
    observed::{Container, Lifecycle, Observed, PodView, Policy},
};
use crate::{clock::Tick, sighting::Sighting};

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
    /// What its server said last, when it gives no answer now and said then that it takes writes. Silence does not end a
    /// claim (I6): nobody profits from it.
    pub(crate) wrote: Option<&'a Report>,
    /// Whether it may still take writes, for all we know.
    pub(crate) may_write: bool,
    /// Whether it gives no answer now, and has given none so far.
    pub(crate) is_unheard: bool,
    /// Since when it has given no answer that keeps a role; only for `Silent` and `Unclear`.
    pub(crate) silent_since: Option<Tick>,
    /// In words.
    pub(crate) detail: &'a str,
    /// When this assessment expires by itself.
    pub(crate) expires: Option<Tick>,
}

impl<'a> Assessment<'a> {
    fn bare(evidence: Evidence, detail: &'a str) -> Self {
        Self {
            evidence,
            report: None,
            wrote: None,
            may_write: false,
            is_unheard: false,
            silent_since: None,
            detail,
            expires: None,
        }
    }

    fn answered(report: &'a Report, expires: Tick) -> Self {
        let evidence = match report.standing {
            Standing::Writable => Evidence::Writable,
            Standing::InRecovery => Evidence::InRecovery,
        };
        Self {
            report: Some(report),
            may_write: takes_writes(report),
            expires: Some(expires),
            ..Self::bare(evidence, "")
        }
    }

    /// What it says of its writing, now or before it fell silent.
    pub(crate) fn claim(&self) -> Option<&'a Report> {
        let wrote = self.wrote.filter(|_| !is_planted(Bug::SilenceGrants));
        self.report.filter(|report| takes_writes(report)).or(wrote)
    }
}

/// Assesses one pod.
pub(crate) fn assess<'a>(observed: &Observed, pod: &'a PodView, policy: &Policy) -> Assessment<'a> {
    if pod.lifecycle == Lifecycle::Ended {
        return Assessment::bare(Evidence::Down, "the pod has ended");
    }
    let answers = by_answers(observed, pod, policy);
    if let Container::Stopped { .. } = pod.container {
        return stopped(&answers);
    }
    answers
}

/// The kubelet says that the container does not run: it keeps no role and gets none, whatever answers. But the kubelet's word may be old,
/// and a server that began after the stop runs in the next container: what it says of its writing counts against others (I6).
fn stopped<'a>(answers: &Assessment<'a>) -> Assessment<'a> {
    let wrote = answers.claim();
    Assessment {
        wrote,
        may_write: wrote.is_some(),
        expires: answers.expires,
        ..Assessment::bare(Evidence::Down, "the container does not run")
    }
}

/// What a pod is worth by what it was seen to say.
fn by_answers<'a>(observed: &Observed, pod: &'a PodView, policy: &Policy) -> Assessment<'a> {
    let alive = alive_at(observed, pod);
    let Some(sighting) = pod.sightings.deciding().filter(|sighting| Some(sighting.ip) == pod.ip) else {
        return unheard(
            pod,
            policy,
            alive,
            Evidence::Silent,
            "not asked yet at its present address",
        );
    };
    let expires = sighting.at + policy.sighting_limit();
    if observed.at >= expires && !is_planted(Bug::StaleSighting) {
        return unheard(pod, policy, alive, Evidence::Silent, "the last sighting is too old");
    }
    match sighting.evidence {
        Evidence::Writable | Evidence::InRecovery => match &sighting.report {
            Some(report) if started_with(pod.container, report) => Assessment::answered(report, expires),
            Some(_) => unheard(
                pod,
                policy,
                alive,
                Evidence::Unclear,
                "the server that answered is older than the pod's container",
            ),
            None => unheard(pod, policy, alive, Evidence::Unclear, "an answer without content"),
        },
        Evidence::Down | Evidence::Starting => Assessment {
            expires: Some(expires),
            ..Assessment::bare(sighting.evidence, &sighting.detail)
        },
        Evidence::Barred => barred(pod, policy, alive, sighting, expires),
        Evidence::Silent | Evidence::Unclear => unheard(pod, policy, alive, sighting.evidence, &sighting.detail),
    }
}

/// When the server was last seen alive in this reign. Another server's answers keep nothing alive, however often they come.
fn alive_at(observed: &Observed, pod: &PodView) -> Tick {
    let its_own = pod
        .sightings
        .answer
        .as_ref()
        .is_none_or(|(_, report)| started_with(pod.container, report));
    let alive = pod.sightings.alive.filter(|_| its_own);
    alive.map_or(observed.reign.began, |alive| alive.max(observed.reign.began))
}

/// A server that bars us is alive; beyond that we know as little as of a silent one.
fn barred<'a>(pod: &'a PodView, policy: &Policy, alive: Tick, sighting: &'a Sighting, expires: Tick) -> Assessment<'a> {
    let unheard = unheard(pod, policy, alive, Evidence::Barred, &sighting.detail);
    Assessment {
        silent_since: None,
        expires: Some(expires),
        ..unheard
    }
}

/// A pod without a usable answer: what it said last is all that is known.
fn unheard<'a>(pod: &'a PodView, policy: &Policy, since: Tick, evidence: Evidence, detail: &'a str) -> Assessment<'a> {
    let last = pod
        .sightings
        .answer
        .as_ref()
        .map(|(_, report)| report)
        .filter(|report| started_with(pod.container, report));
    Assessment {
        wrote: last.filter(|report| takes_writes(report)),
        may_write: pod.ip.is_some() && last.is_none_or(takes_writes),
        is_unheard: last.is_none(),
        silent_since: Some(since),
        expires: Some(since + policy.silent_after),
        ..Assessment::bare(evidence, detail)
    }
}

/// Since when fresh connections to a pod's present address have been refused, if the newest one was, and until when that counts.
pub(crate) fn refused_since(observed: &Observed, pod: &PodView, policy: &Policy) -> Option<(Tick, Tick)> {
    let fresh = pod.sightings.fresh.as_ref()?;
    let counts_until = fresh.at + policy.sighting_limit();
    let decides = pod.sightings.deciding() == Some(fresh);
    let holds = decides && fresh.refused && Some(fresh.ip) == pod.ip && observed.at < counts_until;
    Some((pod.sightings.since.filter(|_| holds)?, counts_until))
}

/// Whether the server that answered can be the one of this container; where none runs, of the one after it.
fn started_with(container: Container, report: &Report) -> bool {
    match container {
        Container::Running { since_micros } => {
            report.postmaster_started.0 >= since_micros.saturating_sub(START_SLACK_MICROS)
        }
        Container::Unknown => true,
        Container::Stopped { since_micros } => since_micros.is_none_or(|since| report.postmaster_started.0 >= since),
    }
}

/// Whether, and until when, the controller itself may be the one who cannot see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sight {
    /// No pod replies, or none has replied yet: labels are held.
    pub(crate) blind: bool,
    /// Whether silence may withdraw a role: others are heard at the same time.
    pub(crate) silence_counts: bool,
    /// When this changes if nothing replies any more.
    pub(crate) expires: Option<Tick>,
}

/// Two pods on two nodes: fewer cannot tell a dead server from a cut wire.
const NODES_TO_TRUST_SILENCE: usize = 2;

/// Looks at the route's pods together.
pub(crate) fn sight(observed: &Observed, policy: &Policy) -> Sight {
    let proven = observed.reign.nodes_replied >= NODES_TO_TRUST_SILENCE;
    let asked = observed
        .pods
        .values()
        .any(|pod| pod.lifecycle != Lifecycle::Ended && pod.ip.is_some());
    let last_reply = observed
        .pods
        .values()
        .filter_map(|pod| pod.sightings.replied)
        .max()
        .filter(|at| *at >= observed.reign.began);
    let within = |limit| last_reply.map(|at| at + limit).filter(|until| *until > observed.at);
    let heard_until = within(policy.sighting_limit());
    let replies_until = within(policy.silent_after);
    Sight {
        blind: asked && replies_until.is_none(),
        // Whose wire is cut hears the last of each pod within an interval. Only somebody who answers after that tells us apart
        // from a dead server, whose last answer happened to be the oldest.
        silence_counts: proven && heard_until.is_some(),
        expires: heard_until
            .or(replies_until)
            .or(Some(observed.reign.began + policy.silent_after)),
    }
}

/// Until when a silent pod, the mark's own, is known to be alive all the same, by what a standby receives: then it is we who
/// cannot see it. Only a standby on the mark's timeline counts: one on another streams from somebody else.
pub(crate) fn alive_by_its_standby(
    observed: &Observed,
    assessments: &Assessments<'_>,
    mark: &Mark,
    silent: &PodView,
) -> Option<Tick> {
    if silent.data != mark.data {
        return None;
    }
    let of_the_mark = |report: &Report| {
        report.standing == Standing::InRecovery
            && report.system_identifier == mark.system_identifier
            && report.timeline == mark.timeline
    };
    observed
        .pods
        .iter()
        .filter(|(key, _)| {
            assessments
                .get(key)
                .and_then(|standby| standby.report)
                .is_some_and(of_the_mark)
        })
        .filter_map(|(_, standby)| standby.sightings.advance)
        .filter(|advance| silent.sightings.replied.is_none_or(|replied| advance.from > replied))
        .map(|advance| advance.to + RECEIVER_RECENT)
        .filter(|until| *until > observed.at)
        .max()
}
