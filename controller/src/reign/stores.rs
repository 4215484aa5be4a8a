//! The informers: what the API server holds, followed by watches, and which routes a change concerns.
//!
//! One set of stores a namespace that the controller serves, or one for the whole cluster. An event carries no meaning here: it
//! makes routes due, and their next turn looks at everything anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt, future};
use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store},
        utils::{Backoff, ResetTimerBackoff},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use shared::{ledger::PostgresLedger, names, route::PostgresRoute};
use tokio::sync::Notify;
use tracing::warn;

use super::RouteKey;
use crate::tasks::Tasks;

/// A watch that hears nothing is ended by the API server after this long and opened anew, so a dead one is noticed soon.
/// In seconds; kube's own default is 290.
const WATCH_SECONDS: u32 = 25;

/// The first pause of a watch that failed; it doubles up to [`PATIENCE_MAX`]. There is one leader: its watches need no jitter.
const PATIENCE_MIN: Duration = Duration::from_millis(800);

/// A watch that keeps failing is opened anew this often at least. While it is not, the route is decided by what was last known and by
/// what its own writes find, so this is shorter than kube's 30 s.
const PATIENCE_MAX: Duration = Duration::from_secs(5);

/// After so long without a failure the pauses begin anew at [`PATIENCE_MIN`].
const CALM_AFTER: Duration = Duration::from_secs(30);

/// The newest state that was seen of each object, by namespace and name.
type Newest<K> = BTreeMap<(String, String), Arc<K>>;

/// One kind's store, and what is newer than it: what this process has written or read itself, and what a watch has shown before it
/// showed something older. What was seen once is not unseen: a watch that lags behind, for however long, must not bring back a
/// pod without the label that was put on it.
pub(crate) struct Followed<K: Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
    newest: Mutex<Newest<K>>,
}

impl<K> Followed<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    pub(super) fn new(store: Store<K>) -> Self {
        Self {
            store,
            newest: Mutex::default(),
        }
    }

    /// Resolves when the first list is there.
    async fn ready(&self) -> Result<(), reflector::store::WriterDropped> {
        self.store.wait_until_ready().await?;
        self.listed();
        Ok(())
    }

    /// The newest known state of an object.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.lock().get(&key).map(Arc::clone)
    }

    /// The newest known state of every object in a namespace that is `wanted`, in the order of their names.
    pub(crate) fn list(&self, namespace: &str, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let newest = self.lock();
        let from = (namespace.to_owned(), String::new());
        let of_namespace = newest.range(from..).take_while(|((of, _), _)| of == namespace);
        let wanted = of_namespace.map(|(_, object)| object).filter(|object| wanted(object));
        wanted.map(Arc::clone).collect()
    }

    /// Every object, as the watch brought it.
    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.store.state()
    }

    /// Takes note of an object that this process has just written or read.
    pub(crate) fn show(&self, object: K) {
        let key = key_of(&object);
        take(&mut self.lock(), key, Arc::new(object));
    }

    /// Takes note of an object that the watch has just brought.
    fn brought(&self, object: &K) {
        let key = key_of(object);
        if let Some(stored) = self.store.get(&ObjectRef::new(&key.1).within(&key.0)) {
            take(&mut self.lock(), key, stored);
        }
    }

    /// An object was deleted, unless one of its name was seen after that.
    fn forget(&self, deleted: &K) {
        let key = key_of(deleted);
        let mut newest = self.lock();
        if newest
            .get(&key)
            .is_some_and(|seen| version(seen.as_ref()) <= version(deleted))
        {
            newest.remove(&key);
        }
    }

    /// A list has brought everything that there is: what is not in it is gone.
    fn listed(&self) {
        let mut newest = self.lock();
        newest.retain(|(namespace, name), _| self.store.get(&ObjectRef::new(name).within(namespace)).is_some());
        for object in self.store.state() {
            take(&mut newest, key_of(object.as_ref()), object);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Newest<K>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_of<K: Resource>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Keeps the newer of two states.
fn take<K: Resource>(newest: &mut Newest<K>, key: (String, String), object: Arc<K>) {
    let older = newest
        .get(&key)
        .is_some_and(|seen| version(seen.as_ref()) > version(object.as_ref()));
    if !older {
        newest.insert(key, object);
    }
}

/// The resourceVersion as the number that it is; one that is none counts as the oldest.
fn version<K: Resource>(object: &K) -> u64 {
    object
        .meta()
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}

/// The routes whose turn is due. A set, so it is never longer than there are routes.
#[derive(Debug, Default)]
pub(crate) struct Due {
    routes: Mutex<BTreeSet<RouteKey>>,
    wake: Notify,
}

impl Due {
    /// Makes a route's turn due.
    pub(crate) fn add(&self, route: RouteKey) {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).insert(route);
        self.wake.notify_one();
    }

    /// How many are due.
    pub(crate) fn len(&self) -> usize {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes all that are due.
    pub(crate) fn take(&self) -> BTreeSet<RouteKey> {
        std::mem::take(&mut *self.routes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Resolves when something may have become due.
    pub(crate) async fn wait(&self) {
        self.wake.notified().await;
    }
}

/// The stores of one namespace, or of the whole cluster.
pub(crate) struct Scope {
    pub(crate) namespace: Option<String>,
    pub(crate) routes: Followed<PostgresRoute>,
    pub(crate) ledgers: Followed<PostgresLedger>,
    pub(crate) pods: Followed<Pod>,
    pub(crate) services: Followed<Service>,
    pub(crate) slices: Followed<EndpointSlice>,
}

/// All stores.
pub(crate) struct Stores {
    scopes: Vec<Arc<Scope>>,
}

impl Stores {
    /// Starts the watches on `tasks`.
    pub(crate) fn follow(
        client: &Client,
        namespaces: &[String],
        due: &Arc<Due>,
        tasks: &mut Tasks<&'static str>,
    ) -> Self {
        let namespaces = if namespaces.is_empty() {
            vec![None]
        } else {
            namespaces.iter().cloned().map(Some).collect()
        };
        let scopes = namespaces
            .into_iter()
            .map(|namespace| follow_scope(client, namespace, due, tasks))
            .collect();
        Self { scopes }
    }

    /// Resolves when every store has been filled once; an error says that a watch has ended.
    pub(crate) async fn ready(&self) -> Result<(), reflector::store::WriterDropped> {
        for scope in &self.scopes {
            scope.routes.ready().await?;
            scope.ledgers.ready().await?;
            scope.pods.ready().await?;
            scope.services.ready().await?;
            scope.slices.ready().await?;
        }
        Ok(())
    }

    /// The stores that hold a namespace.
    pub(crate) fn scope(&self, namespace: &str) -> Option<&Arc<Scope>> {
        self.scopes
            .iter()
            .find(|scope| scope.namespace.as_deref().is_none_or(|own| own == namespace))
    }

    /// How many objects of each kind there are.
    pub(crate) fn sizes(&self) -> [(&'static str, usize); 5] {
        let total = |of: fn(&Scope) -> usize| self.scopes.iter().map(|scope| of(scope)).sum();
        [
            ("routes", total(|scope| scope.routes.all().len())),
            ("ledgers", total(|scope| scope.ledgers.all().len())),
            ("pods", total(|scope| scope.pods.all().len())),
            ("services", total(|scope| scope.services.all().len())),
            ("endpointslices", total(|scope| scope.slices.all().len())),
        ]
    }

    /// All of them.
    pub(crate) fn scopes(&self) -> &[Arc<Scope>] {
        &self.scopes
    }
}

fn follow_scope(
    client: &Client,
    namespace: Option<String>,
    due: &Arc<Due>,
    tasks: &mut Tasks<&'static str>,
) -> Arc<Scope> {
    let (routes, routes_writer) = reflector::store();
    let (ledgers, ledgers_writer) = reflector::store();
    let (pods, pods_writer) = reflector::store();
    let (services, services_writer) = reflector::store();
    let (slices, slices_writer) = reflector::store();
    let scope = Arc::new(Scope {
        namespace,
        routes: Followed::new(routes),
        ledgers: Followed::new(ledgers),
        pods: Followed::new(pods),
        services: Followed::new(services),
        slices: Followed::new(slices),
    });
    let watch = Watch {
        client,
        due,
        scope: &scope,
    };
    watch.start(
        tasks,
        "routes",
        routes_writer,
        |scope| &scope.routes,
        |_, route: &PostgresRoute| vec![RouteKey::of(route)],
    );
    watch.start(
        tasks,
        "ledgers",
        ledgers_writer,
        |scope| &scope.ledgers,
        |_, ledger: &PostgresLedger| vec![RouteKey::of(ledger)],
    );
    watch.start(
        tasks,
        "pods",
        pods_writer,
        |scope| &scope.pods,
        |scope, pod: &Pod| scope.routes_of_pod(pod),
    );
    watch.start(
        tasks,
        "services",
        services_writer,
        |scope| &scope.services,
        |scope, service: &Service| {
            scope.routes_of_service(&service.namespace().unwrap_or_default(), &service.name_any())
        },
    );
    watch.start(
        tasks,
        "endpointslices",
        slices_writer,
        |scope| &scope.slices,
        |scope, slice: &EndpointSlice| {
            let service = slice.labels().get(names::SLICE_SERVICE).cloned().unwrap_or_default();
            scope.routes_of_service(&slice.namespace().unwrap_or_default(), &service)
        },
    );
    scope
}

impl Scope {
    fn routes_of_pod(&self, pod: &Pod) -> Vec<RouteKey> {
        let namespace = pod.namespace().unwrap_or_default();
        let picks = |route: &Arc<PostgresRoute>| {
            route.namespace().as_deref() == Some(namespace.as_str()) && super::observe::selects(route, pod)
        };
        self.routes
            .all()
            .iter()
            .filter(|route| picks(route))
            .map(|route| RouteKey::of(route.as_ref()))
            .collect()
    }

    fn routes_of_service(&self, namespace: &str, service: &str) -> Vec<RouteKey> {
        let names = |route: &Arc<PostgresRoute>| {
            let services = &route.spec.services;
            route.namespace().as_deref() == Some(namespace)
                && (services.primary == service || services.replica == service)
        };
        self.routes
            .all()
            .iter()
            .filter(|route| names(route))
            .map(|route| RouteKey::of(route.as_ref()))
            .collect()
    }
}

/// What every watch of a scope shares.
struct Watch<'a> {
    client: &'a Client,
    due: &'a Arc<Due>,
    scope: &'a Arc<Scope>,
}

impl Watch<'_> {
    fn start<K>(
        &self,
        tasks: &mut Tasks<&'static str>,
        what: &'static str,
        writer: reflector::store::Writer<K>,
        own: fn(&Scope) -> &Followed<K>,
        concerned: fn(&Scope, &K) -> Vec<RouteKey>,
    ) where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Eq + Hash,
    {
        let api: Api<K> = match &self.scope.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let (scope, due) = (Arc::clone(self.scope), Arc::clone(self.due));
        let stream = watcher(api, watcher::Config::default().timeout(WATCH_SECONDS))
            .backoff(ResetTimerBackoff::new(Patience::default(), CALM_AFTER))
            .modify(|object| object.managed_fields_mut().clear())
            .reflect(writer);
        tasks.spawn(async move {
            heed(stream, what, |event| {
                let routes = match &event {
                    watcher::Event::Apply(object) => {
                        own(&scope).brought(object);
                        concerned(&scope, object)
                    }
                    watcher::Event::Delete(object) => {
                        own(&scope).forget(object);
                        concerned(&scope, object)
                    }
                    // A list that was just finished may have brought, or missed, anything.
                    watcher::Event::InitDone => {
                        own(&scope).listed();
                        scope
                            .routes
                            .all()
                            .iter()
                            .map(|route| RouteKey::of(route.as_ref()))
                            .collect()
                    }
                    watcher::Event::Init | watcher::Event::InitApply(_) => Vec::new(),
                };
                for route in routes {
                    due.add(route);
                }
            })
            .await;
            what
        });
    }
}

/// The pauses between the attempts of a watch that fails.
#[derive(Debug)]
struct Patience {
    next: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { next: PATIENCE_MIN }
    }
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next;
        self.next = (pause * 2).min(PATIENCE_MAX);
        Some(pause)
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Reads a watch for as long as the reign lasts. The watcher itself tries again after an error, with growing pauses.
async fn heed<K>(
    stream: impl Stream<Item = watcher::Result<watcher::Event<K>>>,
    what: &'static str,
    mut event: impl FnMut(watcher::Event<K>),
) {
    stream
        .for_each(|item| {
            match item {
                Ok(item) => event(item),
                Err(error) => {
                    warn!(watch = what, error = %crate::chain::Chain(&error), "the watch failed; it is tried again");
                }
            }
            future::ready(())
        })
        .await;
}

#[cfg(test)]
mod tests;
