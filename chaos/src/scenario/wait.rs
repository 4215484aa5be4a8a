//! Whether what a scenario waits for has come about: pure, over what the recorder has heard.

use super::act::{Await, Who};
use crate::history::{AuditedWrite, Event, Happening, PodSeen, ServiceOf, State};
use crate::host_time::HostTime;
use crate::install::{PRIMARY, REPLICA};
use crate::record::sight::{endpoints, leader, pod_of, pods, state};

/// The label of a server that takes writes and is not the chosen one.
const ORPHAN: &str = "orphan";

/// Who plays whom, for the waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Roles {
    /// The lasting name of the server that was primary when the scenario began.
    pub(super) primary: String,
    /// That of its standby.
    pub(super) standby: String,
    /// Who held the Lease then.
    pub(super) holder: String,
    /// When that was.
    pub(super) began: HostTime,
}

impl Roles {
    /// The lasting name of a server, its Deployment's where it has one; nobody's for a controller.
    pub(super) fn server(&self, who: Who) -> &str {
        match who {
            Who::Primary => &self.primary,
            Who::Standby => &self.standby,
            Who::Leader | Who::Controllers => "",
        }
    }

    /// The pod of the controller that led when the scenario began.
    pub(super) fn leader(&self) -> &str {
        pod_of_holder(&self.holder)
    }
}

/// A holder is called `<pod>_<8 hex>`.
pub(super) fn pod_of_holder(holder: &str) -> &str {
    holder.rsplit_once('_').map_or(holder, |(pod, _)| pod)
}

/// `Ok` when it has come about; else what is missing.
pub(super) fn look(what: Await, roles: &Roles, events: &[Event]) -> Result<(), String> {
    match what {
        Await::IsPrimary(who) => is_primary(events, roles.server(who)),
        Await::IsReplica(who) => is_labelled(events, roles.server(who), REPLICA),
        Await::IsOrphan(who) => is_labelled(events, roles.server(who), ORPHAN),
        Await::NoPrimary => no_primary(events),
        Await::Writable(who) => says(events, roles.server(who), |state| {
            matches!(state, State::Writable { .. })
        }),
        Await::Down(who) => says(events, roles.server(who), |state| matches!(state, State::Down { .. })),
        Await::Gone(who) => match pod_of(events, roles.server(who)) {
            None => Ok(()),
            Some(pod) => Err(format!("{} is there", pod.pod)),
        },
        Await::Running(who) => match of(events, roles.server(who))? {
            pod if pod.address.is_some() && !pod.is_terminating => Ok(()),
            pod => Err(format!("{} has no address, or is being deleted", pod.pod)),
        },
        Await::AnotherLeads => match leader(events) {
            Some(holder) if !holder.is_empty() && holder != roles.holder => Ok(()),
            other => Err(format!("the Lease names {other:?}")),
        },
        Await::LateRequest => late_request(events, roles),
        Await::Right => right(events),
        Await::RequestUnderWay => Err("only the sockets of the leader tell".to_owned()),
    }
}

fn of<'a>(events: &'a [Event], name: &str) -> Result<&'a PodSeen, String> {
    pod_of(events, name).ok_or_else(|| format!("{name} has no pod"))
}

fn is_labelled(events: &[Event], name: &str, wanted: &str) -> Result<(), String> {
    let pod = of(events, name)?;
    if pod.role.as_deref() == Some(wanted) {
        Ok(())
    } else {
        Err(format!("{} is labelled {:?}", pod.pod, pod.role))
    }
}

fn is_primary(events: &[Event], name: &str) -> Result<(), String> {
    is_labelled(events, name, PRIMARY)?;
    let pod = of(events, name)?;
    let writes = endpoints(events, ServiceOf::Writes);
    if writes.len() == 1 && writes.iter().next() == pod.address.as_ref() {
        Ok(())
    } else {
        Err(format!("the write Service leads to {writes:?}"))
    }
}

fn no_primary(events: &[Event]) -> Result<(), String> {
    let labelled = pods(events)
        .into_values()
        .find(|seen| seen.role.as_deref() == Some(PRIMARY));
    if let Some(pod) = labelled {
        return Err(format!("{} is labelled primary", pod.pod));
    }
    let writes = endpoints(events, ServiceOf::Writes);
    if writes.is_empty() {
        Ok(())
    } else {
        Err(format!("the write Service leads to {writes:?}"))
    }
}

fn says(events: &[Event], name: &str, is_meant: impl Fn(&State) -> bool) -> Result<(), String> {
    let pod = of(events, name)?;
    match state(events, &pod.uid) {
        Some(said) if is_meant(said) => Ok(()),
        said => Err(format!("{} says {said:?}", pod.pod)),
    }
}

/// One primary, the other one a replica, both Ready and each alone in its Service.
fn right(events: &[Event]) -> Result<(), String> {
    let pods: Vec<&PodSeen> = pods(events).into_values().collect();
    let labelled = |wanted: &str| -> Vec<&PodSeen> {
        let of_role = pods.iter().filter(|seen| seen.role.as_deref() == Some(wanted));
        of_role.copied().collect()
    };
    let told = || {
        let told: Vec<String> = pods
            .iter()
            .map(|seen| {
                format!(
                    "{} {:?}{}{}",
                    seen.pod,
                    seen.role,
                    if seen.is_ready { "" } else { " unready" },
                    if seen.is_terminating { " terminating" } else { "" }
                )
            })
            .collect();
        told.join(", ")
    };
    let (primaries, replicas) = (labelled(PRIMARY), labelled(REPLICA));
    let ([primary], [replica]) = (primaries.as_slice(), replicas.as_slice()) else {
        return Err(told());
    };
    if pods.len() != 2 || pods.iter().any(|seen| !seen.is_ready || seen.is_terminating) {
        return Err(told());
    }
    for (service, pod) in [(ServiceOf::Writes, primary), (ServiceOf::Reads, replica)] {
        let ready = endpoints(events, service);
        if ready.len() != 1 || ready.iter().next() != pod.address.as_ref() {
            return Err(format!("{service:?} leads to {ready:?}, not to {} alone", pod.pod));
        }
    }
    Ok(())
}

/// When another than at the beginning was first seen to lead, and its term.
pub(super) fn succeeded(events: &[Event], roles: &Roles) -> Option<(HostTime, u32)> {
    let mut since = events.iter().filter(|event| event.at >= roles.began);
    since.find_map(|event| match &event.what {
        Happening::Lease {
            holder: Some(holder),
            transitions,
        } if *holder != roles.holder && !holder.is_empty() => Some((event.at, *transitions)),
        _ => None,
    })
}

/// The writes to pods of the one who led that the API server received after another led. The same controller may lead again in the same
/// round: what it writes in a later reign is stamped with that reign's term, and is not late.
pub(super) fn late_requests<'a>(events: &'a [Event], roles: &'a Roles) -> Vec<&'a AuditedWrite> {
    let Some((since, term)) = succeeded(events, roles) else {
        return Vec::new();
    };
    let writes = events.iter().filter_map(|event| match &event.what {
        Happening::Write(write) => Some(write),
        _ => None,
    });
    let is_late = |write: &&AuditedWrite| {
        let stamped = write
            .stamp
            .as_deref()
            .and_then(|stamp| stamp.split('.').next()?.parse::<u32>().ok());
        write.received > since
            && write.resource == "pods"
            && write.from_pod.as_deref() == Some(roles.leader())
            && stamped.is_none_or(|stamped| stamped < term)
    };
    writes.filter(is_late).collect()
}

fn late_request(events: &[Event], roles: &Roles) -> Result<(), String> {
    if late_requests(events, roles).is_empty() {
        Err(format!("no late write of {}", roles.leader()))
    } else {
        Ok(())
    }
}
