//! A replica: the shipped code on a simulated host.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::AtomicI64},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use controller::{
    clock::Clock as _,
    election::{Elector, Settings, identity},
    host,
    run::Replica,
    shown::Shown,
    tasks,
    trace::Tracer,
};
use futures::FutureExt as _;
use http::{Method, Response};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body as RequestBody};
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service};

use super::{
    api_server::{Kind, Request, Verb},
    flight::{self, Flight, Got},
    host::{AtPoll, HostChance, HostClock, HostGate},
    objects,
    session::HostServers,
    story::Beat,
    watches::Body,
    world::{Event, Sim, World},
};

/// The namespace of the Lease.
const LEASE_NAMESPACE: &str = "pgsteer";

/// One host and the replica on it.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) clock: Arc<HostClock>,
    /// How many processes there have been on it.
    pub(crate) life: u32,
    pub(crate) running: Option<Running>,
    /// Until when it does not reach the API server.
    pub(crate) cut_until: Duration,
    /// Something befalls it when it has sent so many writes more.
    pub(crate) write_trap: Option<(u32, AtPoll)>,
    /// What a process that stands still has handed over and not sent.
    pub(crate) held: Vec<Flight>,
    numbered: u64,
    answered: u64,
}

/// A process.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) identity: String,
    pub(crate) gate: Arc<HostGate>,
    pub(crate) stop: CancellationToken,
    task: AbortHandle,
}

/// The way of one process to the API server.
#[derive(Debug, Clone)]
struct Transport {
    sim: Arc<Sim>,
    host: usize,
    life: u32,
    clock: Arc<HostClock>,
}

// === impl Host ===

impl Host {
    /// A host without a process yet.
    pub(crate) fn new(sim: &Sim, world: &mut World) -> Self {
        let clock = HostClock {
            began: sim.began,
            up: Duration::from_secs(world.rng.random_range(100..100_000)),
            rate: world.rng.random_range(985..=1015),
            skew_seconds: AtomicI64::new(world.rng.random_range(-3600..=3600)),
        };
        Self {
            clock: Arc::new(clock),
            life: 0,
            running: None,
            cut_until: Duration::ZERO,
            write_trap: None,
            held: Vec::new(),
            numbered: 0,
            answered: 0,
        }
    }

    /// Whether its process is stopped.
    pub(crate) fn stands_still(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.gate.is_open())
    }

    /// The number of the next request.
    pub(crate) const fn sent(&mut self) -> u64 {
        self.numbered += 1;
        self.numbered
    }

    /// An answer is there; whether it was overtaken by one to a later request.
    pub(crate) fn answered(&mut self, number: u64) -> bool {
        let overtaken = number < self.answered;
        self.answered = self.answered.max(number);
        overtaken
    }
}

/// Starts a process on a host that has none.
pub(crate) fn start(sim: &Arc<Sim>, world: &mut World, index: usize) {
    if world.hosts[index].running.is_some() {
        return;
    }
    world.hosts[index].life += 1;
    let (life, clock) = (world.hosts[index].life, Arc::clone(&world.hosts[index].clock));
    let identity = identity(&format!("pgsteer-{index}"), world.rng.random());
    let put_off = world.story.put_off;
    let (stirred, standstill) = (Arc::clone(&sim.stirred), Arc::clone(&sim.standstill));
    let gate = Arc::new(HostGate::new(world.rng.random(), put_off, stirred, standstill));
    let host = host::Host {
        clock: Arc::<HostClock>::clone(&clock),
        chance: Arc::new(HostChance::new(world.rng.random())),
        servers: Arc::new(HostServers {
            sim: Arc::clone(sim),
            host: index,
            life,
        }),
        gate: Arc::<HostGate>::clone(&gate),
        tracer: Tracer::default(),
    };
    let transport = Transport {
        sim: Arc::clone(sim),
        host: index,
        life,
        clock,
    };
    let settings = Settings::new(LEASE_NAMESPACE, "pgsteer", &identity, world.story.ttl);
    let settings = settings.expect("settings that are sound");
    let client = Client::new(transport.clone(), objects::NAMESPACE);
    let watch = Client::new(transport.clone(), LEASE_NAMESPACE);
    let elected = Elector::with_transport(transport, watch, settings, Arc::clone(&host.clock));
    let shown = Shown::new(Arc::<HostClock>::clone(&world.hosts[index].clock));
    let replica = Replica::start(client, elected, &host, &shown, Vec::new());
    let stop = CancellationToken::new();
    let life_of_it = supervise(Arc::clone(sim), index, life, replica, stop.clone());
    let task = sim.spawn(tasks::behind(Arc::clone(&host.gate), life_of_it));
    world.trace.line(world.now, &[3, index as u64], || {
        format!("replica {index} starts as {identity}")
    });
    world.hosts[index].running = Some(Running {
        identity,
        gate,
        stop,
        task,
    });
}

/// What the container's entry point does: it waits for a signal, or for the end that must not come.
async fn supervise(sim: Arc<Sim>, host: usize, life: u32, mut replica: Replica, stop: CancellationToken) {
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => {
            // One that was stopped meanwhile may be late.
            replica.end().await.ok();
            None
        }
        ended = replica.ended() => Some(ended),
    };
    let mut guard = sim.world();
    let world = &mut *guard;
    if let Some(ended) = ended {
        super::judge::ended(world, host, &ended);
    }
    let after = world.span(300, 2_000);
    if world.hosts[host].life == life {
        world.hosts[host].running = None;
        sim.plan(world, after, Event::Story(Beat::Start { host }));
    }
}

/// Ends a process between one instruction and the next.
pub(crate) fn crash(sim: &Arc<Sim>, world: &mut World, host: usize) {
    let Some(running) = world.hosts[host].running.take() else {
        return;
    };
    running.gate.kill();
    running.task.abort();
    world.hosts[host].write_trap = None;
    world.hosts[host].held.clear();
    world
        .trace
        .line(world.now, &[4, host as u64], || format!("replica {host} is gone"));
    let after = world.span(300, 4_000);
    sim.plan(world, after, Event::Story(Beat::Start { host }));
}

// === impl Transport ===

impl Service<http::Request<RequestBody>> for Transport {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<RequestBody>) -> Self::Future {
        let mut request = understood(request);
        if request.kind == Kind::Lease {
            self.date(&mut request.body);
        }
        let answer = flight::send(&self.sim, self.host, self.life, request);
        async move {
            match answer.await {
                Ok(Got::Reply(status, body)) => Ok(Response::builder().status(status).body(body)?),
                Ok(Got::Broken) | Err(_) => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
            }
        }
        .boxed()
    }
}

impl Transport {
    /// The election library reads the wall clock by itself; what it writes is dated by the simulated one.
    fn date(&self, body: &mut Value) {
        let now = format!("{:.6}", self.clock.wall());
        for field in ["acquireTime", "renewTime"] {
            if let Some(time) = body
                .pointer_mut(&format!("/spec/{field}"))
                .filter(|time| time.is_string())
            {
                *time = json!(now);
            }
        }
    }
}

/// Reads a request as the API server does.
fn understood(request: http::Request<RequestBody>) -> Request {
    let (parts, body) = request.into_parts();
    let bytes = body
        .collect()
        .now_or_never()
        .and_then(Result::ok)
        .map_or_else(Bytes::new, http_body_util::Collected::to_bytes);
    let path: Vec<&str> = parts.uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let rest = match path.first() {
        Some(&"api") => path.get(2..),
        _ => path.get(3..),
    };
    let rest = rest.unwrap_or_default();
    let rest = if rest.first() == Some(&"namespaces") {
        rest.get(2..).unwrap_or_default()
    } else {
        rest
    };
    let query = parts.uri.query().unwrap_or_default();
    let asked = |key: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    };
    let named = asked("fieldSelector").and_then(|field| field.rsplit_once("%3D").or_else(|| field.rsplit_once('=')));
    let name = rest.get(1).copied().or_else(|| named.map(|(_, name)| name));
    let verb = match parts.method {
        Method::POST => Verb::Create,
        Method::PATCH => Verb::Patch {
            status: rest.get(2) == Some(&"status"),
        },
        _ if asked("watch").is_some() => Verb::Watch {
            since: asked("resourceVersion")
                .and_then(|version| version.parse().ok())
                .unwrap_or_default(),
        },
        _ if rest.len() > 1 => Verb::Get,
        _ => Verb::List,
    };
    let resource = rest.first().copied().unwrap_or_default();
    let kind = kind_of(resource).expect("the simulated API server knows every kind that the controller asks for");
    Request {
        verb,
        kind,
        name: name.unwrap_or_default().to_owned(),
        // Nobody looks into an Event, and reads have no body.
        body: if bytes.is_empty() || kind == Kind::Event {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or(Value::Null)
        },
        raw: bytes,
    }
}

fn kind_of(resource: &str) -> Option<Kind> {
    Some(match resource {
        "leases" => Kind::Lease,
        "pods" => Kind::Pod,
        "services" => Kind::Service,
        "endpointslices" => Kind::Slice,
        "postgresroutes" => Kind::Route,
        "postgresledgers" => Kind::Ledger,
        "statefulsets" => Kind::StatefulSet,
        "events" => Kind::Event,
        _ => return None,
    })
}
