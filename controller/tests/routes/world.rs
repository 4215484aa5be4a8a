//! A world without nodes: a real API server, real PostgreSQL processes on loopback, and a controller in this process.
//!
//! The pods have no kubelet. A test writes their status itself, with the address of a relay that leads to a server: so every
//! "pod" has an IP of its own and all listen on one port, as in a cluster.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicU32, Ordering},
    },
    time::Duration,
};

use chaos::{
    cluster::ControlPlane,
    postgres::{Server, Setup},
    wait::wait_for,
};
use controller::{
    election::{Elector, Settings, identity},
    host::Host,
    reign::{Context, lead},
    shown::Shown,
};
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    core::v1::{Namespace, Pod, Secret, Service},
    events::v1::Event,
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use shared::route::PostgresRoute;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Far beyond what anything here takes, on a host that builds something else beside it.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);

/// What the probe logs in with, until a test changes it.
pub(crate) const PASSWORD: &str = "correct horse";

/// The API server with the custom resources, shared by all tests of this file.
pub(crate) struct World {
    control_plane: ControlPlane,
    namespaces: AtomicU32,
}

impl World {
    pub(crate) async fn start(directory: &std::path::Path) -> Self {
        Self::over(ControlPlane::start(directory).await.unwrap()).await
    }

    /// On an API server that a test has started.
    pub(crate) async fn over(control_plane: ControlPlane) -> Self {
        control_plane.define_resources().await.unwrap();
        Self {
            control_plane,
            namespaces: AtomicU32::new(0),
        }
    }

    /// A kubeconfig for a controller that runs as a process.
    pub(crate) fn kubeconfig(&self) -> std::path::PathBuf {
        self.control_plane.kubeconfig()
    }

    /// A namespace of a test's own, with a controller that serves only it.
    pub(crate) async fn scene(&self) -> Scene {
        let number = self.namespaces.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("scene-{number}");
        let mut config = self.control_plane.config();
        config.default_retry = false;
        let client = Client::try_from(config.clone()).unwrap();
        let object = Namespace {
            metadata: meta(&namespace),
            ..Namespace::default()
        };
        Api::all(client.clone())
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let network = u8::try_from(number).unwrap() + 10;
        Scene {
            client,
            config,
            namespace,
            network,
            port,
            hosts: AtomicU8::new(2),
            tasks: JoinSet::new(),
        }
    }
}

fn meta(name: &str) -> kube::core::ObjectMeta {
    kube::core::ObjectMeta {
        name: Some(name.to_owned()),
        ..Default::default()
    }
}

/// One test's own corner of the world.
pub(crate) struct Scene {
    pub(crate) client: Client,
    pub(crate) config: Config,
    pub(crate) namespace: String,
    network: u8,
    port: u16,
    hosts: AtomicU8,
    tasks: JoinSet<()>,
}

/// A way to a server, which a test can lead elsewhere.
#[derive(Clone)]
pub(crate) struct Way(Arc<Mutex<SocketAddr>>);

impl Way {
    pub(crate) fn lead_to(&self, server: &Server) {
        *self.0.lock().unwrap() = server.address();
    }
}

impl Scene {
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Starts a controller for this namespace.
    pub(crate) fn control(&mut self) {
        self.control_with(self.config.clone(), vec![self.namespace.clone()]);
    }

    /// Starts a controller with only these rights on pods.
    pub(crate) async fn control_with_rights(&mut self, pod_verbs: &[&str]) {
        let user = format!("limited-{}", self.namespace);
        self.allow(pod_verbs).await;
        let binding: ClusterRoleBinding = serde_json::from_value(json!({
            "metadata": { "name": self.namespace },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": self.namespace },
            "subjects": [{ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user }],
        }))
        .unwrap();
        Api::all(self.client.clone())
            .create(&PostParams::default(), &binding)
            .await
            .unwrap();
        let mut config = self.config.clone();
        config.auth_info.impersonate = Some(user);
        self.control_with(config, vec![self.namespace.clone()]);
    }

    /// Sets the rights on pods of the limited controller.
    pub(crate) async fn allow(&self, pod_verbs: &[&str]) {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": self.namespace },
            "rules": [
                { "apiGroups": ["pgsteer.io", "discovery.k8s.io", "events.k8s.io"], "resources": ["*"], "verbs": ["*"] },
                { "apiGroups": [""], "resources": ["services", "secrets"], "verbs": ["*"] },
                { "apiGroups": [""], "resources": ["pods"], "verbs": pod_verbs },
            ],
        });
        let roles: Api<ClusterRole> = Api::all(self.client.clone());
        let params = PatchParams::apply("test").force();
        roles
            .patch(&self.namespace, &params, &Patch::Apply(role))
            .await
            .unwrap();
    }

    /// Starts a controller for these namespaces.
    pub(crate) fn control_with(&mut self, config: Config, namespaces: Vec<String>) {
        let host = Host {
            servers: Arc::new(super::slices::Mapped),
            ..Host::real()
        };
        let name = identity("pgsteer-test", rand::random());
        let settings = Settings::new("default", &self.namespace, &name, Duration::from_secs(5)).unwrap();
        let (elector, handle) = Elector::new(self.config.clone(), settings, Arc::clone(&host.clock)).unwrap();
        let (stop, shown) = (CancellationToken::new(), Shown::new(Arc::clone(&host.clock)));
        let context = Arc::new(Context::new(
            Client::try_from(config).unwrap(),
            handle.clone(),
            host,
            shown,
            namespaces,
            stop.clone(),
        ));
        self.tasks.spawn(async move {
            elector.run(stop).await;
        });
        let mut leadership = handle.leadership.clone();
        self.tasks.spawn(async move {
            loop {
                let reign = leadership.borrow_and_update().reign().cloned();
                if let Some(reign) = reign {
                    lead(&context, reign).await;
                }
                if leadership.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// An address of its own on the scene's port that leads to a server.
    pub(crate) async fn way_to(&mut self, server: &Server) -> (IpAddr, Way) {
        let host = self.hosts.fetch_add(1, Ordering::Relaxed);
        let ip = Ipv4Addr::new(127, 0, self.network, host);
        let listener = TcpListener::bind((ip, self.port)).await.unwrap();
        let way = Way(Arc::new(Mutex::new(server.address())));
        let leads = way.clone();
        self.tasks.spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                let to = *leads.0.lock().unwrap();
                sessions.spawn(async move {
                    if let Ok(mut to) = TcpStream::connect(to).await {
                        copy_bidirectional(&mut from, &mut to).await.ok();
                    }
                });
            }
        });
        (ip.into(), way)
    }

    /// Creates a pod that runs on `node` at `ip`.
    pub(crate) async fn pod(&self, name: &str, node: &str, ip: IpAddr, metadata: Value) -> Pod {
        let mut pod = json!({
            "metadata": { "name": name, "labels": { "app": "db" } },
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "postgres", "image": "none",
                    "ports": [{ "name": "postgres", "containerPort": self.port }],
                    "volumeMounts": [{ "name": "data", "mountPath": "/" }],
                }],
                "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": format!("{name}-data") } }],
            },
        });
        merge(&mut pod["metadata"], metadata);
        self.create::<Pod>(pod).await;
        self.move_pod(name, ip).await
    }

    /// Gives the pod another address.
    pub(crate) async fn move_pod(&self, name: &str, ip: IpAddr) -> Pod {
        let status = json!({ "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }], "conditions": [{ "type": "Ready", "status": "True" }] } });
        self.api::<Pod>()
            .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap()
    }

    pub(crate) async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Serialize
            + std::fmt::Debug,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    /// The Services, the Secret and the route of the pods labelled `app=db`.
    pub(crate) async fn route(&self, name: &str) {
        for (service, role) in [("rw", "primary"), ("ro", "replica")] {
            self.create::<Service>(json!({
                "metadata": { "name": service },
                "spec": { "selector": { "app": "db", "role": role }, "ports": [{ "port": 5432 }] },
            }))
            .await;
        }
        self.secret(PASSWORD).await;
        self.bare_route(name).await;
    }

    /// Where every server of the scene listens.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) async fn bare_route(&self, name: &str) {
        self.create::<PostgresRoute>(json!({
            "metadata": { "name": name },
            "spec": {
                "podSelector": { "matchLabels": { "app": "db" } },
                "port": self.port,
                "roleLabel": "role",
                "services": { "primary": "rw", "replica": "ro" },
                "connection": {
                    "user": "pgsteer",
                    "passwordSecret": { "name": "pgsteer-probe" },
                    "tls": { "mode": "Disable" },
                },
            },
        }))
        .await;
    }

    pub(crate) async fn secret(&self, password: &str) {
        self.api::<Secret>()
            .delete("pgsteer-probe", &DeleteParams::default())
            .await
            .ok();
        self.create::<Secret>(
            json!({ "metadata": { "name": "pgsteer-probe" }, "stringData": { "password": password } }),
        )
        .await;
    }

    /// Has the API server refuse every change of a pod of this namespace, and waits until it does. Deleting the binding of the namespace's
    /// name ends it.
    pub(crate) async fn refuse_pod_updates(&self, message: &str) -> Api<ValidatingAdmissionPolicyBinding> {
        let policy: ValidatingAdmissionPolicy = serde_json::from_value(json!({
            "metadata": { "name": self.namespace },
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods"],
                }] },
                "validations": [{ "expression": "false", "message": message }],
            },
        }))
        .unwrap();
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(self.client.clone());
        policies.create(&PostParams::default(), &policy).await.unwrap();
        let binding: ValidatingAdmissionPolicyBinding = serde_json::from_value(json!({
            "metadata": { "name": self.namespace },
            "spec": {
                "policyName": self.namespace,
                "validationActions": ["Deny"],
                "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": self.namespace } } },
            },
        }))
        .unwrap();
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(self.client.clone());
        bindings.create(&PostParams::default(), &binding).await.unwrap();
        wait_for("the policy to be in force", LIMIT, async || {
            let patch =
                Patch::Merge(json!({ "metadata": { "annotations": { "tried": rand::random::<u32>().to_string() } } }));
            match self.api::<Pod>().patch("a", &PatchParams::default(), &patch).await {
                Ok(_) => Err("a pod could still be changed".to_owned()),
                Err(_refused) => Ok(()),
            }
        })
        .await
        .unwrap();
        bindings
    }

    /// Waits until the pods carry exactly these roles.
    pub(crate) async fn roles(&self, wanted: &[(&str, Option<&str>)]) {
        let what = format!("the roles {wanted:?}");
        let outcome = wait_for(&what, LIMIT, async || {
            for (pod, role) in wanted {
                let found = self.api::<Pod>().get(pod).await.map_err(|error| error.to_string())?;
                let label = found.labels().get("role").map(String::as_str);
                if label != *role {
                    return Err(format!("{pod} is labelled {label:?}; {}", self.explain().await));
                }
            }
            Ok(())
        });
        outcome.await.unwrap();
    }

    /// Waits until a condition of the route has this status and reason.
    pub(crate) async fn condition(&self, route: &str, kind: &str, status: &str, reason: &str) {
        self.told(route, kind, status, reason, "").await;
    }

    /// Waits until a condition of the route has this status and reason, and its message these words; gives the message.
    pub(crate) async fn told(&self, route: &str, kind: &str, status: &str, reason: &str, words: &str) -> String {
        let what = format!("condition {kind} of {route} to be {status} because of {reason}, saying {words:?}");
        wait_for(&what, LIMIT, async || {
            let route = self
                .api::<PostgresRoute>()
                .get(route)
                .await
                .map_err(|error| error.to_string())?;
            let conditions = route.status.map(|status| status.conditions).unwrap_or_default();
            let found = conditions.iter().find(|condition| condition.type_ == kind);
            match found {
                Some(found) if found.status == status && found.reason == reason && found.message.contains(words) => {
                    Ok(found.message.clone())
                }
                other => Err(format!("it is {other:?}")),
            }
        })
        .await
        .unwrap()
    }

    /// Waits for an Event of this reason, and gives its note.
    pub(crate) async fn event(&self, reason: &str) -> String {
        wait_for(&format!("an Event {reason}"), LIMIT, async || {
            let events = self
                .api::<Event>()
                .list(&kube::api::ListParams::default())
                .await
                .map_err(|error| error.to_string())?;
            let reasons: Vec<_> = events.items.iter().filter_map(|event| event.reason.clone()).collect();
            let found = events
                .items
                .into_iter()
                .find(|event| event.reason.as_deref() == Some(reason));
            found
                .and_then(|event| event.note)
                .ok_or_else(|| format!("there are {reasons:?}"))
        })
        .await
        .unwrap()
    }

    pub(crate) async fn explain(&self) -> String {
        let routes = self
            .api::<PostgresRoute>()
            .list(&kube::api::ListParams::default())
            .await
            .map(|list| list.items);
        let statuses: Vec<_> = routes.into_iter().flatten().filter_map(|route| route.status).collect();
        serde_json::to_string(&statuses).unwrap_or_default()
    }
}

/// A writable server with the probe's role.
pub(crate) async fn primary() -> Server {
    let server = Server::primary(Setup::default()).await.unwrap();
    server
        .sql(&format!(
            "CREATE ROLE pgsteer LOGIN PASSWORD '{PASSWORD}'; GRANT pg_monitor TO pgsteer"
        ))
        .await
        .unwrap();
    server
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
