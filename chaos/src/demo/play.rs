//! The acts, one after the other. Every wait has a limit, and a limit that passes tells what was missing.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::task::JoinSet;

use super::history::History;
use super::verdict::{self, Absence, Run, Succession, Verdict};
use super::watch;
use super::{Error, clients};
use crate::cluster;
use crate::console::{Console, Keys, servers};
use crate::fault;
use crate::ground::{Ground, Images, Skipped};
use crate::host_time::HostTime;
use crate::install::{NAMESPACE, PRIMARY, REPLICA, ROLE, SYSTEM};
use crate::table::Screen;
use crate::timeline::{self, Cut, Entry, Happening, Server, ServiceOf, Switch, World};
use crate::wait::{TimedOut, wait_for};
use crate::workload::Kind;

/// A promoter of the usual kind needs this long to be sure. It does not know of pgsteer, nor wait for it.
const PROMOTER_DECIDES: Duration = Duration::from_millis(300);
/// Measured: a standby takes writes 25 ms after it was asked. A busy host takes longer.
const PROMOTION_LIMIT: Duration = Duration::from_secs(30);
/// Names move within two seconds; a killed server's container is started again and rewound within ten, on a busy host thirty.
const SWITCH_LIMIT: Duration = Duration::from_mins(2);
/// A leader that goes lets go of the Lease; one that cannot is waited out for the Lease's time to live, 5 s.
const SUCCESSION_LIMIT: Duration = Duration::from_mins(1);
/// The component that is frozen, and for how long: longer than a leader may lead without it (the Lease's time to live is 5 s), shorter
/// than a node may be silent (40 s).
const API_SERVER: &str = "kube-apiserver";
const API_SERVER_AWAY: Duration = Duration::from_secs(8);
/// Clients are answered within a second of their start.
const CLIENTS_LIMIT: Duration = Duration::from_mins(1);
/// So many answers of each client before anything is done to the servers: they are at full pace then.
const ANSWERS: usize = 50;
/// How often the table is redrawn.
const REDRAWN_EVERY: Duration = Duration::from_millis(100);

/// Plays all acts on a cluster in which everything is installed and Settled.
pub(super) async fn play(ground: &Ground, images: &Images, screen: Screen) -> Result<Verdict, Error> {
    let history = History::default();
    let mut tasks = JoinSet::new();
    watch::begin(&mut tasks, &ground.client(), &history);
    tasks.spawn(show(screen, history.clone()));
    let stage = Stage {
        ground,
        images,
        keys: Keys::read(&ground.client()).await?,
        history,
    };
    stage.start_clients(&mut tasks).await?;
    let failover = stage.failover().await?;
    let succession = stage.succession().await?;
    let before = stage.pod_lives().await?;
    let switchover = stage.switchover().await?;
    let pod_events = stage
        .pod_lives()
        .await?
        .iter()
        .filter(|life| !before.contains(life))
        .count();
    let absence = stage.absence().await?;
    // What was acknowledged up to now has to be there when the rows are read afterwards.
    let history: Vec<Entry> = stage.history.read(<[Entry]>::to_vec);
    let present = stage.console(&switchover.cut.new, "app").await?.ids().await?;
    // Lines that were under way while a switch was told may have come since.
    let switch = |switch: Switch| Switch::of(switch.cut, &history);
    Ok(verdict::judge(&Run {
        history: &history,
        complete: !stage.history.is_full(),
        failover: switch(failover),
        succession,
        switchover: switch(switchover),
        pod_events,
        absence,
        is_translated: ground.has_clocks_of_its_own(),
        present,
    }))
}

/// Redraws the table until it is dropped.
async fn show(mut screen: Screen, history: History) {
    let mut shown = 0;
    let mut pace = tokio::time::interval(REDRAWN_EVERY);
    loop {
        pace.tick().await;
        let added: Vec<Entry> = history.read(|entries| entries[shown..].to_vec());
        shown += added.len();
        screen.show(&added);
    }
}

struct Stage<'a> {
    ground: &'a Ground,
    images: &'a Images,
    keys: Keys,
    history: History,
}

impl Stage<'_> {
    /// Waits until `look` finds what it looks for in the history.
    async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        look: impl Fn(&[Entry]) -> Result<T, String>,
    ) -> Result<T, Error> {
        let waited: Result<T, TimedOut> = wait_for(what, limit, || async { self.history.read(&look) }).await;
        match waited {
            Ok(found) => Ok(found),
            Err(missing) => Err(Error::missed(self.ground, what, missing).await),
        }
    }

    /// The pod that carries the primary label, and another one.
    async fn pair(&self) -> Result<(Server, Server), Error> {
        let what = "one pod labelled primary, the other one labelled replica";
        let (primary, replica) = self
            .until(what, SWITCH_LIMIT, |history| {
                let world = World::after(history);
                let labelled = |wanted: &str| {
                    let mut roles = world.roles.iter();
                    let found = roles.find(|(_, role)| role.as_deref() == Some(wanted));
                    found.map(|(pod, _)| pod.clone())
                };
                let pair = labelled(PRIMARY).zip(labelled(REPLICA));
                pair.ok_or_else(|| format!("the labels are {:?}", world.roles))
            })
            .await?;
        let servers = servers(&self.ground.client()).await?;
        let find = |pod: &str| {
            let found = servers.iter().find(|(server, _)| server.pod == pod);
            found
                .map(|(server, _)| server.clone())
                .ok_or_else(|| Error::Environment(gone(pod)))
        };
        Ok((find(&primary)?, find(&replica)?))
    }

    async fn console(&self, server: &Server, database: &str) -> Result<Console, Error> {
        Ok(self.keys.open(self.ground, server, database).await?)
    }

    async fn start_clients(&self, tasks: &mut JoinSet<()>) -> Result<(), Error> {
        let (primary, _) = self.pair().await?;
        self.console(&primary, "app")
            .await?
            .ask("CREATE TABLE IF NOT EXISTS writes (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp()); \
                  ALTER TABLE writes OWNER TO app")
            .await?;
        for kind in [Kind::Write, Kind::Read] {
            clients::start(tasks, self.ground, self.images.name("client"), &self.history, kind).await?;
        }
        self.until("the clients to be answered", CLIENTS_LIMIT, |history| {
            let clients = World::after(history).clients;
            let answered = |kind| clients.get(&kind).map_or(0, |tally| tally.answered);
            let (writes, reads) = (answered(Kind::Write), answered(Kind::Read));
            if writes >= ANSWERS && reads >= ANSWERS {
                return Ok(());
            }
            let failures = timeline::failures(history, if writes < ANSWERS { Kind::Write } else { Kind::Read });
            Err(format!(
                "{writes} writes and {reads} reads answered; failures: {failures:?}"
            ))
        })
        .await
    }

    /// The primary is killed; a promoter that knows nothing of pgsteer promotes the standby a little later.
    async fn failover(&self) -> Result<Switch, Error> {
        let (old, new) = self.pair().await?;
        let (cut, promoter) = self.prepare(old, new).await?;
        let uid = self.uid(&cut.old).await?;
        let began = HostTime::now();
        let killed = self.ground.kill_postmaster(&cut.old.pod, &uid).await?;
        self.history.did(killed);
        pause(PROMOTER_DECIDES).await;
        let cut = self.promote(promoter, Cut { began, ..cut }).await?;
        self.switched("the failover to be complete", cut).await
    }

    /// The standby is promoted while the primary runs.
    async fn switchover(&self) -> Result<Switch, Error> {
        let (old, new) = self.pair().await?;
        let (cut, promoter) = self.prepare(old, new).await?;
        let cut = self.promote(promoter, cut).await?;
        let cut = Cut {
            began: cut.asked,
            ..cut
        };
        self.switched("the switchover to be complete", cut).await
    }

    /// A promoter's session on the standby is open before anything happens, as a promoter's is.
    async fn prepare(&self, old: Server, new: Server) -> Result<(Cut, Console), Error> {
        let primary = self.console(&old, "postgres").await?;
        let timeline = primary
            .ask("SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int")
            .await?;
        let promoter = self.console(&new, "postgres").await?;
        let unknown = HostTime(0);
        let cut = Cut {
            began: unknown,
            asked: unknown,
            promoted: unknown,
            old,
            new,
            old_timeline: timeline.parse().unwrap_or_default(),
        };
        Ok((cut, promoter))
    }

    async fn promote(&self, promoter: Console, cut: Cut) -> Result<Cut, Error> {
        let asked = HostTime::now();
        self.history.did(format!("pg_promote() on {}", cut.new.pod));
        promoter.ask("SELECT pg_promote(wait => false)").await?;
        // The question itself takes most of a millisecond, which is pause enough.
        let seen = async {
            while promoter.ask("SELECT pg_is_in_recovery()").await? != "f" {}
            Ok::<HostTime, cluster::Error>(HostTime::now())
        };
        let seen = match tokio::time::timeout(PROMOTION_LIMIT, seen).await {
            Ok(seen) => seen?,
            Err(_elapsed) => return Err(Error::Environment(gone(&format!("the promotion of {}", cut.new.pod)))),
        };
        self.history.did(format!("{} is not in recovery any more", cut.new.pod));
        Ok(Cut {
            asked,
            promoted: seen,
            ..cut
        })
    }

    async fn switched(&self, what: &str, cut: Cut) -> Result<Switch, Error> {
        self.until(what, SWITCH_LIMIT, |history| {
            let switch = Switch::of(cut.clone(), history);
            let missing = switch.missing();
            if missing.is_empty() {
                Ok(switch)
            } else {
                Err(missing.join(", "))
            }
        })
        .await
    }

    /// The leader's pod is deleted; then a label is taken off by hand, for the next leader to put back.
    async fn succession(&self) -> Result<Succession, Error> {
        let holder = |history: &[Entry]| World::after(history).leader.ok_or_else(|| "nobody leads".to_owned());
        let old = self.until("a leader", SUCCESSION_LIMIT, holder).await?;
        let pod = old.rsplit_once('_').map_or(old.as_str(), |(pod, _)| pod).to_owned();
        let pods: Api<Pod> = Api::namespaced(self.ground.client(), SYSTEM);
        let deleted = HostTime::now();
        #[expect(
            clippy::disallowed_methods,
            reason = "a controller's pod, not one of the controller's objects"
        )]
        let asked = pods.delete(&pod, &DeleteParams::default()).await;
        asked.map_err(cluster::Error::api(format!("delete pod {pod}")))?;
        self.history.did(format!("the leader's pod {pod} deleted"));
        let (led, new) = self
            .until("the next leader", SUCCESSION_LIMIT, |history| {
                let mut since = history.iter().filter(|entry| entry.at >= deleted);
                let next = since.find_map(|entry| match &entry.what {
                    Happening::Leader { holder: Some(holder) } if *holder != old => Some((entry.at, holder.clone())),
                    _ => None,
                });
                next.ok_or_else(|| format!("the Lease names {:?}", World::after(history).leader))
            })
            .await?;
        let (_, replica) = self.pair().await?;
        let (unlabelled, repaired) = self.repaired(&replica).await?;
        Ok(Succession {
            deleted,
            old,
            new,
            led,
            unlabelled,
            repaired,
        })
    }

    /// The API server stops in its tracks for longer than a leader may go without it; then a label is taken off by hand, for a leader to
    /// put back.
    async fn absence(&self) -> Result<Result<Absence, Skipped>, Error> {
        let cluster = match self.ground.embedded(&format!("{API_SERVER} frozen")) {
            Ok(cluster) => cluster,
            Err(skipped) => return Ok(Err(skipped)),
        };
        let stopped = HostTime::now();
        fault::freeze_component(cluster, API_SERVER)?;
        self.history.did(format!("{API_SERVER} frozen"));
        pause(API_SERVER_AWAY).await;
        fault::thaw_component(cluster, API_SERVER)?;
        self.history.did(format!("{API_SERVER} goes on"));
        let back = HostTime::now();
        let (_, replica) = self.pair().await?;
        let (unlabelled, repaired) = self.repaired(&replica).await?;
        Ok(Ok(Absence {
            stopped,
            back,
            edited: replica.pod,
            unlabelled,
            repaired,
        }))
    }

    /// Takes the replica's label off, and waits until it is back and the pod is in its Service again.
    async fn repaired(&self, replica: &Server) -> Result<(HostTime, HostTime), Error> {
        let pods: Api<Pod> = Api::namespaced(self.ground.client(), NAMESPACE);
        let unlabelled = HostTime::now();
        let patch = Patch::Merge(json!({"metadata": {"labels": {ROLE: null}}}));
        #[expect(clippy::disallowed_methods, reason = "plays the person who edits by hand")]
        let asked = pods.patch(&replica.pod, &PatchParams::default(), &patch).await;
        asked.map_err(cluster::Error::api(format!("patch pod {}", replica.pod)))?;
        self.history
            .did(format!("label {ROLE} of {} taken off by hand", replica.pod));
        let repaired = self
            .until("the label to be repaired", SUCCESSION_LIMIT, |history| {
                let since = || history.iter().filter(|entry| entry.at >= unlabelled);
                let put_back = since().find(|entry| {
                    matches!(&entry.what, Happening::Role { pod, role } if *pod == replica.pod && role.as_deref() == Some(REPLICA))
                });
                let world = World::after(history);
                let reads = world.endpoints.get(&ServiceOf::Reads);
                match put_back {
                    None => Err(format!("the labels are {:?}", world.roles)),
                    Some(_) if !reads.is_some_and(|addresses| addresses.contains(&replica.address)) => {
                        Err(format!("the read Service's EndpointSlices hold {reads:?}"))
                    }
                    Some(entry) => Ok(entry.at),
                }
            })
            .await?;
        Ok((unlabelled, repaired))
    }

    async fn uid(&self, server: &Server) -> Result<String, Error> {
        let servers = servers(&self.ground.client()).await?;
        let found = servers.into_iter().find(|(one, _)| one.pod == server.pod);
        let uid = found.and_then(|(_, pod)| pod.uid());
        uid.ok_or_else(|| Error::Environment(gone(&server.pod)))
    }

    /// Every pod of the route with how often its containers were started again.
    async fn pod_lives(&self) -> Result<Vec<(Option<String>, i32)>, Error> {
        let servers = servers(&self.ground.client()).await?;
        let life = |pod: &Pod| {
            let statuses = pod
                .status
                .as_ref()
                .and_then(|status| status.container_statuses.as_ref());
            let restarts = statuses.map_or(0, |all| all.iter().map(|one| one.restart_count).sum());
            (pod.uid(), restarts)
        };
        Ok(servers.iter().map(|(_, pod)| life(pod)).collect())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "plays a promoter who takes his time, and a fault that lasts; nothing is awaited"
)]
async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}

fn gone(what: &str) -> cluster::Error {
    cluster::Error::NoSuch {
        what: what.to_owned(),
        hint: "it was there a moment ago; something else is at work in this cluster".to_owned(),
    }
}
