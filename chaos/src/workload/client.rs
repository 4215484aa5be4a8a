//! The client's loops: fresh connections, and held sessions.

use std::io;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use tokio::net::{TcpStream, lookup_host};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, timeout};
use tokio_postgres::SimpleQueryRow;

use super::session::{BadAuthority, Login, Session, Tls, told};
use super::{Answerer, Kind, Line, Outcome, SessionKind, WorkloadArgs};
use crate::host_time::HostTime;

/// One attempt, from the look-up of the name to the answer, takes milliseconds. An attempt that hangs longer than this is given up, so
/// that a name that leads nowhere for a while is noticed to lead somewhere again.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(1);

/// The session without a time-out is given up after this long all the same: longer than any fault lasts.
const PATIENCE: Duration = Duration::from_mins(10);

/// Inside a cluster a TCP connection is made within a millisecond, however busy the servers are. One that is not was dropped: a Service
/// without endpoints answers with ICMP messages, of which the kernel sends one client no more than one a second after the first few.
const CONNECT_LIMIT: Duration = Duration::from_millis(250);

/// Attempts under way at once. Two clients together stay well below a server's usual 100 sessions.
const UNDER_WAY_MAX: usize = 25;

/// Who answers, in four columns. A server in recovery refuses to say its timeline as a primary does.
const WHO: &str = "(SELECT system_identifier FROM pg_control_system()), \
    CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint()) \
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END, \
    host(inet_server_addr()), pg_is_in_recovery()";

/// The client cannot begin: its files or its surroundings are wrong.
#[derive(Debug, thiserror::Error)]
pub enum BadStart {
    /// A file cannot be read.
    #[error("could not read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The authority is not one.
    #[error(transparent)]
    Authority(#[from] BadAuthority),
    /// Nobody can be let in there.
    #[error("could not listen on {listen}")]
    Listen {
        /// Where.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The API server's address or the pod's token is not there.
    #[error("no way to the API server from here; this is to run in a pod")]
    Client(#[source] kube::Error),
    /// SIGTERM cannot be listened for.
    #[error("could not listen for SIGTERM")]
    Signal(#[source] std::io::Error),
}

/// Asks again and again, writing a line an answer to standard output, until SIGTERM.
pub async fn run(args: WorkloadArgs) -> Result<(), BadStart> {
    let WorkloadArgs {
        kind,
        host,
        port,
        user,
        database,
        password_file,
        ca_file,
        every,
    } = args;
    let mut password = read(&password_file)?;
    while password.last().is_some_and(u8::is_ascii_whitespace) {
        password.pop();
    }
    let client = Client {
        kind,
        login: Login {
            host,
            address: None,
            port,
            user,
            database,
            password,
            tls: Tls::from_pem(&read(&ca_file)?)?,
        },
        every,
        ids: AtomicU64::new(0),
        lines: AtomicU64::new(0),
    };
    let mut asked_to_end = signal(SignalKind::terminate()).map_err(BadStart::Signal)?;
    let asking = async {
        tokio::join!(
            client.ask_afresh(),
            client.ask_on_held(SessionKind::Kept, ATTEMPT_LIMIT),
            client.ask_on_held(SessionKind::Patient, PATIENCE)
        )
    };
    tokio::select! {
        _ = asked_to_end.recv() => {}
        _ = asking => {}
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, BadStart> {
    std::fs::read(path).map_err(|source| BadStart::File {
        path: path.to_owned(),
        source,
    })
}

struct Client {
    kind: Kind,
    login: Login,
    every: Duration,
    ids: AtomicU64,
    lines: AtomicU64,
}

/// A connection, as far as it has come.
#[derive(Debug, Clone, Copy)]
struct Connection {
    began: HostTime,
    port: Option<u16>,
    opened: Option<HostTime>,
}

impl Connection {
    fn begin() -> Self {
        Self {
            began: HostTime::now(),
            port: None,
            opened: None,
        }
    }
}

impl Client {
    /// One connection an attempt, a new attempt at every beat: one that hangs does not hide that the next would be served.
    async fn ask_afresh(&self) {
        let mut pace = self.pace();
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                _ = pace.tick(), if under_way.len() < UNDER_WAY_MAX => under_way.push(self.attempt()),
                Some(()) = under_way.next() => {}
            }
        }
    }

    async fn attempt(&self) {
        let mut connection = Connection::begin();
        let asked = async {
            let session = self.open(&mut connection).await?;
            Ok((self.ask(&session).await?, session))
        };
        match within(ATTEMPT_LIMIT, asked).await {
            Ok((outcome, session)) => {
                self.print(SessionKind::Fresh, connection, outcome);
                session.close().await;
            }
            Err(error) => self.print(SessionKind::Fresh, connection, failed(error)),
        }
    }

    /// One session as long as it lasts, then the next. A statement that takes longer than `limit` ends it.
    async fn ask_on_held(&self, kind: SessionKind, limit: Duration) {
        let mut pace = self.pace();
        let mut held: Option<(Connection, Session)> = None;
        loop {
            pace.tick().await;
            let opened = match held.take() {
                Some(held) => Some(held),
                None => self.hold(kind).await,
            };
            let Some((connection, session)) = opened else { continue };
            match within(limit, self.ask(&session)).await {
                Ok(outcome) => {
                    self.print(kind, connection, outcome);
                    held = Some((connection, session));
                }
                Err(error) => self.print(kind, connection, failed(error)),
            }
        }
    }

    /// A session to be held.
    async fn hold(&self, kind: SessionKind) -> Option<(Connection, Session)> {
        let mut connection = Connection::begin();
        match within(ATTEMPT_LIMIT, self.open(&mut connection)).await {
            Ok(session) => Some((connection, session)),
            Err(error) => {
                self.print(kind, connection, failed(error));
                None
            }
        }
    }

    /// Looks the name up, connects to the first address that answers, and logs in there, noting how far it came.
    async fn open(&self, connection: &mut Connection) -> Result<Session, String> {
        let stream = self
            .dial(connection)
            .await
            .map_err(|error| format!("could not connect: {error}"))?;
        let session = Session::over(stream, &self.login).await.map_err(|error| told(&error))?;
        connection.opened = Some(HostTime::now());
        Ok(session)
    }

    async fn dial(&self, connection: &mut Connection) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in lookup_host((self.login.host.as_str(), self.login.port)).await? {
            let stream = begin_connection(address)?;
            // It has its port before anybody answers: what is never answered is remembered by the node, too.
            connection.port = stream.local_addr().ok().map(|from| from.port());
            match timeout(CONNECT_LIMIT, connected(stream)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_elapsed) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    fn pace(&self) -> tokio::time::Interval {
        let mut pace = tokio::time::interval(self.every);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pace
    }

    async fn ask(&self, session: &Session) -> Result<Outcome, String> {
        match self.kind {
            Kind::Write => {
                let id = self.ids.fetch_add(1, Ordering::Relaxed) + 1;
                let rows = session
                    .query(&format!("INSERT INTO writes (id) VALUES ({id}) RETURNING {WHO}"))
                    .await
                    .map_err(|error| told(&error))?;
                Ok(answerer(rows.first(), 0).map_or_else(no_answer, |by| Outcome::Written { id, by }))
            }
            Kind::Read => {
                let rows = session
                    .query(&format!("SELECT (SELECT coalesce(max(id), 0) FROM writes), {WHO}"))
                    .await
                    .map_err(|error| told(&error))?;
                let highest = rows
                    .first()
                    .and_then(|row| row.get(0))
                    .and_then(|text| text.parse().ok());
                Ok(highest
                    .zip(answerer(rows.first(), 1))
                    .map_or_else(no_answer, |(highest, by)| Outcome::Read { highest, by }))
            }
        }
    }

    /// Standard output is the pod's log. Nobody to read it is no reason to stop.
    fn print(&self, session: SessionKind, connection: Connection, outcome: Outcome) {
        let Connection { began, port, opened } = connection;
        let mut out = std::io::stdout().lock();
        let line = Line {
            // Numbered under the lock, so that the numbers rise in the log.
            n: self.lines.fetch_add(1, Ordering::Relaxed) + 1,
            at: HostTime::now(),
            began,
            port,
            opened,
            session,
            outcome,
        };
        if let Ok(json) = serde_json::to_string(&line) {
            writeln!(out, "{json}").ok();
        }
    }
}

/// A connection that is under way.
fn begin_connection(to: SocketAddr) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    match net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    TcpStream::from_std(std::net::TcpStream::from(socket))
}

/// The same, once it is there.
async fn connected(stream: TcpStream) -> io::Result<TcpStream> {
    stream.writable().await?;
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What an attempt over its limit and one that failed say.
async fn within<T>(limit: Duration, attempt: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match timeout(limit, attempt).await {
        Ok(ended) => ended,
        Err(_elapsed) => Err(format!("no answer within {}", humantime::format_duration(limit))),
    }
}

fn failed(error: String) -> Outcome {
    Outcome::Failed { error }
}

fn no_answer() -> Outcome {
    failed("the answer is not what was asked for".to_owned())
}

/// Reads [`WHO`] from the columns that begin at `first`.
fn answerer(row: Option<&SimpleQueryRow>, first: usize) -> Option<Answerer> {
    let text = |column: usize| row?.get(first + column);
    Some(Answerer {
        system: text(0)?.to_owned(),
        timeline: text(1)?.parse().ok()?,
        address: text(2)?.to_owned(),
        in_recovery: text(3)? == "t",
    })
}
