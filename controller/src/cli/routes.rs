//! What the commands about routes learn from the API server, and the one thing that they write there: a person's word, as an
//! annotation of a route.

use std::{convert::Infallible, str::FromStr, time::Duration};

use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod, events::v1::Event};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use shared::{
    ledger::{Mark, PostgresLedger, Switch},
    names,
    route::PostgresRoute,
    status::{ConditionType, Member, PostgresRouteStatus, Reason},
};

use super::reach::{self, Figures};
use crate::{
    live::{LiveMember, LiveRoute},
    reign::RouteKey,
};

/// How long the API server may take to be reached, and to answer: a person is waiting.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Who writes a person's word, as the API server records it in `managedFields`: not the controller.
const FIELD_MANAGER: &str = "pgsteer-cli";

/// Which route a command is about.
#[derive(Debug, Clone, clap::Args)]
pub struct RouteArgs {
    /// The route; its namespace may stand before it, as `pgsteer status` prints it
    #[arg(value_name = "[NAMESPACE/]ROUTE")]
    pub route: RouteName,
    /// The route's namespace [default: that of the kubeconfig's context]
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// A route as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteName {
    /// Its namespace, if it was named.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no such object: correct the name.
    #[error("there is no {0}; `pgsteer status` lists the routes")]
    Missing(String),
    /// The custom resources are not installed.
    #[error(
        "the API server knows no PostgresRoute: install pgsteer, or `pgsteer crd | kubectl apply --server-side -f -`"
    )]
    NotInstalled,
    /// The kubeconfig's user has not the right to.
    #[error("you may not {what}: ask for the right, or name with -n a namespace where you have it")]
    Forbidden {
        /// What was tried.
        what: String,
        #[source]
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// There is no way to the API server, or it said no.
    #[error("cannot {what}")]
    Failed {
        /// What was tried.
        what: String,
        #[source]
        /// What the API server, or the way to it, said.
        source: Box<kube::Error>,
    },
    /// Somebody else changed the route between each look and each write: try again.
    #[error("route {key} changes all the time: its annotation {annotation} is not as asked for; try again")]
    Contended {
        /// The route.
        key: RouteKey,
        /// The annotation.
        annotation: &'static str,
    },
    /// It is not known which API server to ask.
    #[error("cannot find out which API server to ask: set KUBECONFIG, or run in a pod")]
    NoServer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A route, and what is remembered of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The route, with its status.
    pub route: PostgresRoute,
    /// Its ledger, if there is one yet.
    pub ledger: Option<PostgresLedger>,
    /// What the leader says of it right now, if it was reached.
    pub live: Option<Box<LiveRoute>>,
}

/// The API server that the kubeconfig names.
#[derive(Clone)]
pub struct ApiServer {
    client: Client,
    namespace: String,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { client: _, namespace } = self;
        f.debug_struct("ApiServer")
            .field("namespace", namespace)
            .finish_non_exhaustive()
    }
}

// === impl ApiServer ===

impl ApiServer {
    /// The kubeconfig's current one; in a pod, its own.
    pub async fn find() -> Result<Self, AskError> {
        let mut config = Config::infer()
            .await
            .map_err(|error| AskError::NoServer(error.into()))?;
        // By itself the client would go on trying for minutes; a person can press a key.
        config.default_retry = false;
        config.connect_timeout = Some(ANSWER_MAX);
        config.read_timeout = Some(ANSWER_MAX);
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).map_err(|error| AskError::NoServer(error.into()))?;
        Ok(Self::new(client, namespace))
    }

    /// The one that `client` talks to; `namespace` is where routes are looked for when none is named.
    pub fn new(client: Client, namespace: String) -> Self {
        Self { client, namespace }
    }

    /// The route that a person named.
    pub fn key(&self, args: &RouteArgs) -> Result<RouteKey, String> {
        let RouteArgs { route, namespace } = args;
        let namespace = match (&route.namespace, namespace) {
            (Some(one), Some(other)) if one != other => {
                return Err(format!(
                    "the route is in namespace {one}, or in {other}: name one of them"
                ));
            }
            (Some(named), _) | (None, Some(named)) => named.clone(),
            (None, None) => self.namespace.clone(),
        };
        let name = route.name.clone();
        Ok(RouteKey { namespace, name })
    }

    /// One route with its ledger.
    pub async fn route(&self, key: &RouteKey) -> Result<Known, AskError> {
        let what = || format!("read PostgresRoute {key}");
        let found = self.routes_in(key).get_opt(&key.name).await;
        let route = found
            .map_err(|error| failed(what(), error))?
            .ok_or_else(|| AskError::Missing(format!("route {key}")))?;
        let ledger = self.ledger(key).await?;
        Ok(Known {
            route,
            ledger,
            live: None,
        })
    }

    /// The ledger of a route; it outlives its route.
    pub async fn ledger(&self, key: &RouteKey) -> Result<Option<PostgresLedger>, AskError> {
        let ledgers: Api<PostgresLedger> = Api::namespaced(self.client.clone(), &key.namespace);
        let found = ledgers.get_opt(&key.name).await;
        found.map_err(|error| failed(format!("read PostgresLedger {key}"), error))
    }

    /// Every route of one namespace, or of all, with its ledger; by namespace and name.
    pub async fn routes(&self, namespace: Option<&str>) -> Result<Vec<Known>, AskError> {
        let (routes, ledgers): (Api<PostgresRoute>, Api<PostgresLedger>) = match namespace {
            Some(namespace) => (
                Api::namespaced(self.client.clone(), namespace),
                Api::namespaced(self.client.clone(), namespace),
            ),
            None => (Api::all(self.client.clone()), Api::all(self.client.clone())),
        };
        let everything = ListParams::default();
        let (routes, ledgers) = tokio::join!(routes.list(&everything), ledgers.list(&everything));
        let place = namespace.map_or_else(|| "every namespace".to_owned(), |name| format!("namespace {name}"));
        let listed = |error| match error {
            kube::Error::Api(status) if status.code == 404 => AskError::NotInstalled,
            error => failed(format!("list the routes of {place}"), error),
        };
        let ledgers = ledgers.map_err(listed)?.items;
        let mut known: Vec<Known> = routes
            .map_err(listed)?
            .items
            .into_iter()
            .map(|route| Known {
                ledger: ledgers.iter().find(|ledger| same_name(ledger, &route)).cloned(),
                route,
                live: None,
            })
            .collect();
        known.sort_by_key(|known| (known.key().namespace, known.key().name));
        Ok(known)
    }

    /// A pod of the route's namespace.
    pub async fn pod(&self, route: &RouteKey, name: &str) -> Result<Pod, AskError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &route.namespace);
        let found = pods.get_opt(name).await;
        found
            .map_err(|error| failed(format!("read pod {name} of namespace {}", route.namespace), error))?
            .ok_or_else(|| AskError::Missing(format!("pod {name} in namespace {}", route.namespace)))
    }

    /// The Leases that bear the election's name; none when this person may not see them.
    pub async fn leases(&self) -> Vec<Lease> {
        let leases: Api<Lease> = Api::all(self.client.clone());
        let named = ListParams::default().fields(&format!("metadata.name={}", names::LEASE));
        if let Ok(found) = leases.list(&named).await {
            return found.items;
        }
        // Who may not look everywhere may look where the documentation installs it.
        let there: Api<Lease> = Api::namespaced(self.client.clone(), names::SYSTEM_NAMESPACE);
        let found = there.get_opt(names::LEASE).await;
        found.ok().flatten().into_iter().collect()
    }

    /// What the leaders say right now.
    pub async fn figures(&self) -> Figures {
        reach::ask(&self.client, &self.leases().await).await
    }

    /// The same, of the leaders of these Leases.
    pub(super) async fn figures_of(&self, leases: &[Lease]) -> Figures {
        reach::ask(&self.client, leases).await
    }

    /// The Events that say why a person's word was refused.
    pub async fn refusals(&self, route: &PostgresRoute) -> Result<Vec<Event>, AskError> {
        let namespace = route.namespace().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let refused = ListParams::default().fields(&format!("reason={}", Reason::AcceptRefused));
        let found = events.list(&refused).await;
        let found = found.map_err(|error| failed(format!("list the Events of namespace {namespace}"), error))?;
        let about_it = |event: &Event| {
            let about = event.regarding.as_ref().and_then(|about| about.uid.as_ref());
            about.is_some() && about == route.metadata.uid.as_ref()
        };
        Ok(found.items.into_iter().filter(about_it).collect())
    }

    /// Sets or removes an annotation of a route, provided that it is still as it was looked at; `None`: it is not.
    pub async fn annotate(
        &self,
        route: &PostgresRoute,
        annotation: &str,
        value: Option<&str>,
    ) -> Result<Option<PostgresRoute>, AskError> {
        let key = RouteKey {
            namespace: route.namespace().unwrap_or_default(),
            name: route.name_any(),
        };
        let patch = Patch::Merge(json!({ "metadata": {
            "uid": route.metadata.uid,
            "resourceVersion": route.metadata.resource_version,
            "annotations": { annotation: value },
        }}));
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let routes = self.routes_in(&key);
        #[expect(clippy::disallowed_methods, reason = "a person's word, not the controller's")]
        match routes.patch(&key.name, &params, &patch).await {
            Ok(route) => Ok(Some(route)),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(failed(format!("annotate PostgresRoute {key} with {annotation}"), error)),
        }
    }

    fn routes_in(&self, key: &RouteKey) -> Api<PostgresRoute> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }
}

fn same_name(ledger: &PostgresLedger, route: &PostgresRoute) -> bool {
    ledger.namespace() == route.namespace() && ledger.name_any() == route.name_any()
}

fn failed(what: String, error: kube::Error) -> AskError {
    let source = Box::new(error);
    match source.as_ref() {
        kube::Error::Api(status) if status.code == 403 => AskError::Forbidden { what, source },
        _ => AskError::Failed { what, source },
    }
}

// === impl Known ===

impl Known {
    /// Its namespace and name.
    pub fn key(&self) -> RouteKey {
        RouteKey {
            namespace: self.route.namespace().unwrap_or_default(),
            name: self.route.name_any(),
        }
    }

    /// Takes in what the leader says of it right now: it is newer than the status.
    pub fn freshen(&mut self, figures: &Figures) {
        let Some(live) = figures.of(&self.key()).cloned() else {
            return;
        };
        let current = self.current();
        if let Some(status) = self.route.status.as_mut().filter(|_| current) {
            status.members = live.members.iter().map(as_member).collect();
            status.state.clone_from(&live.state);
            status.primary.clone_from(&live.primary);
        }
        self.live = Some(Box::new(live));
    }

    /// What the leader says of one of its pods right now.
    pub fn live_member(&self, pod: &str) -> Option<&LiveMember> {
        self.live.as_ref()?.members.iter().find(|member| member.pod == pod)
    }

    /// What a leader last made of it; `None`: none has looked at it yet.
    pub fn status(&self) -> Option<&PostgresRouteStatus> {
        self.route.status.as_ref()
    }

    /// Whether the status is about the spec as it is now.
    pub fn current(&self) -> bool {
        self.status()
            .is_some_and(|status| status.observed_generation == self.route.metadata.generation)
    }

    /// Whether every label is as it should be: the same answer as `kubectl wait --for=condition=Settled`.
    pub fn settled(&self) -> bool {
        let settled = ConditionType::Settled.to_string();
        let holds = |status: &PostgresRouteStatus| {
            let mut conditions = status.conditions.iter();
            conditions.any(|condition| condition.type_ == settled && condition.status == "True")
        };
        self.current() && self.status().is_some_and(holds)
    }

    /// Where it stands, in one word.
    pub fn state(&self) -> &str {
        match self.status() {
            Some(status) if !status.state.is_empty() => &status.state,
            _ => "Unknown",
        }
    }

    /// The pods, as a leader last saw them.
    pub fn members(&self) -> &[Member] {
        self.status().map_or(&[], |status| &status.members)
    }

    /// Another pod whose server takes writes on a higher timeline: while it does, the leader accepts none below it.
    pub fn outranked_by(&self, member: &Member) -> Option<&Member> {
        let mut members = self.members().iter();
        members.find(|other| other.pod != member.pod && takes_writes(other) && other.timeline > member.timeline)
    }

    /// What is remembered of the last primary.
    pub fn mark(&self) -> Option<&Mark> {
        self.ledger.as_ref().and_then(|ledger| ledger.spec.mark.as_ref())
    }

    /// The last switches, the newest first.
    pub fn switches(&self) -> &[Switch] {
        self.ledger.as_ref().map_or(&[], |ledger| &ledger.spec.switches)
    }

    /// The last switch, with what only the status knows of it yet.
    pub fn last_switch(&self) -> Option<Switch> {
        let newest = self.switches().first().cloned().into_iter().collect();
        complete(self.status(), newest).into_iter().next()
    }

    /// Whether a person paused it.
    pub fn paused(&self) -> bool {
        self.route
            .annotations()
            .get(names::PAUSED)
            .is_some_and(|value| value == "true")
    }

    /// The uid of the pod that a person accepted, while that is not done.
    pub fn accepting(&self) -> Option<&str> {
        self.route.annotations().get(names::ACCEPT).map(String::as_str)
    }
}

/// The switches of a ledger, with what only the status knows of the newest.
pub(super) fn complete(status: Option<&PostgresRouteStatus>, switches: Vec<Switch>) -> Vec<Switch> {
    match status.and_then(|status| status.last_switch.as_ref()) {
        Some(last) => last.complete(switches),
        None => switches,
    }
}

/// A pod as the status would list it.
fn as_member(live: &LiveMember) -> Member {
    Member {
        pod: live.pod.clone(),
        node: live.node.clone(),
        evidence: live.evidence.clone(),
        role: live.role,
        timeline: live.timeline,
        since: live.since.clone(),
        why: live.why.clone(),
    }
}

/// Whether the pod's server took writes when it was last seen.
pub(super) fn takes_writes(member: &Member) -> bool {
    member.evidence == "Writable"
}

// === impl RouteName ===

impl FromStr for RouteName {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.split_once('/') {
            Some((namespace, name)) => Self {
                namespace: Some(namespace.to_owned()),
                name: name.to_owned(),
            },
            None => Self {
                namespace: None,
                name: text.to_owned(),
            },
        })
    }
}
