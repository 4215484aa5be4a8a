//! The PostgreSQL servers as they really are: who takes writes, on which timeline, how far, and who reaches whom.

use std::{collections::BTreeMap, task::Waker, time::Duration};

use jiff::Timestamp;
use rand::{RngExt as _, rngs::SmallRng};

use super::host::wall;

/// Servers of the route.
pub(crate) const SERVERS: usize = 3;

/// Replicas of the controller, at most.
pub(crate) const HOSTS_MAX: usize = 3;

/// Position that everybody begins at; LSNs have two halves, and comparing them as text goes wrong from here.
const BEGIN: u64 = 9 << 32 | 0xff00_0000;

/// The system identifier of the cluster; PostgreSQL shows it as a signed number.
pub(crate) const SYSTEM: u64 = 7_300_000_000_000_000_001;

/// What a server's process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    /// It serves.
    Up,
    /// It says 57P03.
    Starting,
    /// It is not there.
    Down,
    /// It is there, and does nothing at all.
    Hung,
    /// It serves who is connected, and takes no connection.
    HungPostmaster,
    /// It has no connection left for us.
    Full,
}

/// What the kubelet says of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContainerState {
    Running { since: Timestamp },
    Stopped { at: Timestamp },
}

/// What the kubelet says of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodState {
    pub(crate) address: u8,
    pub(crate) container: ContainerState,
}

/// One server, and the pod around it.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) writable: bool,
    pub(crate) timeline: u32,
    pub(crate) lsn: u64,
    pub(crate) system: u64,
    /// Whom it streams from.
    pub(crate) follows: Option<usize>,
    pub(crate) started: Timestamp,
    /// Another number, another postmaster.
    pub(crate) incarnation: u64,
    /// It lacks much of what the last primary had.
    pub(crate) far_behind: bool,
    pub(crate) pod: PodState,
}

/// All servers, and the network between them and the replicas.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) of: [Server; SERVERS],
    /// Who answers at which address.
    pub(crate) addresses: BTreeMap<u8, usize>,
    /// Which replica does not reach which server.
    pub(crate) cut: [[bool; SERVERS]; HOSTS_MAX],
    /// How long an answer takes.
    pub(crate) slow: [Duration; SERVERS],
    /// Whether servers report `in_hot_standby` (PostgreSQL 14 and later).
    pub(crate) reports: bool,
    /// Whether the probe's role may see what `pg_monitor` sees.
    pub(crate) monitors: bool,
    /// Whoever waits for a kept session to end.
    sessions: BTreeMap<u64, (usize, u64, Waker)>,
    numbered: u64,
    next_address: u8,
}

// === impl Servers ===

impl Servers {
    /// A primary and its standbys, on a timeline that makes hexadecimal numbers matter now and then.
    pub(crate) fn new(rng: &mut SmallRng) -> Self {
        let timelines = [1, 1, 7, 8, 9, 14, 15, 0xfe];
        let timeline = timelines[rng.random_range(0..timelines.len())];
        let primary = rng.random_range(0..SERVERS);
        let of = std::array::from_fn(|index| Server {
            process: Process::Up,
            writable: index == primary,
            timeline,
            lsn: BEGIN,
            system: SYSTEM,
            follows: (index != primary).then_some(primary),
            started: wall(Duration::ZERO),
            incarnation: index as u64,
            far_behind: false,
            pod: PodState {
                address: u8::try_from(index + 1).unwrap_or_default(),
                container: ContainerState::Running {
                    since: wall(Duration::ZERO),
                },
            },
        });
        Self {
            addresses: (0..SERVERS)
                .map(|index| (u8::try_from(index + 1).unwrap_or_default(), index))
                .collect(),
            of,
            cut: [[false; SERVERS]; HOSTS_MAX],
            slow: [Duration::ZERO; SERVERS],
            reports: rng.random_ratio(3, 4),
            monitors: rng.random_ratio(3, 4),
            sessions: BTreeMap::new(),
            numbered: SERVERS as u64,
            next_address: 10,
        }
    }

    pub(crate) const fn indices(&self) -> std::ops::Range<usize> {
        0..self.of.len()
    }

    pub(crate) const fn pod(&self, index: usize) -> &PodState {
        &self.of[index].pod
    }

    /// The server that a replica reaches at an address.
    pub(crate) fn reached(&self, host: usize, address: u8) -> Option<usize> {
        let server = *self.addresses.get(&address)?;
        (!self.cut[host][server]).then_some(server)
    }

    /// Waits for the end of a session.
    pub(crate) fn await_end(&mut self, session: u64, server: usize, incarnation: u64, waker: &Waker) {
        match self.sessions.get_mut(&session) {
            Some((_, _, before)) => before.clone_from(waker),
            None => drop(self.sessions.insert(session, (server, incarnation, waker.clone()))),
        }
    }

    /// The session is no longer waited for.
    pub(crate) fn forget_session(&mut self, session: u64) {
        self.sessions.remove(&session);
    }

    /// A number that no session and no postmaster has had before.
    pub(crate) const fn number(&mut self) -> u64 {
        self.numbered += 1;
        self.numbered
    }

    /// The process goes: its sessions end.
    pub(crate) fn end(&mut self, index: usize, process: Process) {
        self.of[index].process = process;
        self.of[index].incarnation = self.number();
        let gone: Vec<u64> = self
            .sessions
            .iter()
            .filter(|(_, (server, _, _))| *server == index)
            .map(|(session, _)| *session)
            .collect();
        for session in gone {
            if let Some((_, _, waker)) = self.sessions.remove(&session) {
                waker.wake();
            }
        }
    }

    /// The process serves again: taking writes, or following somebody.
    pub(crate) fn start(&mut self, index: usize, follows: Option<usize>, now: Duration) {
        self.end(index, Process::Up);
        let followed = follows.map(|leader| (self.of[leader].timeline, self.of[leader].lsn, self.of[leader].system));
        let server = &mut self.of[index];
        (server.writable, server.follows, server.started) = (follows.is_none(), follows, wall(now));
        if let Some((timeline, lsn, system)) = followed {
            (server.timeline, server.lsn, server.system) = (timeline, lsn, system);
            server.far_behind = false;
        }
    }

    /// A standby begins to take writes; who streamed from it, or from nobody, follows it.
    pub(crate) fn promote(&mut self, index: usize, timeline: u32) {
        let server = &mut self.of[index];
        (server.writable, server.follows, server.timeline) = (true, None, timeline);
    }

    /// The servers that run, stream from nobody and do not take writes find somebody to stream from.
    pub(crate) fn follow(&mut self, leader: usize) {
        let Server {
            timeline, lsn, system, ..
        } = self.of[leader];
        for index in self.indices() {
            let server = &mut self.of[index];
            let fits = server.system == system && server.timeline <= timeline && server.lsn <= lsn;
            if index != leader && !server.writable && fits {
                (server.follows, server.timeline) = (Some(leader), timeline);
            }
        }
    }

    /// Log is written, and streamed.
    pub(crate) fn tick(&mut self, rng: &mut SmallRng) {
        for server in &mut self.of {
            if server.writable && server.process != Process::Down && server.process != Process::Hung {
                server.lsn += rng.random_range(0..0x2_0000);
            }
        }
        for index in self.indices() {
            let Some(leader) = self.of[index].follows else { continue };
            let (from, streams) = (self.of[leader].lsn, self.streams(leader));
            let server = &mut self.of[index];
            if streams && server.process == Process::Up {
                server.lsn = server.lsn.max(from.saturating_sub(rng.random_range(0..0x1000)));
            }
        }
    }

    /// Whether a server still sends its log.
    pub(crate) fn streams(&self, leader: usize) -> bool {
        let leader = &self.of[leader];
        leader.writable && !matches!(leader.process, Process::Down | Process::Hung | Process::Starting)
    }

    /// The highest timeline that any server of the cluster is on.
    pub(crate) fn highest_timeline(&self) -> u32 {
        let of_cluster = self.of.iter().filter(|server| server.system == SYSTEM);
        of_cluster.map(|server| server.timeline).max().unwrap_or(1)
    }

    /// An address that nobody has had before.
    pub(crate) const fn new_address(&mut self) -> u8 {
        self.next_address += 1;
        self.next_address
    }
}
