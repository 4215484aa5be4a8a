//! What a scenario expects besides the judge's general rules: pure, over what was recorded of one round.

use super::act::Who;
use super::wait::{Roles, late_requests, succeeded};
use crate::fault::lasting_name;
use crate::history::{AuditedWrite, Event, Happening, Rows};
use crate::host_time::HostTime;
use crate::install::PRIMARY;
use crate::oracle::{Breach, Finding};
use crate::record::sight::pod_of;
use crate::workload::Outcome;

#[cfg(test)]
mod tests;

/// One expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// No role label changes: there is nothing to follow, or nobody to be sure of.
    NoRoleChanges,
    /// The server is primary in the end.
    EndsPrimary(Who),
    /// The server, once it is not primary any more, never is again.
    NeverAgain(Who),
    /// The one who leads at the beginning leads all the time.
    LeaderStays,
    /// Another leads in the end.
    LeaderMoves,
    /// No acknowledged write is missing from the rows that the last primary holds.
    NothingLost,
    /// A late request of the one who led came to the API server, and each was refused.
    LateRequestsRefused,
}

/// What was recorded of one round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) roles: &'a Roles,
    /// Everything up to the round's end.
    pub(super) events: &'a [Event],
    /// The rows that the last primary of the recording holds.
    pub(super) rows: Option<&'a Rows>,
}

impl<'a> Seen<'a> {
    /// What happened in this round.
    fn round(&self) -> impl Iterator<Item = &'a Event> {
        let began = self.roles.began;
        self.events.iter().filter(move |event| event.at >= began)
    }

    fn end(&self) -> HostTime {
        self.events.last().map_or(self.roles.began, |event| event.at)
    }

    /// Every change of a pod's role label in this round: when, whose, to what.
    fn role_changes(&self) -> Vec<(HostTime, &'a str, Option<&'a str>)> {
        let mut known = std::collections::BTreeMap::new();
        let mut changes = Vec::new();
        for event in self.events {
            let (pod, role) = match &event.what {
                Happening::Pod(seen) => (seen.pod.as_str(), seen.role.as_deref()),
                Happening::PodGone { pod, .. } => (pod.as_str(), None),
                _ => continue,
            };
            let before = known.insert(pod, role).flatten();
            if before != role && event.at >= self.roles.began {
                changes.push((event.at, pod, role));
            }
        }
        changes
    }

    /// The writes of a reign that was over when the API server received them.
    pub(super) fn late_requests(&self) -> Vec<&'a AuditedWrite> {
        late_requests(self.events, self.roles)
    }
}

/// The statuses that refuse a write: a resourceVersion that has passed, another uid, the admission policy.
const REFUSED: [u16; 3] = [409, 422, 403];

impl Expect {
    /// Looks whether it held.
    pub(super) fn check(self, seen: &Seen<'_>) -> Finding {
        match self {
            Self::NoRoleChanges => {
                let changes = seen.role_changes();
                let breaches = changes.iter().map(|(at, pod, role)| Breach {
                    at: *at,
                    seen: format!("{pod} was labelled {}", role.unwrap_or("nothing")),
                });
                let told = format!("{} changes", changes.len());
                finding("no-role-changes", "no role label changes", told, breaches.collect())
            }
            Self::EndsPrimary(who) => ends_primary(seen, who),
            Self::NeverAgain(who) => never_again(seen, who),
            Self::LeaderStays => leads(seen, false),
            Self::LeaderMoves => leads(seen, true),
            Self::NothingLost => nothing_lost(seen),
            Self::LateRequestsRefused => late_requests_refused(seen),
        }
    }
}

fn ends_primary(seen: &Seen<'_>, who: Who) -> Finding {
    let pod = pod_of(seen.events, seen.roles.server(who));
    let told = pod.map_or_else(
        || "it has no pod".to_owned(),
        |pod| format!("{} is {}", pod.pod, pod.role.as_deref().unwrap_or("nothing")),
    );
    let held = pod.is_some_and(|pod| pod.role.as_deref() == Some(PRIMARY));
    let text = match who {
        Who::Primary => "the primary of the beginning is primary in the end",
        _ => "the standby of the beginning is primary in the end",
    };
    finding(
        "ends-primary",
        text,
        told.clone(),
        broken_unless(held, seen.end(), told),
    )
}

fn never_again(seen: &Seen<'_>, who: Who) -> Finding {
    let name = seen.roles.server(who);
    let changes = seen.role_changes();
    let of_server = changes.iter().filter(|(_, pod, _)| lasting_name(pod) == Some(name));
    let granted = of_server.filter(|(_, _, role)| *role == Some(PRIMARY));
    let breaches: Vec<Breach> = granted
        .map(|(at, pod, _)| Breach {
            at: *at,
            seen: format!("{pod} was labelled primary again"),
        })
        .collect();
    let told = format!("granted again {} times", breaches.len());
    let text = "a server that was beaten is not primary again before it follows";
    finding("never-again", text, told, breaches)
}

fn leads(seen: &Seen<'_>, should_move: bool) -> Finding {
    let moved = succeeded(seen.events, seen.roles).map(|(at, _)| at);
    let told = match moved {
        Some(at) => format!("another led after {} ms", at.millis_since(seen.roles.began)),
        None => "the same one led all the time".to_owned(),
    };
    let (rule, text) = if should_move {
        ("leader-moves", "another controller takes over")
    } else {
        ("leader-stays", "the same controller leads all the time")
    };
    let breaches = broken_unless(
        moved.is_some() == should_move,
        moved.unwrap_or(seen.end()),
        told.clone(),
    );
    finding(rule, text, told, breaches)
}

fn nothing_lost(seen: &Seen<'_>) -> Finding {
    let acknowledged = seen.round().filter_map(|event| match &event.what {
        Happening::Client { line, .. } => match &line.outcome {
            Outcome::Written { id, .. } => Some((line.at, *id)),
            Outcome::Read { .. } | Outcome::Failed { .. } => None,
        },
        _ => None,
    });
    let acknowledged: Vec<(HostTime, u64)> = acknowledged.collect();
    let is_lost = |at: HostTime, id: u64| seen.rows.is_none_or(|rows| rows.lack(id, at));
    let lost = acknowledged.iter().filter(|(at, id)| is_lost(*at, *id));
    let breaches: Vec<Breach> = lost
        .map(|(at, id)| Breach {
            at: *at,
            seen: format!("row {id} was acknowledged and is gone"),
        })
        .collect();
    let told = format!(
        "{} of {} acknowledged writes are gone",
        breaches.len(),
        acknowledged.len()
    );
    finding("nothing-lost", "no acknowledged write is lost", told, breaches)
}

fn late_requests_refused(seen: &Seen<'_>) -> Finding {
    let late = seen.late_requests();
    let told: Vec<String> = late
        .iter()
        .map(|write| {
            let stamp = write.stamp.as_deref().unwrap_or("none");
            format!("{} {} stamp {stamp}: {}", write.verb, write.name, write.code)
        })
        .collect();
    let accepted = late.iter().filter(|write| !REFUSED.contains(&write.code));
    let breaches = accepted.map(|write| Breach {
        at: write.received,
        seen: format!("{} of {} was answered {}", write.verb, write.name, write.code),
    });
    let told = if told.is_empty() {
        "none came".to_owned()
    } else {
        told.join("; ")
    };
    let text = "what the one who led still had under way is refused";
    finding("late-requests-refused", text, told, breaches.collect())
}

fn broken_unless(held: bool, at: HostTime, seen: String) -> Vec<Breach> {
    if held { Vec::new() } else { vec![Breach { at, seen }] }
}

fn finding(rule: &'static str, text: &'static str, seen: String, breaches: Vec<Breach>) -> Finding {
    Finding {
        rule,
        text,
        seen,
        breaches,
    }
}
