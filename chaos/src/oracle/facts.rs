//! What a history says, put in order once for all rules.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::answers::Answers;
use super::track::Track;
use crate::history::{Happening, History, Mark, Part, Phase, ServiceOf, Standing, State, Target};
use crate::host_time::HostTime;
use crate::install::PRIMARY;
use crate::workload::{Kind, Line};

/// kube-proxy leaves a second between two syncs; the rest is for the sync itself and for hearing of the change.
pub(super) const RULES_LAG: Duration = Duration::from_millis(1300);

/// How long the kernel remembers where a connection from a port went: one that was never answered, or that ended as it should
/// (`nf_conntrack_tcp_timeout_syn_sent` and `_time_wait`, as the kernel has them).
const REMEMBERED_MAX: Duration = Duration::from_mins(2);

/// Who was what, when.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The history itself.
    pub history: &'a History,
    /// Every pod of the route that ever was, by uid.
    pub pods: BTreeMap<&'a str, Pod<'a>>,
    /// What kube-proxy sends to, a Service: its ready endpoints, those that are ending while there is none.
    pub usable: BTreeMap<ServiceOf, Track<BTreeSet<&'a str>>>,
    /// The ready endpoints of each Service.
    pub ready: BTreeMap<ServiceOf, Track<BTreeSet<&'a str>>>,
    /// The ledger's mark.
    pub mark: Track<Option<&'a Mark>>,
    /// The Lease's holder.
    pub holder: Track<Option<&'a str>>,
    /// The Lease's transitions, which rise with every reign: who has lost the Lease may be the one who gets it.
    pub transitions: Track<u32>,
    /// Every fault with its end.
    pub strikes: Vec<Strike<'a>>,
    /// What came of the connections of a client from one of its ports.
    pub connections: BTreeMap<(&'a str, u16), Vec<&'a Line>>,
    /// When somebody asked a standby to promote itself.
    pub asked: Vec<(HostTime, &'a str)>,
    /// When the history ends.
    pub end: HostTime,
}

/// A pod of the route, from its first sight to its end.
#[derive(Debug, Clone, Default)]
pub struct Pod<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its role label; nothing once it is gone.
    pub role: Track<Option<&'a str>>,
    /// Its address.
    pub address: Track<Option<&'a str>>,
    /// Whether the kubelet calls it ready.
    pub ready: Track<bool>,
    /// What its server said of itself.
    pub state: Track<&'a State>,
    /// Which data its server served: the system identifier and the timeline, from the first moment on at which it may have. What was said
    /// last counts on while nothing is said.
    pub data: Track<(&'a str, u32)>,
    /// Since when it has not answered.
    quiet: Option<HostTime>,
    /// When it was gone.
    pub gone: Option<HostTime>,
}

/// A fault, from its injection to its heal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike<'a> {
    /// What it is called.
    pub name: &'a str,
    /// What it struck.
    pub target: &'a Target,
    /// Since when.
    pub from: HostTime,
    /// Until when; the end of the history when it was never healed.
    pub to: HostTime,
}

impl<'a> Facts<'a> {
    /// Everything that a history says.
    pub fn of(history: &'a History) -> Self {
        let mut facts = Self {
            history,
            pods: BTreeMap::new(),
            usable: BTreeMap::new(),
            ready: BTreeMap::new(),
            mark: Track::default(),
            holder: Track::default(),
            transitions: Track::default(),
            strikes: strikes(history),
            connections: BTreeMap::new(),
            asked: Vec::new(),
            end: history.end(),
        };
        let answers = Answers::of(history);
        for event in &history.events {
            facts.take(event.at, &event.what, &answers);
        }
        facts
    }

    fn take(&mut self, at: HostTime, what: &'a Happening, answers: &Answers<'_>) {
        match what {
            Happening::Pod(seen) => {
                let pod = self.pods.entry(&seen.uid).or_default();
                pod.name = &seen.pod;
                let written = answers.of_label(at, pod.role.changed(), seen);
                pod.role.push(written, seen.role.as_deref());
                pod.address.push(at, seen.address.as_deref());
                pod.ready.push(at, seen.is_ready);
            }
            Happening::PodGone { uid, .. } => {
                if let Some(pod) = self.pods.get_mut(uid.as_str()) {
                    pod.role.push(at, None);
                    pod.ready.push(at, false);
                    pod.gone = Some(at);
                }
            }
            Happening::Endpoints {
                service,
                ready,
                terminating,
            } => {
                let set = |addresses: &'a BTreeSet<String>| addresses.iter().map(String::as_str).collect();
                let usable = if ready.is_empty() { terminating } else { ready };
                let known = self.usable.entry(*service).or_default();
                let at = answers.of_endpoints(at, known.changed(), *service, ready);
                known.push(at, set(usable));
                self.ready.entry(*service).or_default().push(at, set(ready));
            }
            Happening::Lease { holder, transitions } => {
                self.holder.push(at, holder.as_deref());
                self.transitions.push(at, *transitions);
            }
            Happening::Ledger { mark } => self.mark.push(at, mark.as_ref()),
            Happening::Standing(standing) => {
                let pod = self.pods.entry(&standing.uid).or_default();
                pod.name = &standing.pod;
                pod.state.push(at, &standing.state);
                pod.hear(standing);
            }
            Happening::Promotion { pod } => self.asked.push((at, pod)),
            Happening::Client { client, line, .. } => {
                if let Some(port) = line.port {
                    self.connections.entry((client, port)).or_default().push(line);
                }
            }
            Happening::Write(_)
            | Happening::Observed { .. }
            | Happening::Fault { .. }
            | Happening::Note { .. }
            | Happening::Rows(_)
            | Happening::Gap { .. }
            | Happening::End => {}
        }
    }

    /// The lines of the clients of one kind, in the order of their answers.
    pub fn lines(&self, wanted: Kind) -> impl Iterator<Item = &'a Line> {
        self.attempts(wanted).map(|(_, line)| line)
    }

    /// The same, each with its client.
    pub fn attempts(&self, wanted: Kind) -> impl Iterator<Item = (&'a str, &'a Line)> {
        self.history.events.iter().filter_map(move |event| match &event.what {
            Happening::Client { client, kind, line } if *kind == wanted => Some((client.as_str(), line)),
            _ => None,
        })
    }

    /// The pod that had an address at a moment; the last one when several had it.
    pub fn pod_at(&self, address: &str, moment: HostTime) -> Option<&Pod<'a>> {
        let mut pods = self.pods.values().rev();
        pods.find(|pod| {
            pod.address.at(moment) == Some(&Some(address))
                && pod.gone.is_none_or(|gone| gone.after(RULES_LAG) >= moment)
        })
    }

    /// The same, or else the pod that ever had it: a slice may be heard of before the pods in it.
    pub fn pod_of(&self, address: &str, moment: HostTime) -> Option<&Pod<'a>> {
        let ever = || {
            self.pods
                .values()
                .find(|pod| pod.address.was(moment, self.end, |had| *had == Some(address)))
        };
        self.pod_at(address, moment).or_else(ever)
    }

    /// The faults that struck one of these parts.
    pub fn strikes_on(&self, parts: &[Part]) -> impl Iterator<Item = &Strike<'a>> {
        self.strikes
            .iter()
            .filter(move |strike| parts.contains(&strike.target.part))
    }

    /// Whether a connection begun and opened at these moments may lead to an address: it was an endpoint when it was opened, or within the
    /// lag of kube-proxy's rules before it was begun. While something was struck that keeps the rules from following, the lag is counted
    /// from the heal.
    pub fn entitled(&self, service: ServiceOf, address: &str, began: HostTime, opened: HostTime) -> bool {
        let mut since = began.before(RULES_LAG);
        // A fault may end while another one lasts; the order of the injections does not tell.
        let mut waiting: Vec<&Strike<'_>> = self.strikes.iter().filter(|strike| self.holds_rules(strike)).collect();
        while let Some(index) = waiting
            .iter()
            .position(|strike| strike.from <= opened && strike.to >= since)
        {
            let strike = waiting.swap_remove(index);
            since = since.min(strike.from.before(RULES_LAG));
        }
        self.was_usable(service, address, since, opened)
    }

    /// Whether the client's node may still have led a connection from this port to an address, whatever the Service said: one that was
    /// begun from the same port a moment before led there, rightly. The first packet of a new connection goes where the last one of the
    /// old one went for as long as the kernel's connection tracking keeps it; kube-proxy's rules are not asked.
    pub fn is_remembered(&self, service: ServiceOf, address: &str, client: &str, line: &Line) -> bool {
        let from_port = line.port.and_then(|port| self.connections.get(&(client, port)));
        let mut earlier = from_port.into_iter().flatten().filter(|earlier| {
            let is_earlier = earlier.began < line.began && earlier.at <= line.began;
            is_earlier && line.began.since(earlier.at) <= REMEMBERED_MAX
        });
        earlier.any(|earlier| match earlier.outcome.by() {
            Some(by) => by.address == address,
            None => self.entitled(service, address, earlier.began, earlier.at),
        })
    }

    /// Whether an address was an endpoint at any moment between these two. What was before the first thing heard of is taken to have been
    /// like that: a recording begins in a steady time.
    pub(super) fn was_usable(&self, service: ServiceOf, address: &str, from: HostTime, to: HostTime) -> bool {
        let Some(usable) = self.usable.get(&service) else {
            return false;
        };
        let to = usable.begin().map_or(to, |begin| begin.max(to));
        usable.was(from, to, |addresses| addresses.contains(address))
    }

    /// Whether a fault keeps the rules on a client's node from following the EndpointSlices.
    fn holds_rules(&self, strike: &Strike<'_>) -> bool {
        let Target { part, name } = strike.target;
        match part {
            Part::ApiServer | Part::KubeProxy => true,
            Part::Node | Part::Network => self.history.header.client_nodes.contains(name),
            Part::Server
            | Part::Controller
            | Part::ControllerManager
            | Part::Kubelet
            | Part::Dns
            | Part::Clock
            | Part::Processors => false,
        }
    }

    /// Every first sight of a server that takes writes on a timeline above all that were written before in its system: its promotion.
    pub fn promotions(&self) -> Vec<Promotion<'a>> {
        let mut highest: BTreeMap<&str, u32> = BTreeMap::new();
        let mut promotions = Vec::new();
        for event in &self.history.events {
            let Happening::Standing(standing) = &event.what else {
                continue;
            };
            let State::Writable { system, timeline } = &standing.state else {
                continue;
            };
            match highest.insert(system, *timeline) {
                Some(before) if before >= *timeline => drop(highest.insert(system, before)),
                Some(before) => promotions.push(Promotion {
                    at: event.at,
                    pod: &standing.pod,
                    uid: &standing.uid,
                    system,
                    ended: before,
                    timeline: *timeline,
                }),
                None => {}
            }
        }
        promotions
    }
}

/// A server was promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promotion<'a> {
    /// When it first said that it takes writes.
    pub at: HostTime,
    /// Its pod.
    pub pod: &'a str,
    /// Its pod's uid.
    pub uid: &'a str,
    /// Its system identifier.
    pub system: &'a str,
    /// The highest timeline that was written before.
    pub ended: u32,
    /// Its own.
    pub timeline: u32,
}

impl<'a> Pod<'a> {
    /// A change of data lies between the last answer that said otherwise and the first that says so: all of that time is given to it.
    fn hear(&mut self, standing: &'a Standing) {
        match &standing.state {
            State::Writable { system, timeline } | State::InRecovery { system, timeline } => {
                let since = self.quiet.take().unwrap_or(standing.not_before);
                self.data.push(since, (system, *timeline));
            }
            State::Silent => drop(self.quiet.get_or_insert(standing.not_before)),
            // A refusal is an answer: it serves nothing else yet.
            State::Down { .. } => self.quiet = None,
        }
    }

    /// Whether it is labelled primary at a moment.
    pub fn is_primary(&self, moment: HostTime) -> bool {
        self.role.at(moment) == Some(&Some(PRIMARY))
    }
}

/// Pairs every injection with the next heal of the same name and target.
fn strikes(history: &History) -> Vec<Strike<'_>> {
    let mut strikes: Vec<Strike<'_>> = Vec::new();
    let end = history.end();
    for event in &history.events {
        let Happening::Fault { name, target, phase } = &event.what else {
            continue;
        };
        match phase {
            Phase::Injected => strikes.push(Strike {
                name,
                target,
                from: event.at,
                to: end,
            }),
            Phase::Healed => {
                let open =
                    |strike: &&mut Strike<'_>| strike.to == end && strike.name == name && strike.target == target;
                if let Some(strike) = strikes.iter_mut().find(open) {
                    strike.to = event.at;
                }
            }
        }
    }
    strikes
}
