//! The acts, one after the other. Every wait has a limit, and a limit that passes tells what was missing.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::task::JoinSet;

use super::missed;
use super::switch::{Cut, Switch};
use super::table::Screen;
use super::verdict::{Absence, Run, Succession, Verdict};
use crate::cluster::{self, Progress};
use crate::console::{Console, Keys, Server, servers};
use crate::fault;
use crate::ground::{Ground, Images, Skipped};
use crate::history::{Event, Happening, Part, Phase, ServiceOf, Target};
use crate::host_time::HostTime;
use crate::install::{NAMESPACE, PRIMARY, REPLICA, ROLE, SYSTEM};
use crate::judge::Judged;
use crate::record::sight::{endpoints, leader, pods};
use crate::record::{Journal, Options, Recorder};
use crate::scenario::MENDED_WITHIN;
use crate::unfinished::Unfinished;
use crate::wait::{TimedOut, pass};

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
/// Clients start within two seconds and are at full pace after another; for the progress line only.
const RECORDING_ESTIMATE: Duration = Duration::from_secs(3);
/// How often the table is redrawn.
const REDRAWN_EVERY: Duration = Duration::from_millis(100);

/// Plays all acts on a cluster in which everything is installed and Settled, and judges what was recorded.
pub(super) async fn play(
    ground: &Ground,
    images: &Images,
    reports: &Path,
    progress: Progress,
) -> Result<Verdict, Unfinished> {
    let options = Options {
        scenario: "demo".to_owned(),
        file: reports.join("demo.jsonl"),
        settle_within: MENDED_WITHIN,
        clients_on: None,
    };
    let step = progress.step("start the clients and the recorder", RECORDING_ESTIMATE);
    let recorder = Recorder::start(ground, images, options).await?;
    step.done();
    let mut tasks = JoinSet::new();
    tasks.spawn(show(Screen::of_standard_output(), recorder.journal().clone()));
    let stage = Stage {
        ground,
        keys: Keys::read(&ground.client()).await?,
        recorder: &recorder,
    };
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
    let (file, history) = recorder.stop().await?;
    tasks.shutdown().await;
    // Lines that were under way while a switch was told have come since.
    let switch = |cut: Cut| Switch::of(cut, &history.events);
    let run = Run {
        failover: switch(failover),
        succession,
        switchover: switch(switchover),
        pod_events,
        absence,
        is_translated: ground.has_clocks_of_its_own(),
    };
    let judged = Judged::of(file, history);
    Ok(Verdict::of(&run, judged))
}

/// Redraws the table until it is dropped.
async fn show(mut screen: Screen, journal: Journal) {
    let mut shown = 0;
    let mut pace = tokio::time::interval(REDRAWN_EVERY);
    loop {
        pace.tick().await;
        let heard: Vec<Event> = journal.read(|events| events[shown..].to_vec());
        shown += heard.len();
        screen.show(&heard);
    }
}

struct Stage<'a> {
    ground: &'a Ground,
    keys: Keys,
    recorder: &'a Recorder<'a>,
}

impl Stage<'_> {
    /// Waits until `look` finds what it looks for in what has been heard.
    async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        look: impl Fn(&[Event]) -> Result<T, String>,
    ) -> Result<T, Unfinished> {
        let waited: Result<T, TimedOut> = self.recorder.until(what, limit, look).await;
        match waited {
            Ok(found) => Ok(found),
            Err(missing) => Err(missed(self.ground, what, missing).await),
        }
    }

    /// The pod that carries the primary label, and another one.
    async fn pair(&self) -> Result<(Server, Server), Unfinished> {
        let what = "one pod labelled primary, the other one labelled replica";
        self.until(what, SWITCH_LIMIT, |events| {
            let labelled = |wanted: &str| {
                let mut pods = pods(events).into_values();
                let found = pods.find(|pod| pod.role.as_deref() == Some(wanted))?;
                Some(Server {
                    pod: found.pod.clone(),
                    address: found.address.clone()?,
                })
            };
            let pair = labelled(PRIMARY).zip(labelled(REPLICA));
            pair.ok_or_else(|| format!("the labels are {:?}", roles(events)))
        })
        .await
    }

    async fn console(&self, server: &Server) -> Result<Console, Unfinished> {
        Ok(self.keys.open(self.ground, server, "postgres").await?)
    }

    /// The primary is killed; a promoter that knows nothing of pgsteer promotes the standby a little later.
    async fn failover(&self) -> Result<Cut, Unfinished> {
        let (old, new) = self.pair().await?;
        let (cut, promoter) = self.prepare(old, new).await?;
        let uid = self.uid(&cut.old).await?;
        let began = HostTime::now();
        let target = Target::new(Part::Server, cut.old.pod.as_str());
        self.recorder.fault("SIGKILL", target.clone(), Phase::Injected);
        let killed = self.ground.kill_postmaster(&cut.old.pod, &uid).await?;
        self.recorder.fault("SIGKILL", target, Phase::Healed);
        self.recorder.note(killed);
        pass(PROMOTER_DECIDES).await;
        let cut = self.promote(promoter, Cut { began, ..cut }).await?;
        self.switched("the failover to be complete", cut).await
    }

    /// The standby is promoted while the primary runs.
    async fn switchover(&self) -> Result<Cut, Unfinished> {
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
    async fn prepare(&self, old: Server, new: Server) -> Result<(Cut, Console), Unfinished> {
        let primary = self.console(&old).await?;
        let timeline = primary
            .ask("SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int")
            .await?;
        let promoter = self.console(&new).await?;
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

    async fn promote(&self, promoter: Console, cut: Cut) -> Result<Cut, Unfinished> {
        let asked = HostTime::now();
        self.recorder.promotion(&cut.new.pod);
        promoter.ask("SELECT pg_promote(wait => false)").await?;
        // The question itself takes most of a millisecond, which is pause enough.
        let seen = async {
            while promoter.ask("SELECT pg_is_in_recovery()").await? != "f" {}
            Ok::<HostTime, cluster::Error>(HostTime::now())
        };
        let seen = match tokio::time::timeout(PROMOTION_LIMIT, seen).await {
            Ok(seen) => seen?,
            Err(_elapsed) => {
                return Err(Unfinished::Environment(gone(&format!(
                    "the promotion of {}",
                    cut.new.pod
                ))));
            }
        };
        Ok(Cut {
            asked,
            promoted: seen,
            ..cut
        })
    }

    async fn switched(&self, what: &str, cut: Cut) -> Result<Cut, Unfinished> {
        self.until(what, SWITCH_LIMIT, |events| {
            let missing = Switch::of(cut.clone(), events).missing();
            if missing.is_empty() {
                Ok(())
            } else {
                Err(missing.join(", "))
            }
        })
        .await?;
        Ok(cut)
    }

    /// The leader's pod is deleted; then a label is taken off by hand, for the next leader to put back.
    async fn succession(&self) -> Result<Succession, Unfinished> {
        let holder = |events: &[Event]| leader(events).ok_or_else(|| "nobody leads".to_owned());
        let old = self.until("a leader", SUCCESSION_LIMIT, holder).await?;
        let pod = old.rsplit_once('_').map_or(old.as_str(), |(pod, _)| pod).to_owned();
        let pods: Api<Pod> = Api::namespaced(self.ground.client(), SYSTEM);
        let deleted = HostTime::now();
        let target = Target::new(Part::Controller, pod.as_str());
        self.recorder.fault("delete", target.clone(), Phase::Injected);
        #[expect(
            clippy::disallowed_methods,
            reason = "a controller's pod, not one of the controller's objects"
        )]
        let asked = pods.delete(&pod, &DeleteParams::default()).await;
        asked.map_err(cluster::Error::api(format!("delete pod {pod}")))?;
        self.recorder.fault("delete", target, Phase::Healed);
        let (led, new) = self
            .until("the next leader", SUCCESSION_LIMIT, |events| {
                let mut since = events.iter().filter(|event| event.at >= deleted);
                let next = since.find_map(|event| match &event.what {
                    Happening::Lease {
                        holder: Some(holder), ..
                    } if *holder != old => Some((event.at, holder.clone())),
                    _ => None,
                });
                next.ok_or_else(|| format!("the Lease names {:?}", leader(events)))
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
    async fn absence(&self) -> Result<Result<Absence, Skipped>, Unfinished> {
        let cluster = match self.ground.embedded(&format!("{API_SERVER} frozen")) {
            Ok(cluster) => cluster,
            Err(skipped) => return Ok(Err(skipped)),
        };
        let stopped = HostTime::now();
        let target = Target::new(Part::ApiServer, API_SERVER);
        self.recorder.fault("freeze", target.clone(), Phase::Injected);
        fault::freeze_component(cluster, API_SERVER)?;
        pass(API_SERVER_AWAY).await;
        fault::thaw_component(cluster, API_SERVER)?;
        self.recorder.fault("freeze", target, Phase::Healed);
        self.recorder.note(format!("{API_SERVER} goes on"));
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
    async fn repaired(&self, replica: &Server) -> Result<(HostTime, HostTime), Unfinished> {
        let pods: Api<Pod> = Api::namespaced(self.ground.client(), NAMESPACE);
        let unlabelled = HostTime::now();
        let patch = Patch::Merge(json!({"metadata": {"labels": {ROLE: null}}}));
        #[expect(clippy::disallowed_methods, reason = "plays the person who edits by hand")]
        let asked = pods.patch(&replica.pod, &PatchParams::default(), &patch).await;
        asked.map_err(cluster::Error::api(format!("patch pod {}", replica.pod)))?;
        self.recorder
            .note(format!("label {ROLE} of {} taken off by hand", replica.pod));
        let repaired = self
            .until("the label to be repaired", SUCCESSION_LIMIT, |events| {
                let mut since = events.iter().filter(|event| event.at >= unlabelled);
                // A change of something else may be heard of before the edit is.
                since
                    .find(|event| matches!(&event.what, Happening::Pod(pod) if pod.pod == replica.pod && pod.role.is_none()))
                    .ok_or("the edit has not been heard of")?;
                let put_back = since.find(|event| {
                    matches!(&event.what, Happening::Pod(pod) if pod.pod == replica.pod && pod.role.as_deref() == Some(REPLICA))
                });
                let reads = endpoints(events, ServiceOf::Reads);
                match put_back {
                    None => Err(format!("the labels are {:?}", roles(events))),
                    Some(_) if !reads.contains(&replica.address) => {
                        Err(format!("the read Service's EndpointSlices hold {reads:?}"))
                    }
                    Some(event) => Ok(event.at),
                }
            })
            .await?;
        Ok((unlabelled, repaired))
    }

    async fn uid(&self, server: &Server) -> Result<String, Unfinished> {
        let servers = servers(&self.ground.client()).await?;
        let found = servers.into_iter().find(|(one, _)| one.pod == server.pod);
        let uid = found.and_then(|(_, pod)| pod.uid());
        uid.ok_or_else(|| Unfinished::Environment(gone(&server.pod)))
    }

    /// Every pod of the route with how often its containers were started again.
    async fn pod_lives(&self) -> Result<Vec<(Option<String>, i32)>, Unfinished> {
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

/// The role labels that there are, for a person.
fn roles(events: &[Event]) -> Vec<(&str, Option<&str>)> {
    let pods = pods(events).into_values();
    pods.map(|pod| (pod.pod.as_str(), pod.role.as_deref())).collect()
}

fn gone(what: &str) -> cluster::Error {
    cluster::Error::NoSuch {
        what: what.to_owned(),
        hint: "it was there a moment ago; something else is at work in this cluster".to_owned(),
    }
}
