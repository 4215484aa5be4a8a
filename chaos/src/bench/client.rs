//! `chaos bench-client`: waits in a pod for whoever measures, and then connects anew again and again, through the name that it is told,
//! with a committed row each time, until the one who asked hangs up. Idle, it does nothing.
//!
//! ```text
//! Ask (a line of JSON) ──> look up ─> connect ─> TLS, SCRAM ─> INSERT … RETURNING ──> Attempt (a line of JSON)
//! ```

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::MissedTickBehavior;

use super::attempt::{Ask, Attempt};
use crate::host_time::HostTime;
use crate::interrupt::interrupted;
use crate::workload::BadStart;
use crate::workload::session::{Login, Session, Tls, told};

/// An attempt that hangs longer is given up: the next ones are under way already.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(1);
/// Inside a cluster a TCP connection is made within a millisecond, or was dropped.
const CONNECT_LIMIT: Duration = Duration::from_millis(250);
/// Attempts under way at once; a server of the examples has a hundred places.
const UNDER_WAY_MAX: usize = 25;
/// An ask is a short line.
const ASK_BYTES_MAX: usize = 4096;

/// How the client of a measurement logs in.
#[derive(Debug, Clone, Args)]
pub struct BenchClientArgs {
    /// Where to wait for whoever measures.
    #[arg(long, default_value = "0.0.0.0:7000")]
    pub listen: SocketAddr,
    /// Role to log in as.
    #[arg(long, default_value = "app")]
    pub user: String,
    /// Database.
    #[arg(long, default_value = "app")]
    pub database: String,
    /// File with the password.
    #[arg(long)]
    pub password_file: PathBuf,
    /// File with the certificate authority of the servers.
    #[arg(long)]
    pub ca_file: PathBuf,
}

/// What everybody who logs in from a pod is given.
pub(super) struct Credentials {
    user: String,
    database: String,
    password: Vec<u8>,
    tls: Tls,
}

impl Credentials {
    pub(super) fn read(user: String, database: String, password: &Path, authority: &Path) -> Result<Self, BadStart> {
        let file = |path: &Path| {
            std::fs::read(path).map_err(|source| BadStart::File {
                path: path.to_owned(),
                source,
            })
        };
        Ok(Self {
            user,
            database,
            password: file(password)?.trim_ascii_end().to_vec(),
            tls: Tls::from_pem(&file(authority)?)?,
        })
    }

    /// The login to a server at an address, whose certificate carries this name.
    pub(super) fn login(&self, certificate: &str, address: SocketAddr) -> Login {
        Login {
            host: certificate.to_owned(),
            address: Some(address.ip()),
            port: address.port(),
            user: self.user.clone(),
            database: self.database.clone(),
            password: self.password.clone(),
            tls: self.tls.clone(),
        }
    }
}

/// Serves one measurement after the other, until SIGTERM.
pub async fn run(args: BenchClientArgs) -> Result<(), BadStart> {
    let BenchClientArgs {
        listen,
        user,
        database,
        password_file,
        ca_file,
    } = args;
    let credentials = Credentials::read(user, database, &password_file, &ca_file)?;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|source| BadStart::Listen { listen, source })?;
    let serving = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Err(error) = serve(stream, &credentials).await {
                        tracing::debug!(%error, "a measurement ended");
                    }
                }
                Err(error) => tracing::warn!(%error, "nobody could be let in"),
            }
        }
    };
    tokio::select! {
        () = serving => {}
        () = interrupted() => {}
    }
    Ok(())
}

async fn serve(stream: TcpStream, credentials: &Credentials) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (near, mut far) = stream.into_split();
    let mut near = BufReader::with_capacity(ASK_BYTES_MAX, near);
    let mut asked = String::new();
    near.read_line(&mut asked).await?;
    let ask: Ask = serde_json::from_str(&asked)?;
    let mut pace = tokio::time::interval(Duration::from_millis(ask.every_millis.max(1)));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut under_way = FuturesUnordered::new();
    let mut farewell = String::new();
    loop {
        tokio::select! {
            _ = pace.tick(), if under_way.len() < UNDER_WAY_MAX => under_way.push(attempt(&ask, credentials)),
            Some(attempt) = under_way.next() => {
                let mut line = serde_json::to_vec(&attempt)?;
                line.push(b'\n');
                far.write_all(&line).await?;
            }
            // Whoever asked says nothing more until he hangs up.
            _ = near.read_line(&mut farewell) => return Ok(()),
        }
    }
}

async fn attempt(ask: &Ask, credentials: &Credentials) -> Attempt {
    let began = HostTime::now();
    let ended = match tokio::time::timeout(ATTEMPT_LIMIT, write(ask, credentials)).await {
        Ok(ended) => ended,
        Err(_elapsed) => Err("no answer".to_owned()),
    };
    let at = HostTime::now();
    match ended {
        Ok(by) => Attempt {
            began,
            at,
            by: Some(by),
            error: None,
        },
        Err(error) => Attempt {
            began,
            at,
            by: None,
            error: Some(error),
        },
    }
}

/// One committed row; who has it.
async fn write(ask: &Ask, credentials: &Credentials) -> Result<String, String> {
    let found = lookup_host((ask.name.as_str(), ask.port))
        .await
        .map_err(|error| error.to_string())?;
    // The address family of the servers' pods; a name may have others.
    let addresses: Vec<SocketAddr> = found.filter(|address| matches!(address.ip(), IpAddr::V4(_))).collect();
    let mut last = format!("{} has no address", ask.name);
    for address in addresses {
        match write_at(ask, &credentials.login(&ask.certificate, address)).await {
            Ok(by) => return Ok(by),
            Err(error) => last = error,
        }
        if !ask.is_choosy {
            break;
        }
    }
    Err(last)
}

async fn write_at(ask: &Ask, login: &Login) -> Result<String, String> {
    let failed = |error: tokio_postgres::Error| told(&error);
    let session = Session::open(login, CONNECT_LIMIT).await.map_err(failed)?;
    if ask.is_choosy {
        // What libpq asks for `read-write`.
        let rows = session.query("SHOW transaction_read_only").await.map_err(failed)?;
        if rows.first().and_then(|row| row.get(0)) != Some("off") {
            return Err("read only".to_owned());
        }
    }
    let rows = session.query(INSERT).await.map_err(failed)?;
    let by = rows.first().and_then(|row| row.get(0)).map(str::to_owned);
    session.close().await;
    by.ok_or_else(|| "no row".to_owned())
}

/// The table of the attempts; whoever measures has made it.
pub(super) const TABLE: &str = "bench";
const INSERT: &str = "INSERT INTO bench DEFAULT VALUES RETURNING host(inet_server_addr())";
