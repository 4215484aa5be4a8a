//! How the simulated servers answer the probe: in PostgreSQL's words, which the shipped code reads.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use controller::servers::{self, Kept, Opened};
use futures::{FutureExt as _, future::BoxFuture};
use probe::{News, Phase, ProbeError, Pulse, Report, Standing, Target, question};
use rand::RngExt as _;

use super::{
    faults::Fault,
    judge::Heard,
    postgres::{Process, Server},
    world::Sim,
};

/// The way to the servers from one replica.
pub(crate) struct HostServers {
    pub(crate) sim: Arc<Sim>,
    pub(crate) host: usize,
    pub(crate) life: u32,
}

/// A kept connection.
struct HostSession {
    sim: Arc<Sim>,
    number: u64,
    host: usize,
    life: u32,
    address: u8,
    server: usize,
    incarnation: u64,
}

/// How it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Fresh,
    /// By a fresh connection that goes no further than the door: nothing of the answer is read.
    Knock,
    Kept,
    /// Whether an earlier answer still holds; nothing else of the answer is read.
    Pulse,
}

/// What a server says, and as which postmaster.
struct Answered {
    report: Report,
    server: usize,
    incarnation: u64,
}

impl fmt::Debug for HostServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostServers")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

// === impl HostServers ===

impl servers::Servers for HostServers {
    fn ask<'a>(&'a self, target: &'a Target, deadline: Duration) -> BoxFuture<'a, Result<Report, ProbeError>> {
        async move {
            let answered = self.fresh(target.address, How::Fresh, deadline).await?;
            Ok(answered.report)
        }
        .boxed()
    }

    fn knock<'a>(&'a self, target: &'a Target, deadline: Duration) -> BoxFuture<'a, Result<(), ProbeError>> {
        async move { self.fresh(target.address, How::Knock, deadline).await.map(drop) }.boxed()
    }

    fn open<'a>(&'a self, target: &'a Target, deadline: Duration) -> BoxFuture<'a, Result<Opened, ProbeError>> {
        async move {
            let Answered {
                report,
                server,
                incarnation,
            } = self.fresh(target.address, How::Fresh, deadline).await?;
            let session = HostSession {
                sim: Arc::clone(&self.sim),
                number: self.sim.world().servers.number(),
                host: self.host,
                life: self.life,
                address: last_of(target.address.ip()),
                server,
                incarnation,
            };
            let kept: Box<dyn Kept> = Box::new(session);
            Ok((kept, report))
        }
        .boxed()
    }
}

impl HostServers {
    async fn fresh(&self, address: SocketAddr, how: How, deadline: Duration) -> Result<Answered, ProbeError> {
        let (sim, address) = (&self.sim, last_of(address.ip()));
        question(sim, self.host, self.life, address, how, None, deadline).await
    }
}

fn last_of(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(_) => 0,
    }
}

/// Asks whoever answers at an address, and tells the judge what was heard.
async fn question(
    sim: &Arc<Sim>,
    host: usize,
    life: u32,
    address: u8,
    how: How,
    of: Option<(usize, u64)>,
    deadline: Duration,
) -> Result<Answered, ProbeError> {
    let way = {
        let mut world = sim.world();
        let asked = of
            .map(|(server, _)| server)
            .or(world.servers.addresses.get(&address).copied());
        let slow = asked.map_or(Duration::ZERO, |server| world.servers.slow[server]);
        if !slow.is_zero() {
            world.fault(Fault::ServerSlow);
            slow.mul_f64(world.rng.random_range(0.3..1.2))
        } else if matches!(how, How::Fresh | How::Knock) {
            Duration::from_micros(world.rng.random_range(300..3_000))
        } else {
            Duration::ZERO
        }
    };
    if way >= deadline {
        pass(deadline).await;
        return hear(
            sim,
            host,
            life,
            of.map(|(server, _)| server),
            address,
            how,
            Err(silence(Phase::Login)),
        );
    }
    if !way.is_zero() {
        pass(way / 2).await;
    }
    let answer = asked_now(sim, host, address, how, of);
    match &answer {
        Err(ProbeError::TimedOut { .. }) => pass(deadline.saturating_sub(way / 2)).await,
        _ if !way.is_zero() => pass(way / 2).await,
        _ => {}
    }
    hear(sim, host, life, of.map(|(server, _)| server), address, how, answer)
}

/// What the server says at this moment.
fn asked_now(
    sim: &Arc<Sim>,
    host: usize,
    address: u8,
    how: How,
    of: Option<(usize, u64)>,
) -> Result<Answered, ProbeError> {
    let world = sim.world();
    let servers = &world.servers;
    let reached = match of {
        Some((server, incarnation)) if servers.of[server].incarnation != incarnation => {
            return Err(ProbeError::Lost {
                reason: "the session is over".to_owned(),
            });
        }
        Some((server, _)) => Some(server).filter(|server| !servers.cut[host][*server]),
        None => servers.reached(host, address),
    };
    let Some(index) = reached else {
        return Err(silence(Phase::Connect));
    };
    let server = &servers.of[index];
    match (server.process, how) {
        (Process::Down, _) => return Err(ProbeError::Refused),
        (Process::Hung, _) | (Process::HungPostmaster, How::Fresh | How::Knock) => return Err(silence(Phase::Login)),
        (Process::Starting, How::Fresh | How::Knock) => return Err(said_no("57P03")),
        (Process::Full, How::Fresh | How::Knock) => return Err(said_no("53300")),
        (Process::Starting, How::Kept | How::Pulse) => {
            return Err(ProbeError::Lost {
                reason: "the session is over".to_owned(),
            });
        }
        (Process::Up, _) | (Process::HungPostmaster | Process::Full, How::Kept | How::Pulse) => {}
    }
    let row = Row::of(
        server,
        servers.monitors,
        server.follows.is_some_and(|leader| servers.streams(leader)),
    );
    let standing = if server.writable {
        Standing::Writable
    } else {
        Standing::InRecovery
    };
    let reported = servers.reports.then_some(standing);
    let unread = || ProbeError::Answer {
        reason: "a promotion fell into the answer".to_owned(),
    };
    let answer = question::read(|name| row.column(name), reported)?.ok_or_else(unread)?;
    let mut report = answer.report;
    if answer.files_may_tell {
        report.timeline = question::read_files(|name| row.column(name), report.timeline)?.ok_or_else(unread)?;
    }
    Ok(Answered {
        report,
        server: index,
        incarnation: server.incarnation,
    })
}

/// The judge keeps what a replica has heard.
fn hear(
    sim: &Arc<Sim>,
    host: usize,
    life: u32,
    of: Option<usize>,
    address: u8,
    how: How,
    answer: Result<Answered, ProbeError>,
) -> Result<Answered, ProbeError> {
    let mut guard = sim.world();
    let world = &mut *guard;
    let server = of.or(world.servers.addresses.get(&address).copied());
    let heard = match &answer {
        Ok(answered) => {
            let writable = answered.report.standing == Standing::Writable;
            match how {
                How::Fresh | How::Kept => Heard::Answer { writable },
                How::Pulse => Heard::Beat { writable },
                How::Knock => Heard::Nothing,
            }
        }
        Err(ProbeError::Refused) => Heard::Down,
        Err(ProbeError::Sqlstate { code, .. }) if code == "57P03" => Heard::Down,
        Err(_) => Heard::Nothing,
    };
    if let Some(server) = server {
        super::judge::heard(world, (host, life), server, address, heard);
    }
    answer
}

fn silence(phase: Phase) -> ProbeError {
    ProbeError::TimedOut { phase }
}

fn said_no(code: &str) -> ProbeError {
    ProbeError::Sqlstate {
        code: code.to_owned(),
        message: "not now".to_owned(),
    }
}

/// Lets time pass.
async fn pass(span: Duration) {
    drop(tokio::time::timeout(span, std::future::pending::<()>()).await);
}

/// The row that a server sends.
struct Row {
    in_recovery: &'static str,
    system: String,
    wal_file: String,
    timeline: String,
    lsn: String,
    started: String,
    receives: bool,
    monitors: bool,
}

impl Row {
    fn of(server: &Server, monitors: bool, receives: bool) -> Self {
        let (high, low) = (server.lsn >> 32, server.lsn & 0xffff_ffff);
        Self {
            in_recovery: if server.writable { "f" } else { "t" },
            system: server.system.cast_signed().to_string(),
            wal_file: format!("{:08X}{high:08X}{:08X}", server.timeline, low >> 24),
            timeline: server.timeline.to_string(),
            lsn: format!("{high:X}/{low:X}"),
            started: server.started.as_microsecond().to_string(),
            receives: receives && !server.writable,
            monitors,
        }
    }

    fn column(&self, name: &str) -> Option<&str> {
        let yes = |truth: bool| if truth { "t" } else { "f" };
        let writable = self.in_recovery == "f";
        match name {
            "in_recovery" => Some(self.in_recovery),
            "system_identifier" => Some(&self.system),
            // Asked of a standby it is the newest file there; of a writable server the one that it writes.
            "wal_file" => Some(&self.wal_file),
            "control_timeline" => (!writable).then_some(&self.timeline),
            "lsn" => Some(&self.lsn),
            "receiver_runs" => Some(yes(self.receives)),
            "received_lsn" => self.receives.then_some(&self.lsn),
            "received_timeline" => (self.receives && self.monitors).then_some(&self.timeline),
            "message_age_us" => (self.receives && self.monitors).then_some("1000"),
            "started_us" => Some(&self.started),
            "data_directory" => Some("/data/pgdata"),
            "server_version_num" => Some("150014"),
            "may_list_wal" => Some(yes(self.monitors)),
            _ => None,
        }
    }
}

// === impl HostSession ===

impl HostSession {
    async fn asked(&self, how: How, deadline: Duration) -> Result<Answered, ProbeError> {
        let of = Some((self.server, self.incarnation));
        question(&self.sim, self.host, self.life, self.address, how, of, deadline).await
    }
}

impl HostSession {
    /// The answer to a pulse that nothing stands in the way of.
    fn beat(&self) -> Option<Pulse> {
        let mut guard = self.sim.world();
        let world = &mut *guard;
        let server = &world.servers.of[self.server];
        let well = server.process == Process::Up
            && server.incarnation == self.incarnation
            && world.servers.slow[self.server].is_zero()
            && !world.servers.cut[self.host][self.server];
        if !well {
            return None;
        }
        let standing = if server.writable {
            Standing::Writable
        } else {
            Standing::InRecovery
        };
        let writable = server.writable;
        let by = (self.host, self.life);
        super::judge::heard(world, by, self.server, self.address, Heard::Beat { writable });
        let standing = world.servers.reports.then_some(standing);
        Some(Pulse { standing })
    }
}

impl Kept for HostSession {
    fn ask(&mut self, deadline: Duration) -> BoxFuture<'_, Result<Report, ProbeError>> {
        async move { self.asked(How::Kept, deadline).await.map(|answered| answered.report) }.boxed()
    }

    fn pulse(&mut self, deadline: Duration) -> BoxFuture<'_, Result<Pulse, ProbeError>> {
        async move {
            // Most pulses find a server that is there and says at once what it said before.
            if let Some(pulse) = self.beat() {
                return Ok(pulse);
            }
            let answered = self.asked(How::Pulse, deadline).await?;
            let standing = answered.report.hot_standby_reported.then_some(answered.report.standing);
            Ok(Pulse { standing })
        }
        .boxed()
    }

    fn news(&mut self) -> BoxFuture<'_, News> {
        std::future::poll_fn(|cx| {
            let mut guard = self.sim.world();
            let servers = &mut guard.servers;
            if servers.of[self.server].incarnation != self.incarnation {
                return Poll::Ready(News::Ended(ProbeError::Lost {
                    reason: "the server closed it".to_owned(),
                }));
            }
            servers.await_end(self.number, self.server, self.incarnation, cx.waker());
            Poll::Pending
        })
        .boxed()
    }
}

impl Drop for HostSession {
    fn drop(&mut self) {
        self.sim.world().servers.forget_session(self.number);
    }
}
