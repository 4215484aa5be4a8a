//! Somebody who writes through the write Service, and who keeps its endpoints meanwhile.
//!
//! There is no EndpointSlice controller in this world and no kube-proxy: the test is both. It copies what the labels say into a slice,
//! and its client goes where the slice leads.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chaos::{postgres::Server, wait::wait_for};
use controller::clock::{BootClock, Clock as _, Tick};
use futures::StreamExt as _;
use k8s_openapi::api::{core::v1::Pod, discovery::v1::EndpointSlice};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::{sync::RwLock, task::JoinSet};

use crate::world::{LIMIT, Scene};

/// The client writes this often.
const WRITE_EVERY: Duration = Duration::from_millis(10);

/// The servers by the names of their pods.
pub(crate) type Servers = BTreeMap<&'static str, Arc<RwLock<Server>>>;

/// A client that writes for as long as it lives.
pub(crate) struct Client {
    written: Arc<Mutex<Vec<Tick>>>,
    _tasks: JoinSet<()>,
}

/// Everything of a kind in the scene's namespace, whenever any of it changes.
async fn on_change<K>(api: Api<K>, mut changed: impl AsyncFnMut(Vec<K>))
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    let mut present = BTreeMap::new();
    let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                present.insert(object.name_any(), object);
            }
            Ok(watcher::Event::Delete(object)) => {
                present.remove(&object.name_any());
            }
            Ok(watcher::Event::Init | watcher::Event::InitDone) | Err(_) => {}
        }
        changed(present.values().cloned().collect()).await;
    }
}

fn slice(pods: &[Pod]) -> serde_json::Value {
    let primary = |pod: &&Pod| pod.labels().get("role").is_some_and(|role| role == "primary");
    // The pods are on loopback, which the API server does not take for an endpoint; the client goes by the pod's name.
    let endpoint = |pod: &Pod| {
        let target = json!({ "kind": "Pod", "name": pod.name_any(), "namespace": pod.namespace(), "uid": pod.uid() });
        json!({ "addresses": ["192.0.2.1"], "conditions": { "ready": true }, "targetRef": target })
    };
    let endpoints: Vec<_> = pods.iter().filter(primary).map(endpoint).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": "rw-1", "labels": { "kubernetes.io/service-name": "rw" } },
        "addressType": "IPv4",
        "endpoints": endpoints,
    })
}

impl Client {
    /// Begins to keep the endpoints of the Service `rw`, and to write through them.
    pub(crate) fn start(scene: &Scene, servers: Servers) -> Self {
        let written = Arc::new(Mutex::new(Vec::new()));
        let leads_to = Arc::new(Mutex::new(None::<String>));
        let mut tasks = JoinSet::new();
        let (pods, slices) = (scene.api::<Pod>(), scene.api::<EndpointSlice>());
        let endpoints = slices.clone();
        tasks.spawn(on_change(pods, async move |pods| {
            let params = PatchParams::apply("endpointslice-controller").force();
            endpoints
                .patch("rw-1", &params, &Patch::Apply(slice(&pods)))
                .await
                .unwrap();
        }));
        let proxy = Arc::clone(&leads_to);
        tasks.spawn(on_change(slices, async move |slices| {
            let endpoint = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten()).next();
            let pod = endpoint.and_then(|endpoint| endpoint.target_ref.clone()?.name);
            *proxy.lock().unwrap_or_else(PoisonError::into_inner) = pod;
        }));
        let writes = Arc::clone(&written);
        tasks.spawn(async move {
            let mut pace = tokio::time::interval(WRITE_EVERY);
            loop {
                pace.tick().await;
                let pod = leads_to.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let Some(server) = pod.and_then(|pod| servers.get(pod.as_str())) else {
                    continue;
                };
                let statement =
                    "CREATE TABLE IF NOT EXISTS written (at timestamptz); INSERT INTO written VALUES (now())";
                if server.read().await.sql(statement).await.is_ok() {
                    writes
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(BootClock.now());
                }
            }
        });
        Self { written, _tasks: tasks }
    }

    /// Waits until it has written after `since`.
    pub(crate) async fn writes_after(&self, since: Tick) {
        let written = wait_for("the client to write", LIMIT, || async {
            let last = self
                .written
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .last()
                .copied();
            if last.is_some_and(|last| last > since) {
                Ok(())
            } else {
                Err(format!("the last was at {last:?}"))
            }
        });
        written.await.unwrap();
    }

    /// The longest time between two of its writes.
    pub(crate) fn longest_gap(&self) -> Duration {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let gaps = written.windows(2).map(|pair| pair[1].since(pair[0]));
        gaps.max().unwrap_or_default()
    }
}
