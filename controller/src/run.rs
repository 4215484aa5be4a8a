//! `pgsteer run`: puts the parts together, and takes them apart again in the right order.
//!
//! ```text
//! admin endpoint   answers the kubelet and Prometheus
//! elector          contends for the Lease ──> Leadership ──┐
//! reigns           follows, and leads while it may <──────┘
//! ```
//!
//! Each is a task. When one ends unasked, by a panic or otherwise, the whole process ends with an error, so that the Lease
//! moves: half a controller is worse than none. When asked to end, first the leader's loop ends and with it its writes,
//! then the Lease is released, then the rest goes.

mod reigns;
mod task;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kube::{Client, Config};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    admin::Admin,
    chain::Chain,
    clock::{BootClock, Clock},
    election::{self, Elector},
    health::Health,
    metrics::Metrics,
    reign::{self, Context},
    telemetry,
};
use reigns::Reigns;
use task::Task;

/// How long opening a connection to the API server may take.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// How long sending a request may take.
const SEND_MAX: Duration = Duration::from_secs(5);

/// How long the API server may be silent. A watch on which nothing happens is ended by it after 25 s, so this cuts only
/// connections that are dead.
const SILENCE_MAX: Duration = Duration::from_secs(35);

/// How long giving the Lease back may hold up the end; without it the next leader waits out the ttl.
const RELEASE_MAX: Duration = Duration::from_secs(4);

/// How long requests to the admin endpoint may hold up the end.
const ADMIN_END_MAX: Duration = Duration::from_secs(1);

/// What the controller is told.
#[derive(Debug)]
pub struct Settings {
    /// Which Lease to contend for, and as whom.
    pub election: election::Settings,
    /// The namespaces whose routes are looked after; none named: all.
    pub namespaces: Vec<String>,
    /// Where `/livez`, `/readyz` and `/metrics` are.
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
    let clock: Arc<dyn Clock> = Arc::new(BootClock);
    let telemetry = telemetry::init(telemetry, Arc::clone(&clock))?;
    let outcome = serve(election, namespaces, admin_address, clock).await;
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
    clock: Arc<dyn Clock>,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let health = Arc::new(Health::new(Arc::clone(&clock)));
    let metrics = Arc::new(Metrics::new());
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
    let (elector, handle) = Elector::new(config, election, Arc::clone(&clock))?;
    let [stop, stop_elector, stop_admin] = [(); 3].map(|()| CancellationToken::new());
    let context = Context::new(
        client,
        handle.clone(),
        Arc::clone(&clock),
        Arc::clone(&metrics),
        Arc::clone(&health),
        namespaces,
        stop.clone(),
    );
    let context = Arc::new(context);
    let reigns = Reigns {
        leadership: handle.leadership,
        clock,
        health: Arc::clone(&health),
        stop: stop.clone(),
    };
    let lead = move |reign| {
        let context = Arc::clone(&context);
        async move { reign::lead(&context, reign).await }
    };
    let mut parts = Parts {
        reigns: Task::spawn("reigns", reigns.run(lead)),
        elector: Task::spawn("elector", elect(elector, stop_elector.clone())),
        admin: Task::spawn("admin", admin.serve(Arc::clone(&health), metrics, stop_admin.clone())),
    };
    tokio::select! {
        name = signals.next() => info!(signal = name, "asked to end"),
        ended = parts.first_to_end() => return Err(ended.into()),
    }
    health.stops();
    stop.cancel();
    parts.end(&stop_elector, &stop_admin).await
}

async fn elect(elector: Elector, stop: CancellationToken) -> Result<(), std::convert::Infallible> {
    elector.run(stop).await;
    Ok(())
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

/// The tasks of a controller.
struct Parts {
    reigns: Task,
    elector: Task,
    admin: Task,
}

// === impl Parts ===

impl Parts {
    /// How the first task that ends by itself ended.
    async fn first_to_end(&mut self) -> task::Ended {
        tokio::select! {
            ended = self.reigns.ended() => ended,
            ended = self.elector.ended() => ended,
            ended = self.admin.ended() => ended,
        }
    }

    /// Ends them in order: no write is under way any more when the Lease is given back.
    async fn end(self, stop_elector: &CancellationToken, stop_admin: &CancellationToken) -> anyhow::Result<()> {
        self.reigns.end_within(reigns::END_MAX).await?;
        stop_elector.cancel();
        if let Err(error) = self.elector.end_within(RELEASE_MAX).await {
            warn!(error = %Chain(&error), "the lease may not have been released: the next leader waits out the ttl");
        }
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
