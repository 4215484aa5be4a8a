//! The recorder: hears everything that the judge needs, from outside, and writes it into one history.
//!
//! ```text
//! watches on the API server: pods, EndpointSlices, Lease, ledger ─┐
//! audit log, as it grows ─────────────────────────────────────────┤
//! observer: asks every server itself, past every Service ─────────┼──> Journal ──> FILE.jsonl
//! clients' pods: a writer and a reader, their logs ───────────────┤       └──> whoever waits for something
//! scenario: faults, promotions, notes ────────────────────────────┘
//! ```
//!
//! It asks no controller anything.

pub(crate) mod audit;
mod clients;
mod journal;
mod observer;
mod rows;
pub(crate) mod sight;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinSet;

pub use clients::remove_all as remove_clients;
pub use journal::Journal;

use self::clients::ClientPod;
use self::observer::Observer;
use crate::cluster;
use crate::console::Keys;
use crate::console::Server;
use crate::ground::{Ground, Images};
use crate::history::{Event, FORMAT, Happening, Header, Heard, History, Phase, Target};
use crate::host_time::{self, Clock, HostTime};
use crate::install::{NAMESPACE, PRIMARY, ROUTE};
use crate::wait::{TimedOut, wait_for};
use crate::workload::Kind;

/// Every watch has listed its objects within milliseconds of its beginning.
const LISTED_LIMIT: Duration = Duration::from_secs(30);
/// Clients are answered within a second of their start.
const CLIENTS_LIMIT: Duration = Duration::from_mins(1);
/// So many answers of each client before a recording counts as begun: they are at full pace then.
const ANSWERS: usize = 50;
/// At the end, what clients have said already arrives within milliseconds; a kubelet that was away comes back in ten seconds.
const LAST_LINES_LIMIT: Duration = Duration::from_secs(20);
/// The audit log is written within a second of the answer.
const AUDIT_LAG: Duration = Duration::from_secs(1);

/// What to record, and by which settings it is to be judged.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is played, such as `primary-killed`.
    pub scenario: String,
    /// The file; its directory is made where there is none.
    pub file: PathBuf,
    /// How long after the last heal every role may take to be right.
    pub settle_within: Duration,
    /// The node that the clients run on; the scheduler's choice where it does not matter.
    pub clients_on: Option<String>,
}

/// A recording under way. Dropping it ends it without its `end`: the file then counts as cut off. The clients' pods are removed by
/// [`Recorder::stop`] alone.
#[derive(Debug)]
pub struct Recorder<'a> {
    ground: &'a Ground,
    journal: Journal,
    file: PathBuf,
    keys: Keys,
    clients: Vec<ClientPod>,
    observer: Observer,
    /// Watches, the audit log, the clients' logs.
    tasks: JoinSet<()>,
}

impl<'a> Recorder<'a> {
    /// Begins, on ground with one primary: the watches have heard of every object, the observer of every server, and the clients are
    /// answered at full pace when it returns.
    pub async fn start(ground: &'a Ground, images: &Images, options: Options) -> Result<Self, cluster::Error> {
        let Options {
            scenario,
            file,
            settle_within,
            clients_on,
        } = options;
        let client = ground.client();
        let keys = Keys::read(&client).await?;
        rows::prepare(ground, &keys).await?;
        let mut clients = Vec::new();
        for kind in [Kind::Write, Kind::Read] {
            clients.push(clients::start(&client, images.name("client"), kind, clients_on.as_deref()).await?);
        }
        let header = Header {
            format: FORMAT,
            scenario,
            began: HostTime::now(),
            began_unix: host_time::unix_seconds(),
            route: format!("{NAMESPACE}/{ROUTE}"),
            silent_after_millis: millis(rows::silent_after(&client).await?),
            settle_within_millis: millis(settle_within),
            observed_every_micros: u64::try_from(observer::asked_every(ground).as_micros()).unwrap_or(u64::MAX),
            client_nodes: clients.iter().filter_map(|client| client.node.clone()).collect(),
        };
        let journal = Journal::create(&file, header).map_err(cluster::Error::io("write", &file))?;
        let mut tasks = JoinSet::new();
        let (sender, pods) = tokio::sync::watch::channel(BTreeMap::new());
        watch::begin(&mut tasks, &client, &journal, sender);
        match ground.embedded("the audit log") {
            Ok(cluster) => drop(tasks.spawn(audit::follow(cluster.audit_log(), journal.clone()))),
            Err(_another_cluster) => journal.record(Happening::Gap {
                of: Heard::AuditLog,
                since: HostTime::now(),
                why: "the API server of this cluster is not ours to configure".to_owned(),
            }),
        }
        let clock = if ground.has_clocks_of_its_own() {
            Clock::foreign()
        } else {
            Clock::Ours
        };
        clients::follow_all(&mut tasks, &client, clock, &journal, &clients);
        let observer = Observer::start(ground, &keys, pods, &journal)
            .map_err(cluster::Error::io("start the observer for", &file))?;
        let recorder = Self {
            ground,
            journal,
            file,
            keys,
            clients,
            observer,
            tasks,
        };
        recorder
            .is_under_way()
            .await
            .map_err(|timed_out| cluster::Error::timed_out(timed_out, &[]))?;
        Ok(recorder)
    }

    async fn is_under_way(&self) -> Result<(), TimedOut> {
        self.until("everything to be heard of", LISTED_LIMIT, |events| {
            let pods = sight::pods(events);
            let unasked = pods.values().find(|pod| {
                let said =
                    |event: &Event| matches!(&event.what, Happening::Standing(standing) if standing.uid == pod.uid);
                !events.iter().any(said)
            });
            let is_heard = |wanted: fn(&Happening) -> bool| events.iter().any(|event| wanted(&event.what));
            if pods.is_empty() {
                Err("no pod of the route".to_owned())
            } else if let Some(pod) = unasked {
                Err(format!("the server of pod {} has not been asked", pod.pod))
            } else if !is_heard(|what| matches!(what, Happening::Endpoints { .. })) {
                Err("no EndpointSlice".to_owned())
            } else if !is_heard(|what| matches!(what, Happening::Lease { .. })) {
                Err("no Lease".to_owned())
            } else {
                Ok(())
            }
        })
        .await?;
        self.until("the clients to be answered", CLIENTS_LIMIT, |events| {
            let answers = |wanted: &str| {
                let lines = events.iter().filter(|event| {
                    matches!(&event.what, Happening::Client { client, line, .. } if client == wanted && line.outcome.by().is_some())
                });
                lines.count()
            };
            let late = self.clients.iter().find(|client| answers(&client.name) < ANSWERS);
            late.map_or(Ok(()), |client| {
                Err(format!("{} answers of pod {}", answers(&client.name), client.name))
            })
        })
        .await
    }

    /// What has been heard so far, for whoever waits for something.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// A fault begins or ends at this very moment. Say `Injected` right before it is brought about and `Healed` right after it has
    /// been taken back; of one that is over at once say both, one after the other.
    pub fn fault(&self, name: &str, target: Target, phase: Phase) {
        self.journal.record(Happening::Fault {
            name: name.to_owned(),
            target,
            phase,
        });
    }

    /// A standby is asked to promote itself, right now.
    pub fn promotion(&self, pod: &str) {
        self.journal.record(Happening::Promotion { pod: pod.to_owned() });
    }

    /// Something else was done, at this very moment.
    pub fn note(&self, text: impl Into<String>) {
        self.journal.record(Happening::Note { text: text.into() });
    }

    /// Waits until `look` finds what it looks for among the events, in the order in which they were heard of.
    pub async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        look: impl Fn(&[Event]) -> Result<T, String>,
    ) -> Result<T, TimedOut> {
        wait_for(what, limit, || async { self.journal.read(&look) }).await
    }

    /// Ends: hears what is still on its way, ends the clients, reads the rows that the primary holds, and closes the file.
    pub async fn stop(mut self) -> Result<(PathBuf, History), cluster::Error> {
        let now = HostTime::now();
        for client in &self.clients {
            let heard = self.until("the last lines", LAST_LINES_LIMIT, |events| {
                if clients::is_heard(events, &client.name, now) {
                    Ok(())
                } else {
                    Err(format!("pod {} has said nothing lately", client.name))
                }
            });
            if let Err(timed_out) = heard.await {
                self.gap(Heard::Client, timed_out.missing);
            }
            clients::remove(&self.ground.client(), &client.name).await;
        }
        let audited = wait_for("the audit log", AUDIT_LAG, || async {
            if HostTime::now().since(now) >= AUDIT_LAG / 2 {
                Ok(())
            } else {
                Err("it may not be complete".to_owned())
            }
        });
        audited.await.ok();
        match self.journal.read(primary) {
            Some(primary) => match rows::read(self.ground, &self.keys, &primary).await {
                Ok(rows) => self.journal.record(Happening::Rows(rows)),
                Err(error) => self.gap(Heard::Rows, error.to_string()),
            },
            None => self.gap(Heard::Rows, "no pod is labelled primary".to_owned()),
        }
        self.tasks.shutdown().await;
        self.observer.stop();
        self.journal.record(Happening::End);
        let history = self.journal.finish().map_err(cluster::Error::io("write", &self.file))?;
        Ok((self.file, history))
    }

    fn gap(&self, of: Heard, why: String) {
        let since = HostTime::now();
        self.journal.record(Happening::Gap { of, since, why });
    }
}

/// The server whose pod is labelled primary after these events.
fn primary(events: &[Event]) -> Option<Server> {
    let mut pods = sight::pods(events).into_values();
    let primary = pods.find(|pod| pod.role.as_deref() == Some(PRIMARY))?;
    Some(Server {
        address: primary.address.clone()?,
        pod: primary.pod.clone(),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
