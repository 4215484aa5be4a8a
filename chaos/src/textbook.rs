//! `chaos textbook`: the controller that everybody writes first, in place of pgsteer. An informer whose handlers ask
//! `pg_is_in_recovery()` and patch the label; no Lease, no fence, no order between a withdrawal and a grant.
//!
//! ```text
//! onAdd, onUpdate, resync ──> ask the server ──> wanted (pure) ──> patch the label
//! ```
//!
//! It is here for the judge's sake: with a [`Sabotage`] it breaks one promise on purpose, and the judge has to catch it. A judge that has
//! never caught anybody is worth nothing.

mod play;
mod wanted;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use shared::ledger::PostgresLedger;
use shared::names::STAMP;
use tokio::time::Interval;

pub use play::{Caught, catch, catch_all};

use self::wanted::{Asked, wanted};
use crate::cluster;
use crate::console::Keys;
use crate::console::Server;
use crate::ground::Ground;
use crate::install::{CONTROLLER, NAMESPACE, PODS, ROLE, ROUTE, SYSTEM};
use crate::wait::wait_for;

/// An informer gives its handler every object again this often.
const RESYNC: Duration = Duration::from_millis(500);
/// A server that has not answered by then gives no answer.
const ASK_LIMIT: Duration = Duration::from_millis(500);
/// A replica that is asked to go has gone within its grace period.
const SCALED_LIMIT: Duration = Duration::from_mins(1);

/// What `chaos textbook` is asked to do.
#[derive(Debug, Clone, Args)]
pub struct TextbookArgs {
    /// Break a promise on purpose, record it, and see whether the judge catches it; several times for several. Without it the textbook
    /// controller just runs in place of pgsteer until SIGINT or SIGTERM.
    #[arg(long, value_enum)]
    pub sabotage: Vec<Sabotage>,
    /// Where the histories and reports go. Default: `reports` beside the cluster's state.
    #[arg(long, value_name = "DIR")]
    pub reports: Option<PathBuf>,
}

/// One promise, broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Sabotage {
    /// A server in recovery is labelled primary, too.
    Both,
    /// The primary role is never taken off.
    NeverWithdraw,
    /// Whoever takes writes is labelled primary, whatever the ledger's mark says.
    IgnoreMark,
    /// A write of an ended reign is carried out late.
    LateWrite,
}

/// The textbook controller in place of pgsteer.
pub(crate) struct Textbook<'a> {
    ground: &'a Ground,
    /// A client with every right, of the group that the fence lets pass.
    client: Client,
    keys: Keys,
    sabotage: Option<Sabotage>,
}

impl std::fmt::Debug for Textbook<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Textbook")
            .field("sabotage", &self.sabotage)
            .finish_non_exhaustive()
    }
}

impl<'a> Textbook<'a> {
    /// Made ready on the embedded cluster; pgsteer is left as it is.
    pub(crate) async fn new(ground: &'a Ground, sabotage: Option<Sabotage>) -> Result<Self, cluster::Error> {
        let embedded = ground.embedded("the textbook controller");
        let cluster = embedded.map_err(|skipped| cluster::Error::NoSuch {
            what: "a cluster for the textbook controller".to_owned(),
            hint: skipped.to_string(),
        })?;
        Ok(Self {
            ground,
            client: cluster.client_past_the_fence()?,
            keys: Keys::read(&ground.client()).await?,
            sabotage,
        })
    }

    /// Sets how many replicas pgsteer has, and waits until no other one runs.
    pub(crate) async fn scale_pgsteer(&self, replicas: i32) -> Result<i32, cluster::Error> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), SYSTEM);
        let failed = || cluster::Error::api(format!("scale Deployment {CONTROLLER}"));
        let before = api.get(CONTROLLER).await.map_err(failed())?;
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        #[expect(clippy::disallowed_methods, reason = "plays the person who scales a Deployment")]
        let patched = api.patch(CONTROLLER, &PatchParams::default(), &patch).await;
        patched.map_err(failed())?;
        let scaled = wait_for("pgsteer's replicas", SCALED_LIMIT, || async {
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), SYSTEM);
            let of_pgsteer = kube::api::ListParams::default().labels("app.kubernetes.io/name=pgsteer");
            let listed = pods.list(&of_pgsteer).await.map_err(|error| error.to_string())?;
            let count = i32::try_from(listed.items.len()).unwrap_or(i32::MAX);
            if count == replicas {
                Ok(())
            } else {
                Err(format!("{count} of {replicas}"))
            }
        });
        scaled
            .await
            .map_err(|timed_out| cluster::Error::timed_out(timed_out, &[]))?;
        Ok(before.spec.and_then(|spec| spec.replicas).unwrap_or(1))
    }

    /// Informs, asks and patches until dropped.
    pub(crate) async fn run(&self) {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        inform(api, tokio::time::interval(RESYNC), async |pod: &Pod| {
            self.handle(pod).await;
        })
        .await;
    }

    /// onAdd, onUpdate.
    async fn handle(&self, pod: &Pod) {
        let Some(address) = pod.status.as_ref().and_then(|status| status.pod_ip.clone()) else {
            return;
        };
        let server = Server {
            pod: pod.name_any(),
            address,
        };
        let asked = tokio::time::timeout(ASK_LIMIT, self.ask(&server)).await.ok().flatten();
        let mark = self.mark().await;
        let label = pod.labels().get(ROLE).map(String::as_str);
        let role = wanted(asked.as_ref(), mark.as_ref(), label, self.sabotage);
        // As everybody does: the store's label may be an old one, and nobody looks at what the API server says to the patch.
        if role != label {
            self.patch(&server.pod, json!({"labels": {ROLE: role}})).await;
        }
    }

    async fn ask(&self, server: &Server) -> Option<Asked> {
        let console = self.keys.open(self.ground, server, "postgres").await.ok()?;
        let in_recovery = console.ask("SELECT pg_is_in_recovery()").await.ok()? == "t";
        let system = console
            .ask("SELECT system_identifier FROM pg_control_system()")
            .await
            .ok()?;
        let timeline = if in_recovery {
            0
        } else {
            let sql = "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int";
            console.ask(sql).await.ok()?.parse().ok()?
        };
        Some(Asked {
            in_recovery,
            system,
            timeline,
        })
    }

    /// The ledger's mark: system identifier and timeline.
    async fn mark(&self) -> Option<(String, u32)> {
        let api: Api<PostgresLedger> = Api::namespaced(self.client.clone(), NAMESPACE);
        let mark = api.get(ROUTE).await.ok()?.spec.mark?;
        Some((mark.system_identifier.to_string(), mark.timeline.0))
    }

    async fn patch(&self, pod: &str, metadata: Value) {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = Patch::Merge(json!({"metadata": metadata}));
        #[expect(
            clippy::disallowed_methods,
            reason = "the textbook has no writer, no permit and no precondition"
        )]
        let patched = api.patch(pod, &PatchParams::default(), &patch).await;
        if let Err(error) = patched {
            tracing::debug!(%error, pod, "label not patched");
        }
    }

    /// Two reigns stamp every pod, and then a write of the first one is carried out.
    async fn write_late(&self) -> Result<(), cluster::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let listed = api.list(&kube::api::ListParams::default().labels(PODS)).await;
        let pods = listed.map_err(cluster::Error::api("list the pods"))?.items;
        let term = |pod: &Pod| pod.annotations().get(STAMP)?.split('.').next()?.parse::<u32>().ok();
        let highest = pods.iter().filter_map(term).max().unwrap_or(0);
        let reigns = [
            (highest + 1, "0badcafe"),
            (highest + 2, "600dcafe"),
            (highest + 1, "0badcafe"),
        ];
        for (n, (term, holder)) in reigns.into_iter().enumerate() {
            for pod in &pods {
                let stamp = format!("{term}.{}.{holder}", n + 1);
                self.patch(&pod.name_any(), json!({"annotations": {STAMP: stamp}}))
                    .await;
            }
        }
        Ok(())
    }
}

/// Runs in place of pgsteer until `asked_to_end`, and puts pgsteer back.
pub async fn run(ground: &Ground, asked_to_end: impl Future<Output = ()>) -> Result<(), cluster::Error> {
    let textbook = Textbook::new(ground, None).await?;
    let replicas = textbook.scale_pgsteer(0).await?;
    tokio::select! {
        () = textbook.run() => {}
        () = asked_to_end => {}
    }
    textbook.scale_pgsteer(replicas).await.map(drop)
}
/// An informer: whatever is heard of a pod of the route is handled, and all of them again at every resync. Ends with its watch.
pub(crate) async fn inform(pods: Api<Pod>, mut resync: Interval, handle: impl AsyncFn(&Pod)) {
    let mut events = pin!(watcher(pods, watcher::Config::default().labels(PODS)).default_backoff());
    let mut store: BTreeMap<String, Pod> = BTreeMap::new();
    loop {
        tokio::select! {
            event = events.try_next() => match event {
                Ok(Some(Event::Apply(pod) | Event::InitApply(pod))) => {
                    handle(&pod).await;
                    store.insert(pod.name_any(), pod);
                }
                Ok(Some(Event::Delete(pod))) => drop(store.remove(&pod.name_any())),
                Ok(Some(Event::Init | Event::InitDone)) | Err(_) => {}
                Ok(None) => return,
            },
            _ = resync.tick() => for pod in store.values() {
                handle(pod).await;
            },
        }
    }
}
