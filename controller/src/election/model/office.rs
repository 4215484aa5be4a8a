//! A reign: outrank everything, then take turns, each decided by the shipped `decide`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use probe::{Evidence, Report, Standing, UnixMicros};
use shared::{
    ledger::{DataIdentity, DataKind, Mark, PostgresLedgerSpec},
    role::Role,
    route::SplitBrainPolicy,
    term::Term,
    wal::{Lsn, SystemIdentifier, Timeline},
};

use super::{
    super::{cas::Intent, leadership::permit},
    Planted,
    world::{Change, LEDGER, MarkOf, OBJECTS, Office, PODS, Process, Request, Seal, World, Write},
};
use crate::{
    clock::Tick,
    decide::{
        Action, Container, LabelState, LedgerView, Lifecycle, Observed, PodKey, PodView, Policy, ReignView, SlicesView,
        decide,
    },
    reign::fence::{Rank, rank},
    sighting::{Sighting, Sightings, Via},
    stamp::{Holder, Stamp, StampState},
};

const SYSTEM: SystemIdentifier = SystemIdentifier(7_300_000_000_000_000_001);

/// The one position of every server: positions play no part here.
const POSITION: Lsn = Lsn(0x0500_0000);

/// The moment of every decision: with evidence as fresh as this one's, time plays no part in it.
const NOW: Duration = Duration::from_secs(10_000);

/// The reign has looked at the route for so long.
const LOOKED_FOR: Duration = Duration::from_mins(10);

/// The phase in which the second server is no standby at first, but down.
pub(super) const ALONE: u8 = 2;

/// What the probe of a pod's server meets, after so many promotions: the first server takes writes on timeline 1, the second is its
/// standby; the first goes down and the second is promoted; that goes down in turn and the first, rejoined meanwhile, is promoted
/// again; and so on.
fn sees(phase: u8, pod: usize) -> Option<(Standing, u32)> {
    match (phase, pod) {
        (0, 0) => Some((Standing::Writable, 1)),
        (0, _) => Some((Standing::InRecovery, 1)),
        (phase, pod) if usize::from(phase) % PODS == pod => Some((Standing::Writable, u32::from(phase) + 1)),
        _ => None,
    }
}

impl World {
    /// The new leader reads every stamp.
    pub(super) fn list(&mut self, at: usize) {
        let pods = self.pods.iter().filter_map(|pod| pod.seal.map(|seal| seal.term));
        let ledger = self.ledger.iter().flat_map(|ledger| [ledger.seal.term, ledger.floor]);
        let floor = pods.chain(ledger).max();
        if let Some(reign) = &mut self.processes[at].reign {
            reign.office = Office::Listed(floor);
        }
        if !self.is_outranked(at) {
            self.outrank(at, true, None);
        }
    }

    /// The new leader makes sure that it outranks them all.
    pub(super) fn outrank(&mut self, at: usize, answered: bool, planted: Option<Planted>) {
        let Some(reign) = &mut self.processes[at].reign else {
            return;
        };
        let Office::Listed(floor) = reign.office else { return };
        match floor.map_or(Rank::Above, |floor| rank(reign.term, floor)) {
            Rank::Above => {
                reign.office = Office::Governs {
                    unknown: [false; OBJECTS],
                }
            }
            Rank::Raise(to) => {
                self.history.raised = true;
                self.attempt(at, Some(Intent::Raise(to)), answered, planted);
            }
            Rank::Exhausted => self.stop_leading(at),
        }
    }

    /// Whether the leader has to raise its term.
    pub(super) fn is_outranked(&self, at: usize) -> bool {
        self.processes[at].reign.is_some_and(|reign| match reign.office {
            Office::Listed(Some(floor)) => rank(reign.term, floor) != Rank::Above,
            Office::Listed(None) | Office::New | Office::Governs { .. } => false,
        })
    }

    /// One turn: observe, decide, permit, and the writes go out.
    pub(super) fn turn(&mut self, at: usize, plans: &super::Plans, planted: Option<Planted>) {
        let process = &self.processes[at];
        let Some(reign) = process.reign else { return };
        let Office::Governs { unknown } = reign.office else {
            return;
        };
        let seal = process.seal(reign.term);
        let view = View {
            seal,
            pods: self.pods.map(|pod| (pod.seal, pod.label)),
            ledger: self.ledger.map(|ledger| (ledger.seal, ledger.floor, ledger.mark)),
            unknown: if planted == Some(Planted::UnknownForgotten) {
                [false; OBJECTS]
            } else {
                unknown
            },
            phase: self.phase,
            planted: planted.filter(|planted| matches!(planted, Planted::GrantBeforeStamp | Planted::ZombieGoesOn)),
        };
        let steps = plans.of(&view);
        for step in steps.iter() {
            match *step {
                Step::StepDown => {
                    self.history.stepped_down = true;
                    self.stop_leading(at);
                    return;
                }
                Step::Write(object, change) => {
                    if !has_permit(&self.processes[at]) {
                        continue;
                    }
                    let expected = if object == LEDGER {
                        self.ledger.map(|ledger| ledger.version)
                    } else {
                        Some(self.pods[object].version)
                    };
                    self.send(Request {
                        awaited_by: Some(at),
                        seal,
                        write: Write::Object {
                            object,
                            expected,
                            change,
                        },
                    });
                }
            }
        }
    }

    /// A write has taken too long: the leader does not know what became of it.
    pub(super) fn give_up_write(&mut self, at: usize) {
        let request = self.requests.remove(at);
        if let (Some(process), Write::Object { object, .. }) = (request.awaited_by, request.write) {
            self.learn(process, object, None);
        }
        self.send(Request {
            awaited_by: None,
            ..request
        });
    }
}

/// Whether the process may write, by its own clock.
pub(super) fn has_permit(process: &Process) -> bool {
    permit(&process.leadership(), process.now()).is_ok()
}

/// What a decision depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct View {
    seal: Seal,
    pods: [(Option<Seal>, Option<Role>); PODS],
    ledger: Option<(Seal, Term, Option<MarkOf>)>,
    unknown: [bool; OBJECTS],
    phase: u8,
    planted: Option<Planted>,
}

/// What is to be done, without the versions that it expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Write(usize, Change),
    StepDown,
}

impl View {
    /// The stamp as `decide` is shown it: as it is, unless a defect is planted.
    fn stamp(&self, seal: Option<Seal>) -> StampState {
        let shown = match self.planted {
            Some(Planted::GrantBeforeStamp) => Some(self.seal),
            Some(Planted::ZombieGoesOn) => seal.filter(|seal| *seal == self.seal),
            _ => seal,
        };
        shown.map_or(StampState::Absent, |Seal { term, holder }| {
            StampState::Known(Stamp { term, n: 1, holder })
        })
    }

    /// Asks `decide`.
    pub(super) fn decide(&self) -> Vec<Step> {
        let plan = decide(&self.observed(), &policy());
        plan.actions.iter().filter_map(step).collect()
    }

    fn observed(&self) -> Observed {
        let at = Tick::default() + NOW;
        let ledger = self.ledger.map_or(LedgerView::Absent, |(seal, floor, mark)| {
            let term_floor = match self.planted {
                Some(Planted::GrantBeforeStamp | Planted::ZombieGoesOn) => self.seal.term,
                _ => floor,
            };
            LedgerView::Present {
                uid: "ledger".to_owned(),
                resource_version: "1".to_owned(),
                stamp: self.stamp(Some(seal)),
                ledger: PostgresLedgerSpec {
                    mark: mark.map(mark_of),
                    term_floor,
                    ..PostgresLedgerSpec::default()
                },
            }
        });
        let pods = (0..PODS)
            .map(|pod| (key(pod), self.pod(pod, at)))
            .collect::<BTreeMap<_, _>>();
        Observed {
            at,
            reign: ReignView {
                term: self.seal.term,
                holder: self.seal.holder,
                began: at - LOOKED_FOR,
                nodes_replied: PODS,
                mark_written: at,
            },
            ledger_unknown: self.unknown[LEDGER] && self.ledger.is_some(),
            ledger,
            pods,
            slices: SlicesView::default(),
            paused: false,
            accept: None,
        }
    }

    fn pod(&self, pod: usize, at: Tick) -> PodView {
        let (seal, label) = self.pods[pod];
        let ip = address(pod);
        let seen = sees(self.phase, pod);
        let mut sightings = Sightings::default();
        sightings.record(
            Via::Fresh,
            Sighting {
                at,
                took: Duration::ZERO,
                ip,
                evidence: match seen {
                    Some((Standing::Writable, _)) => Evidence::Writable,
                    Some((Standing::InRecovery, _)) => Evidence::InRecovery,
                    None => Evidence::Down,
                },
                report: seen.map(|(standing, timeline)| report(standing, timeline)),
                reply: true,
                refused: seen.is_none(),
                detail: String::new(),
            },
        );
        let label = label.map_or(LabelState::Absent, LabelState::Known);
        PodView {
            node: Some(format!("node-{pod}")),
            ip: Some(ip),
            resource_version: "1".to_owned(),
            lifecycle: Lifecycle::Alive,
            container: Container::Running { since_micros: 0 },
            excluded: false,
            out_of_write_since: (label != LabelState::Known(Role::Primary)).then(|| at - LOOKED_FOR),
            label,
            stamp: self.stamp(seal),
            data: data(pod),
            unknown: self.unknown[pod],
            repair_not_before: None,
            sightings,
        }
    }
}

/// The action as a write, the way `apply` carries it out.
fn step(action: &Action) -> Option<Step> {
    Some(match action {
        Action::Stamp { pod, .. } => Step::Write(place(pod), Change::Stamp),
        Action::StampLedger { .. } => Step::Write(LEDGER, Change::Stamp),
        Action::Withdraw { pod, to, .. } | Action::Relabel { pod, to, .. } => {
            Step::Write(place(pod), Change::Label(*to))
        }
        Action::Grant { pod, .. } => Step::Write(place(pod), Change::Label(Some(Role::Primary))),
        Action::SetMark { mark, .. } => {
            let timeline = mark.timeline.0;
            let pod = (0..PODS).find(|pod| key(*pod).name == mark.pod)?;
            Step::Write(LEDGER, Change::Mark(MarkOf { pod, timeline }))
        }
        Action::StepDown { .. } => Step::StepDown,
        Action::ClearAccept | Action::CreateSlice { .. } | Action::StampSlice { .. } | Action::SetEndpoints { .. } => {
            return None;
        }
    })
}

fn policy() -> Policy {
    Policy {
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(500),
        silent_after: Duration::from_secs(3),
        split_brain: SplitBrainPolicy::HighestTimeline,
        max_behind: 16 << 20,
        beaten_gap: Duration::from_secs(2),
    }
}

fn report(standing: Standing, timeline: u32) -> Report {
    Report {
        standing,
        system_identifier: SYSTEM,
        timeline: Timeline(timeline),
        lsn: POSITION,
        postmaster_started: UnixMicros(1_000_000),
        data_directory: None,
        hot_standby_reported: true,
        receiver: None,
        server_version_num: 150_014,
    }
}

fn key(pod: usize) -> PodKey {
    PodKey {
        name: format!("pod-{pod}"),
        uid: format!("uid-{pod}"),
    }
}

fn place(key: &PodKey) -> usize {
    (0..PODS)
        .find(|pod| self::key(*pod) == *key)
        .expect("a pod of the model")
}

fn data(pod: usize) -> DataIdentity {
    DataIdentity {
        kind: DataKind::PersistentVolumeClaim,
        name: format!("data-{pod}"),
    }
}

fn mark_of(mark: MarkOf) -> Mark {
    Mark {
        system_identifier: SYSTEM,
        timeline: Timeline(mark.timeline),
        lsn: POSITION,
        data: data(mark.pod),
        pod: key(mark.pod).name,
    }
}

fn address(pod: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(pod).expect("a few pods") + 1))
}

/// The holder of a restarted process: the last digit counts the restarts.
pub(super) const fn restarted(holder: Holder) -> Holder {
    Holder(holder.0 + 1)
}
