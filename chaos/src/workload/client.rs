//! The client's loops: fresh connections, and held sessions.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
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
        listen: std::net::SocketAddr,
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

/// A session that is held.
struct Held {
    began: HostTime,
    opened: HostTime,
    session: Session,
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
        let began = HostTime::now();
        let mut opened = None;
        let asked = async {
            let session = Session::open(&self.login, CONNECT_LIMIT).await?;
            opened = Some(HostTime::now());
            Ok((self.ask(&session).await?, session))
        };
        match within(ATTEMPT_LIMIT, asked).await {
            Ok((outcome, session)) => {
                self.print(SessionKind::Fresh, began, opened, outcome);
                session.close().await;
            }
            Err(error) => self.print(SessionKind::Fresh, began, opened, failed(error)),
        }
    }

    /// One session as long as it lasts, then the next. A statement that takes longer than `limit` ends it.
    async fn ask_on_held(&self, kind: SessionKind, limit: Duration) {
        let mut pace = self.pace();
        let mut held: Option<Held> = None;
        loop {
            pace.tick().await;
            let opened = match held.take() {
                Some(held) => Some(held),
                None => self.open(kind).await,
            };
            let Some(session) = opened else { continue };
            let (began, opened) = (session.began, Some(session.opened));
            match within(limit, self.ask(&session.session)).await {
                Ok(outcome) => {
                    self.print(kind, began, opened, outcome);
                    held = Some(session);
                }
                Err(error) => self.print(kind, began, opened, failed(error)),
            }
        }
    }

    /// A session to be held.
    async fn open(&self, kind: SessionKind) -> Option<Held> {
        let began = HostTime::now();
        match within(ATTEMPT_LIMIT, Session::open(&self.login, CONNECT_LIMIT)).await {
            Ok(session) => Some(Held {
                began,
                opened: HostTime::now(),
                session,
            }),
            Err(error) => {
                self.print(kind, began, None, failed(error));
                None
            }
        }
    }

    fn pace(&self) -> tokio::time::Interval {
        let mut pace = tokio::time::interval(self.every);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pace
    }

    async fn ask(&self, session: &Session) -> Result<Outcome, tokio_postgres::Error> {
        match self.kind {
            Kind::Write => {
                let id = self.ids.fetch_add(1, Ordering::Relaxed) + 1;
                let rows = session
                    .query(&format!("INSERT INTO writes (id) VALUES ({id}) RETURNING {WHO}"))
                    .await?;
                Ok(answerer(rows.first(), 0).map_or_else(no_answer, |by| Outcome::Written { id, by }))
            }
            Kind::Read => {
                let rows = session
                    .query(&format!("SELECT (SELECT coalesce(max(id), 0) FROM writes), {WHO}"))
                    .await?;
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
    fn print(&self, session: SessionKind, began: HostTime, opened: Option<HostTime>, outcome: Outcome) {
        let mut out = std::io::stdout().lock();
        let line = Line {
            // Numbered under the lock, so that the numbers rise in the log.
            n: self.lines.fetch_add(1, Ordering::Relaxed) + 1,
            at: HostTime::now(),
            began,
            opened,
            session,
            outcome,
        };
        if let Ok(json) = serde_json::to_string(&line) {
            writeln!(out, "{json}").ok();
        }
    }
}

/// What an attempt over its limit and one that failed say.
async fn within<T>(
    limit: Duration,
    attempt: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, attempt).await {
        Ok(ended) => ended.map_err(|error| told(&error)),
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
