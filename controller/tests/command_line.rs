//! The commands that hand a person's word to the leader, against a real API server. The test itself is the leader.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what went wrong by failing there"
)]
#![expect(clippy::disallowed_methods, reason = "here the test is the user, and the leader")]

use std::time::Duration;

use chaos::{cluster::ControlPlane, wait::wait_for};
use controller::{
    cli::{
        accept::{self, Judgement, Outcome, Preview},
        pause,
        routes::{ApiServer, AskError, RouteArgs},
        status,
    },
    reign::RouteKey,
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{Namespace, Pod},
        events::v1::Event,
    },
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use shared::{ledger::PostgresLedger, names, route::PostgresRoute};

/// Far beyond what anything here takes, on a host that builds something else beside it.
const LIMIT: Duration = Duration::from_secs(40);

/// How long a word that nobody carries out is waited for: the answer is known, so no longer than it takes to look twice.
const SHORT: Duration = Duration::from_millis(500);

/// A route in a namespace of its own: `db-0` is the server that a person accepts, the mark is `db-1`'s.
struct Scene {
    client: Client,
    server: ApiServer,
    key: RouteKey,
}

impl Scene {
    async fn new(client: &Client, namespace: &str) -> Self {
        let scene = Self {
            client: client.clone(),
            server: ApiServer::new(client.clone(), namespace.to_owned()),
            key: RouteKey {
                namespace: namespace.to_owned(),
                name: "orders".to_owned(),
            },
        };
        let object = serde_json::from_value(json!({ "metadata": { "name": namespace } })).unwrap();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &object).await.unwrap();
        scene
            .create::<PostgresRoute>(json!({
                "metadata": { "name": "orders" },
                "spec": {
                    "podSelector": { "matchLabels": { "app": "db" } },
                    "services": { "primary": "rw", "replica": "ro" },
                    "connection": { "user": "pgsteer" },
                },
            }))
            .await;
        scene
            .create::<PostgresLedger>(json!({ "metadata": { "name": "orders" }, "spec": { "mark": mark("db-1", 2) } }))
            .await;
        scene
            .create::<Pod>(json!({
                "metadata": { "name": "db-0", "labels": { "app": "db" } },
                "spec": { "containers": [{ "name": "postgres", "image": "none" }] },
            }))
            .await;
        scene.status("NoPrimary").await;
        scene
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.key.namespace)
    }

    async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Serialize
            + std::fmt::Debug,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    async fn merge<K>(&self, patch: Value)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let patch = Patch::Merge(patch);
        self.api::<K>()
            .patch("orders", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// What the leader says.
    async fn status(&self, state: &str) {
        let member = json!({ "pod": "db-0", "evidence": "Writable", "role": "orphan", "timeline": 1 });
        let condition = json!({
            "type": "Settled", "status": if state == "Settled" { "True" } else { "False" }, "reason": "AsExpected", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let status = json!({ "observedGeneration": 1, "state": state, "members": [member], "conditions": [condition] });
        let patch = Patch::Merge(json!({ "status": status }));
        let routes = self.api::<PostgresRoute>();
        routes
            .patch_status("orders", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    async fn preview(&self) -> Preview {
        match accept::look(&self.server, &self.key, "db-0").await.unwrap() {
            Judgement::Ask(preview) => *preview,
            other => panic!("{other:?}"),
        }
    }

    async fn annotation(&self, name: &str) -> Option<String> {
        let route = self.api::<PostgresRoute>().get("orders").await.unwrap();
        route.annotations().get(name).cloned()
    }

    /// Waits, as the leader does, until a person's word is there.
    async fn word(&self) -> String {
        wait_for("a person's word", LIMIT, async || {
            self.annotation(names::ACCEPT)
                .await
                .ok_or_else(|| "there is none".to_owned())
        })
        .await
        .unwrap()
    }
}

fn mark(pod: &str, timeline: u32) -> Value {
    json!({
        "systemIdentifier": "7400000000000000001", "timeline": timeline, "lsn": "0/5000148", "pod": pod,
        "data": { "kind": "PersistentVolumeClaim", "name": format!("data-{pod}") },
    })
}

async fn a_word_that_the_leader_carries_out_is_done(scene: Scene) {
    let preview = scene.preview().await;
    let leader = async {
        assert_eq!(scene.word().await, preview.uid);
        scene
            .merge::<PostgresLedger>(json!({ "spec": { "mark": mark("db-0", 1) } }))
            .await;
        scene
            .merge::<PostgresRoute>(json!({ "metadata": { "annotations": { names::ACCEPT: null } } }))
            .await;
    };
    let (outcome, ()) = tokio::join!(accept::accept(&scene.server, &preview, LIMIT), leader);
    match outcome.unwrap() {
        Outcome::Done(mark) => assert_eq!((mark.pod.as_str(), mark.timeline.0), ("db-0", 1)),
        other => panic!("{other:?}"),
    }
}

async fn a_word_that_the_leader_refuses_is_taken_back_with_its_reason(scene: Scene) {
    let preview = scene.preview().await;
    let uid = scene.api::<PostgresRoute>().get("orders").await.unwrap().uid();
    let event = |name: &str, note: &str| {
        json!({
            "metadata": { "name": name }, "reason": "AcceptRefused", "note": note, "type": "Warning", "action": "Route",
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "pgsteer", "reportingInstance": "test",
            "regarding": { "kind": "PostgresRoute", "name": "orders", "namespace": scene.key.namespace, "uid": uid },
        })
    };
    scene.create::<Event>(event("old", "what was refused before")).await;
    let leader = async {
        scene.word().await;
        scene
            .create::<Event>(event("new", "db-1 takes writes on a higher timeline"))
            .await;
    };
    let (outcome, ()) = tokio::join!(accept::accept(&scene.server, &preview, LIMIT), leader);
    let expected = Outcome::Refused("db-1 takes writes on a higher timeline".to_owned());
    assert_eq!(outcome.unwrap(), expected);
    assert_eq!(scene.annotation(names::ACCEPT).await, None);
}

async fn a_word_that_nobody_carries_out_is_taken_back(scene: Scene) {
    let preview = scene.preview().await;
    let outcome = accept::accept(&scene.server, &preview, SHORT).await.unwrap();
    assert_eq!(outcome, Outcome::NoAnswer);
    assert_eq!(scene.annotation(names::ACCEPT).await, None);
}

async fn a_word_that_another_overrules_is_not_done(scene: Scene) {
    let preview = scene.preview().await;
    let other = async {
        scene.word().await;
        scene
            .merge::<PostgresRoute>(json!({ "metadata": { "annotations": { names::ACCEPT: "another" } } }))
            .await;
    };
    let (outcome, ()) = tokio::join!(accept::accept(&scene.server, &preview, LIMIT), other);
    assert_eq!(outcome.unwrap(), Outcome::Overruled);
    assert_eq!(
        scene.annotation(names::ACCEPT).await.as_deref(),
        Some("another"),
        "it is theirs"
    );
}

async fn a_word_about_what_has_changed_since_is_not_given(scene: Scene) {
    let preview = scene.preview().await;
    scene
        .merge::<PostgresLedger>(json!({ "spec": { "mark": mark("db-2", 3) } }))
        .await;
    let outcome = accept::accept(&scene.server, &preview, LIMIT).await.unwrap();
    assert_eq!(outcome, Outcome::Changed);
    assert_eq!(scene.annotation(names::ACCEPT).await, None);
}

async fn a_route_that_was_changed_after_it_was_looked_at_is_not_annotated(scene: Scene) {
    let looked_at = scene.server.route(&scene.key).await.unwrap().route;
    scene.status("Blind").await;
    let written = scene
        .server
        .annotate(&looked_at, names::ACCEPT, Some("uid"))
        .await
        .unwrap();
    assert!(written.is_none(), "{written:?}");
    assert_eq!(scene.annotation(names::ACCEPT).await, None);
}

async fn a_route_is_paused_and_resumed(scene: Scene) {
    let leader = async {
        wait_for("the pause", LIMIT, async || {
            scene
                .annotation(names::PAUSED)
                .await
                .ok_or_else(|| "it is not annotated".to_owned())
        })
        .await
        .unwrap();
        scene.status("Paused").await;
    };
    let (seen, ()) = tokio::join!(pause::set(&scene.server, &scene.key, true, LIMIT), leader);
    assert!(seen.unwrap());
    assert_eq!(scene.annotation(names::PAUSED).await.as_deref(), Some("true"));
    assert!(matches!(
        accept::look(&scene.server, &scene.key, "db-0").await.unwrap(),
        Judgement::Refused(_)
    ));
    // Nobody says that it is looked after again: that is no yes.
    assert!(!pause::set(&scene.server, &scene.key, false, SHORT).await.unwrap());
    assert_eq!(scene.annotation(names::PAUSED).await, None);
}

async fn what_is_asked_for_is_found_or_named(scene: Scene) {
    let routes = scene.server.routes(None).await.unwrap();
    let own = routes.iter().find(|known| known.key() == scene.key).unwrap();
    assert_eq!(own.mark().unwrap().pod, "db-1", "each route has its own ledger");
    assert_eq!(scene.server.routes(Some("default")).await.unwrap(), []);
    let args = |route: &str, namespace: Option<&str>| RouteArgs {
        route: route.parse().unwrap(),
        namespace: namespace.map(str::to_owned),
    };
    for (route, namespace) in [
        ("orders", None),
        ("orders", Some(&*scene.key.namespace)),
        (&*scene.key.to_string(), None),
    ] {
        assert_eq!(scene.server.key(&args(route, namespace)).unwrap(), scene.key, "{route}");
    }
    assert!(scene.server.key(&args("a/orders", Some("b"))).is_err());
    let wrong = scene.server.key(&args("carts", None)).unwrap();
    let missing = scene.server.route(&wrong).await.unwrap_err();
    assert!(
        matches!(&missing, AskError::Missing(what) if what.contains("carts")),
        "{missing}"
    );
    assert_eq!(status::exit(&routes), controller::cli::Exit::No);
    scene.status("Settled").await;
    let settled = scene.server.route(&scene.key).await.unwrap();
    assert_eq!(status::exit(&[settled]), controller::cli::Exit::Yes);
}

#[tokio::test]
async fn a_persons_word_reaches_the_leader_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let control_plane = ControlPlane::start(directory.path())
        .await
        .unwrap_or_else(|error| panic!("{:#}", anyhow::Error::from(error)));
    let client = control_plane.client();
    let bare = ApiServer::new(client.clone(), "default".to_owned());
    let error = bare.routes(None).await.unwrap_err();
    assert!(matches!(error, AskError::NotInstalled), "{error}");
    control_plane.define_resources().await.unwrap();
    let scene = async |name: &str| Scene::new(&client, name).await;
    a_word_that_the_leader_carries_out_is_done(scene("done").await).await;
    a_word_that_the_leader_refuses_is_taken_back_with_its_reason(scene("refused").await).await;
    a_word_that_nobody_carries_out_is_taken_back(scene("unheard").await).await;
    a_word_that_another_overrules_is_not_done(scene("overruled").await).await;
    a_word_about_what_has_changed_since_is_not_given(scene("changed").await).await;
    a_route_that_was_changed_after_it_was_looked_at_is_not_annotated(scene("raced").await).await;
    a_route_is_paused_and_resumed(scene("paused").await).await;
    what_is_asked_for_is_found_or_named(scene("found").await).await;
}
