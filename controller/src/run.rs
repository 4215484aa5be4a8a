//! `pgsteer run`: puts the parts together, and takes them apart again in the right order.
//!
//! ```text
//! admin endpoint   answers the kubelet, Prometheus, and people
//! elector          contends for the Lease ──> Leadership ──┐
//! reigns           follows, and leads while it may <──────┘
//! ```
//!
//! Each is a task. When one ends unasked, by a panic or otherwise, the whole process ends with an error, so that the Lease
//! moves: half a controller is worse than none. When asked to end, first the leader's loop ends and with it its writes,
//! then the Lease is released, then the rest goes.

mod open_files;
mod reigns;
mod replica;
mod task;

pub use replica::Replica;
pub use task::Ended;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kube::{Client, Config};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    admin::Admin,
    chain::Chain,
    election::{self, Elector},
    host::Host,
    shown::Shown,
    telemetry,
    watchdog::{self, STUCK_MAX},
};
use task::Task;

/// How long opening a connection to the API server may take.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// How long sending a request may take.
const SEND_MAX: Duration = Duration::from_secs(5);

/// How long the API server may be silent. A watch on which nothing happens is ended by it after 25 s, so this cuts only
/// connections that are dead.
const SILENCE_MAX: Duration = Duration::from_secs(35);

/// How long requests to the admin endpoint may hold up the end.
const ADMIN_END_MAX: Duration = Duration::from_secs(1);

/// What the controller is told.
#[derive(Debug)]
pub struct Settings {
    /// Which Lease to contend for, and as whom.
    pub election: election::Settings,
    /// The namespaces whose routes are looked after; none named: all.
    pub namespaces: Vec<String>,
    /// Where `/livez`, `/readyz`, `/metrics` and `/api/v1` are.
    pub admin_address: SocketAddr,
    /// Logs and traces.
    pub telemetry: telemetry::Settings,
}

/// SIGTERM, from the kubelet, and SIGINT, from a person.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// Runs until a signal asks to end; an error when it cannot start, or when one of its parts ends by itself.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let Settings {
        election,
        namespaces,
        admin_address,
        telemetry,
    } = settings;
    let mut host = Host::real();
    let telemetry = telemetry::init(telemetry, Arc::clone(&host.clock))?;
    host.tracer = telemetry.tracer();
    let outcome = serve(election, namespaces, admin_address, &host).await;
    match &outcome {
        Ok(()) => info!("pgsteer ended"),
        Err(error) => error!(error = %Chain(error.as_ref()), "pgsteer ended"),
    }
    telemetry.shutdown().await;
    outcome
}

async fn serve(
    election: election::Settings,
    namespaces: Vec<String>,
    admin_address: SocketAddr,
    host: &Host,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    open_files::allow_all();
    let shown = Shown::new(Arc::clone(&host.clock));
    watchdog::start(Arc::clone(&shown.health), Arc::clone(&host.clock), STUCK_MAX)?;
    let admin = Admin::bind(admin_address).await?;
    let config = bounded(Config::infer().await?);
    let client = Client::try_from(config.clone())?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        identity = election.identity(),
        lease = format!("{}/{}", election.namespace(), election.lease_name()),
        api_server = %config.cluster_url,
        admin = %admin.address()?,
        namespaces = if namespaces.is_empty() { "all".to_owned() } else { namespaces.join(",") },
        "pgsteer started"
    );
    let identity = election.identity().to_owned();
    let elected = Elector::new(config, election, Arc::clone(&host.clock))?;
    let stop_admin = CancellationToken::new();
    let mut parts = Parts {
        replica: Replica::start(client, elected, host, &shown, namespaces),
        admin: Task::spawn("admin", &host.gate, admin.serve(shown, identity, stop_admin.clone())),
    };
    tokio::select! {
        name = signals.next() => info!(signal = name, "asked to end"),
        ended = parts.first_to_end() => return Err(ended.into()),
    }
    parts.end(&stop_admin).await
}

/// A client that waits no longer than this, and repeats nothing by itself: what was refused for good reason, or may have
/// been carried out, is decided anew.
const fn bounded(mut config: Config) -> Config {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_MAX);
    config.write_timeout = Some(SEND_MAX);
    config.read_timeout = Some(SILENCE_MAX);
    config
}

/// The parts of a controller.
struct Parts {
    replica: Replica,
    admin: Task,
}

// === impl Parts ===

impl Parts {
    /// How the first part that ends by itself ended.
    async fn first_to_end(&mut self) -> Ended {
        tokio::select! {
            ended = self.replica.ended() => ended,
            ended = self.admin.ended() => ended,
        }
    }

    /// Ends them in order: people and the kubelet are answered to the last.
    async fn end(self, stop_admin: &CancellationToken) -> anyhow::Result<()> {
        self.replica.end().await?;
        stop_admin.cancel();
        if let Err(error) = self.admin.end_within(ADMIN_END_MAX).await {
            warn!(error = %Chain(&error), "requests to the admin endpoint were cut off");
        }
        Ok(())
    }
}

// === impl Signals ===

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
