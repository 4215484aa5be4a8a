//! One throw-away server: made, started, asked, broken, stopped.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Child;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::{Error, Setup, install::Install};
use crate::{
    cluster::process::Process,
    wait::{TimedOut, wait_for},
};

/// Starting, stopping and promoting take well under a second each; on a host that does other things at the same time, some.
const MOVE_LIMIT: Duration = Duration::from_secs(30);

/// What a dropped server may take to end by itself, before it is killed.
const DROP_LIMIT: Duration = Duration::from_secs(5);

/// Ports below the range from which the kernel takes those of outgoing connections, so that none of these is in the way.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The last so many lines of a log are shown with an error.
const LOG_LINES: usize = 12;

/// How PostgreSQL is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Waits for every session to end; new ones are turned away.
    Smart,
    /// Ends every session.
    Fast,
    /// Ends everything where it stands; the next start recovers as after a crash.
    Immediate,
}

/// One PostgreSQL server of the test's own. Its processes and its directory go when it is dropped.
#[derive(Debug)]
pub struct Server {
    install: Install,
    setup: Setup,
    directory: TempDir,
    port: u16,
    postmaster: Option<Postmaster>,
}

#[derive(Debug)]
struct Postmaster {
    child: Child,
    process: Process,
}

impl Server {
    /// A new PostgreSQL cluster, running and writable.
    pub async fn primary(setup: Setup) -> Result<Self, Error> {
        let mut server = Self::new(setup)?;
        let data = path_text(&server.data_directory());
        server
            .install
            .run(
                "initdb",
                &["-D", &data, "-U", "postgres", "-N", "-A", "trust", "-E", "UTF8"],
            )
            .await?;
        server.start().await?;
        Ok(server)
    }

    /// A standby that streams from this server.
    pub async fn standby(&self, setup: Setup) -> Result<Self, Error> {
        let upstream = format!("host=127.0.0.1 port={} user=postgres", self.port);
        let mut standby = Self::new(setup.setting("primary_conninfo", &upstream))?;
        standby.copy_from(self, &["-X", "stream"]).await?;
        standby.start().await?;
        let streaming = "SELECT pid FROM pg_stat_replication WHERE state = 'streaming'";
        self.wait_until("the standby to stream", streaming).await?;
        Ok(standby)
    }

    /// A copy of this server that waits for a log that never comes: it listens, and stays in the state "starting up".
    pub async fn stuck_copy(&self, setup: Setup) -> Result<Self, Error> {
        let mut copy = Self::new(setup)?;
        copy.copy_from(self, &["-X", "none"]).await?;
        copy.spawn()?;
        copy.wait_for_status("starting").await?;
        Ok(copy)
    }

    fn new(setup: Setup) -> Result<Self, Error> {
        let install = Install::find()?;
        let directory = tempfile::Builder::new().prefix("pgsteer-pg-").tempdir();
        let directory = directory.map_err(Error::file("make a directory in", std::env::temp_dir()))?;
        install.hand_over(directory.path())?;
        let server = Self {
            install,
            setup,
            directory,
            port: free_port()?,
            postmaster: None,
        };
        for (path, text) in server.setup.files(server.directory.path()) {
            server.give(&path, &text)?;
        }
        Ok(server)
    }

    /// A copy of another server's data, to be started in recovery.
    async fn copy_from(&self, other: &Self, how: &[&str]) -> Result<(), Error> {
        let (data, port) = (path_text(&self.data_directory()), other.port.to_string());
        let from = [
            "-D",
            &data,
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "postgres",
            "-c",
            "fast",
            "--no-sync",
        ];
        self.install.run("pg_basebackup", &[&from[..], how].concat()).await?;
        self.give(&self.data_directory().join("standby.signal"), "")
    }

    /// Writes a file for the server's eyes alone.
    fn give(&self, path: &Path, text: &str) -> Result<(), Error> {
        fs::write(path, text).map_err(Error::file("write", path))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(Error::file("protect", path))?;
        self.install.hand_over(path)
    }

    /// Starts it, and waits until it takes sessions (a standby: read-only ones).
    pub async fn start(&mut self) -> Result<(), Error> {
        self.spawn()?;
        self.wait_for_status("ready").await
    }

    fn spawn(&mut self) -> Result<(), Error> {
        let path = self.directory.path().join("log");
        let log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(Error::file("open", &path))?;
        let mut command = self.install.command("postgres");
        command.args(
            self.setup
                .arguments(self.directory.path(), &self.data_directory(), self.port),
        );
        command.stdout(Stdio::null()).stderr(log);
        let spawn = |source| Error::Spawn {
            program: "postgres".into(),
            source,
        };
        let child = command.spawn().map_err(spawn)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let process = pid.and_then(Process::find).ok_or_else(|| self.not_running())?;
        self.postmaster = Some(Postmaster { child, process });
        Ok(())
    }

    /// Waits until the postmaster says in its pid file that it is in this state.
    async fn wait_for_status(&mut self, status: &str) -> Result<(), Error> {
        let file = self.data_directory().join("postmaster.pid");
        let Some(Postmaster { child, process }) = &mut self.postmaster else {
            return Err(self.not_running());
        };
        let pid = process.pid.to_string();
        let what = format!("the state {status:?}");
        let waited = wait_for(&what, MOVE_LIMIT, || {
            let ended = child.try_wait().ok().flatten();
            let text = fs::read_to_string(&file).unwrap_or_default();
            let found = text.lines().nth(7).unwrap_or("no state yet").trim().to_owned();
            let own = text.lines().next() == Some(&pid);
            async move {
                match ended {
                    Some(ended) => Ok(Some(ended.to_string())),
                    None if own && found == status => Ok(None),
                    None => Err(found),
                }
            }
        });
        match waited.await {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                self.postmaster = None;
                Err(Error::Ended {
                    directory: self.directory.path().to_owned(),
                    status,
                    log: self.log_tail(),
                })
            }
            Err(source) => Err(self.timed_out(source)),
        }
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(&mut self, how: Shutdown) -> Result<(), Error> {
        self.begin_stop(how)?;
        self.wait_until_ended().await
    }

    /// Asks it to stop.
    pub fn begin_stop(&mut self, how: Shutdown) -> Result<(), Error> {
        self.signal_postmaster(match how {
            Shutdown::Smart => Signal::TERM,
            Shutdown::Fast => Signal::INT,
            Shutdown::Immediate => Signal::QUIT,
        })
    }

    /// Kills the postmaster and waits until its children, which notice, have ended.
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.signal_postmaster(Signal::KILL)?;
        self.wait_until_ended().await
    }

    /// Stops the postmaster in its tracks, and nothing else: sessions that are open go on, new ones get no answer.
    pub fn freeze_postmaster(&mut self) -> Result<(), Error> {
        self.signal_postmaster(Signal::STOP)
    }

    /// Stops every process of it in its tracks, as a frozen node would.
    pub fn freeze(&mut self) -> Result<(), Error> {
        self.freeze_postmaster()?;
        self.signal_children(Signal::STOP)
    }

    /// Lets everything go on.
    pub fn thaw(&mut self) -> Result<(), Error> {
        self.signal_children(Signal::CONT)?;
        self.signal_postmaster(Signal::CONT)
    }

    /// Makes a standby writable, and waits until it is.
    pub async fn promote(&self) -> Result<(), Error> {
        self.sql("SELECT pg_promote(false)").await?;
        self.wait_until("the promotion", "SELECT 1 WHERE NOT pg_is_in_recovery()")
            .await
    }

    /// Runs statements as superuser. The answer is every row of every one of them.
    pub async fn sql(&self, statements: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
        let failed = |source| Error::Sql {
            statement: statements.to_owned(),
            source,
        };
        let mut config = tokio_postgres::Config::new();
        config
            .host_path(self.directory.path())
            .port(self.port)
            .user("postgres")
            .dbname("postgres");
        let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
        let asking = async {
            let messages = client.simple_query(statements).await;
            drop(client);
            messages
        };
        let (messages, driven) = tokio::join!(asking, connection);
        let messages = messages.map_err(failed)?;
        driven.map_err(failed)?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(rows
            .map(|row| (0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
            .collect())
    }

    /// Waits until a query brings at least one row.
    pub async fn wait_until(&self, what: &str, query: &str) -> Result<(), Error> {
        let looked = wait_for(what, MOVE_LIMIT, || async {
            match self.sql(query).await {
                Ok(rows) if !rows.is_empty() => Ok(()),
                Ok(_) => Err(format!("no row of {query}")),
                Err(error) => Err(format!("{error:?}")),
            }
        });
        looked.await.map_err(|source| self.timed_out(source))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Its data.
    pub fn data_directory(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines
            .get(lines.len().saturating_sub(LOG_LINES)..)
            .unwrap_or_default()
            .join(" | ")
    }

    async fn wait_until_ended(&mut self) -> Result<(), Error> {
        let children = self.children();
        let Some(Postmaster { child, .. }) = &mut self.postmaster else {
            return Err(self.not_running());
        };
        let waited = wait_for("every process to end", MOVE_LIMIT, || {
            let left = children.iter().filter(|process| process.is_alive()).count();
            let ended = child.try_wait().ok().flatten().is_some();
            async move {
                if ended && left == 0 {
                    Ok(())
                } else {
                    Err(format!("{left} children are left"))
                }
            }
        });
        waited.await.map_err(|source| self.timed_out(source))?;
        self.postmaster = None;
        Ok(())
    }

    fn signal_postmaster(&self, signal: Signal) -> Result<(), Error> {
        let Some(Postmaster { process, .. }) = &self.postmaster else {
            return Err(self.not_running());
        };
        let was_there = process
            .signal(signal)
            .map_err(Error::file("signal", self.directory.path()))?;
        if was_there { Ok(()) } else { Err(self.not_running()) }
    }

    fn signal_children(&self, signal: Signal) -> Result<(), Error> {
        for child in self.children() {
            // One that has ended meanwhile needs no signal.
            let _was_there: bool = child
                .signal(signal)
                .map_err(Error::file("signal", self.directory.path()))?;
        }
        Ok(())
    }

    fn children(&self) -> Vec<Process> {
        let Some(Postmaster { process, .. }) = &self.postmaster else {
            return Vec::new();
        };
        let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        let all = entries.filter_map(|entry| Process::find(entry.file_name().to_str()?.parse().ok()?));
        all.filter(|other| other.parent == process.pid).collect()
    }

    fn not_running(&self) -> Error {
        Error::NotRunning {
            directory: self.directory.path().to_owned(),
        }
    }

    fn timed_out(&self, source: TimedOut) -> Error {
        Error::TimedOut {
            directory: self.directory.path().to_owned(),
            log: self.log_tail(),
            source,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end_now();
        self.free_shared_memory();
    }
}

impl Server {
    /// An immediate shutdown, and if that takes too long, the end of the postmaster.
    fn end_now(&mut self) {
        if self.thaw().is_err() || self.begin_stop(Shutdown::Immediate).is_err() {
            return; // It is not running.
        }
        let Some(Postmaster { mut child, .. }) = self.postmaster.take() else {
            return;
        };
        let pace = Duration::from_millis(5);
        for _ in 0..DROP_LIMIT.as_millis() / pace.as_millis() {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(pace);
        }
        // Dropped alive, the child is killed.
    }

    /// A postmaster that was killed leaves a segment of shared memory behind, of which the kernel has few to give; a pid file
    /// is left with it and names it.
    fn free_shared_memory(&self) {
        let file = fs::read_to_string(self.data_directory().join("postmaster.pid")).unwrap_or_default();
        let segment = file.lines().nth(6).and_then(|line| line.split_whitespace().nth(1));
        if let Some(segment) = segment.filter(|segment| segment.bytes().all(|b| b.is_ascii_digit())) {
            let freed = std::process::Command::new("ipcrm").args(["-m", segment]).status();
            if !freed.is_ok_and(|status| status.success()) {
                tracing::warn!(segment, "shared memory of a killed server was not freed");
            }
        }
    }
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A port that nobody listens on. Each of a process is tried once; where a process begins differs from process to process.
fn free_port() -> Result<u16, Error> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let len = PORTS.end - PORTS.start;
    // Two processes of a test run have pids close to each other: spread them.
    let first = u16::try_from(std::process::id().wrapping_mul(61) % u32::from(len)).unwrap_or_default();
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (0..len)
        .map(|_| PORTS.start + (first + NEXT.fetch_add(1, Ordering::Relaxed) % len) % len)
        .find(free)
        .ok_or(Error::NoPort {
            first: PORTS.start,
            last: PORTS.end - 1,
        })
}
