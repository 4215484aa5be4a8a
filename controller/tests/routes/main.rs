//! Routes on a real API server, with real PostgreSQL servers: what a user of the labels sees.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing there")]
#![expect(
    clippy::disallowed_methods,
    reason = "here the tests themselves are the users, the kubelet and somebody else"
)]

mod client;
mod measured;
mod process;
mod seen;
mod slices;
mod word;
mod world;

use chaos::postgres::{Server, Setup, Shutdown};
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use shared::{ledger::PostgresLedger, route::PostgresRoute};
use world::{Scene, Way, World, primary};

/// A primary behind pod `a` and its standby behind pod `b`, on two nodes, routed.
struct Pair {
    scene: Scene,
    a: Server,
    b: Server,
    way_a: Way,
}

impl Pair {
    async fn settled(world: &World) -> Self {
        let mut scene = world.scene().await;
        let a = primary().await;
        let b = a.standby(Setup::default()).await.unwrap();
        let (ip_a, way_a) = scene.way_to(&a).await;
        let (ip_b, _) = scene.way_to(&b).await;
        scene.pod("a", "n1", ip_a, json!({})).await;
        scene.pod("b", "n2", ip_b, json!({})).await;
        scene.route("db").await;
        scene.control();
        scene.roles(&[("a", Some("primary")), ("b", Some("replica"))]).await;
        scene.condition("db", "Settled", "True", "AsExpected").await;
        Self { scene, a, b, way_a }
    }
}

async fn relabel(scene: &Scene, pod: &str, role: Option<&str>) {
    let patch = json!({ "metadata": { "labels": { "role": role } } });
    scene
        .api::<Pod>()
        .patch(pod, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

async fn a_promotion_that_brings_no_pod_event_is_followed(world: &World) {
    let Pair { scene, a: _a, b, .. } = Pair::settled(world).await;
    b.promote().await.unwrap();
    // The old primary still takes writes: it is beaten, not gone.
    scene.roles(&[("a", Some("orphan")), ("b", Some("primary"))]).await;
    let ledger = scene.api::<PostgresLedger>().get("db").await.unwrap().spec;
    let mark = ledger.mark.unwrap();
    assert_eq!(
        (mark.pod.as_str(), mark.timeline.0, mark.data.name.as_str()),
        ("b", 2, "b-data")
    );
    assert_eq!(ledger.switches.first().map(|switch| switch.to.as_str()), Some("b"));
    scene.condition("db", "SplitBrain", "True", "SeveralWritable").await;
}

async fn a_primary_that_dies_loses_its_role_and_its_heir_gets_it(world: &World) {
    let Pair { scene, mut a, b, .. } = Pair::settled(world).await;
    a.kill().await.unwrap();
    scene.roles(&[("a", None), ("b", Some("replica"))]).await;
    b.promote().await.unwrap();
    scene.roles(&[("a", None), ("b", Some("primary"))]).await;
    // It comes back as it was, and is stale: it takes writes, and nobody may be led to it.
    a.start().await.unwrap();
    scene.roles(&[("a", Some("orphan")), ("b", Some("primary"))]).await;
}

async fn a_primary_whose_postmaster_hangs_loses_its_role_though_its_sessions_go_on(world: &World) {
    let Pair {
        scene, mut a, b: _b, ..
    } = Pair::settled(world).await;
    a.freeze_postmaster().unwrap();
    scene.roles(&[("a", None), ("b", Some("replica"))]).await;
    a.thaw().unwrap();
    scene.roles(&[("a", Some("primary")), ("b", Some("replica"))]).await;
}

async fn a_stale_primary_that_is_the_only_one_up_stays_out(world: &World) {
    let Pair {
        scene, mut a, mut b, ..
    } = Pair::settled(world).await;
    a.kill().await.unwrap();
    b.promote().await.unwrap();
    scene.roles(&[("a", None), ("b", Some("primary"))]).await;
    b.stop(Shutdown::Immediate).await.unwrap();
    a.start().await.unwrap();
    scene.roles(&[("a", Some("orphan")), ("b", None)]).await;
    scene
        .told("db", "PrimaryAvailable", "False", "NoEligibleServer", "stale")
        .await;
    // A person's word outweighs the mark.
    let uid = scene.api::<Pod>().get("a").await.unwrap().uid().unwrap();
    let accept = json!({ "metadata": { "annotations": { "pgsteer.io/accept": uid } } });
    let routes: Api<PostgresRoute> = scene.api();
    routes
        .patch("db", &PatchParams::default(), &Patch::Merge(accept))
        .await
        .unwrap();
    scene.roles(&[("a", Some("primary")), ("b", None)]).await;
    scene.condition("db", "PrimaryAvailable", "True", "AsExpected").await;
    assert!(
        !routes
            .get("db")
            .await
            .unwrap()
            .annotations()
            .contains_key("pgsteer.io/accept")
    );
}

async fn labels_changed_by_hand_are_repaired(world: &World) {
    let Pair {
        scene, a: _a, b: _b, ..
    } = Pair::settled(world).await;
    relabel(&scene, "b", Some("primary")).await;
    scene.roles(&[("a", Some("primary")), ("b", Some("replica"))]).await;
    relabel(&scene, "a", None).await;
    scene.roles(&[("a", Some("primary")), ("b", Some("replica"))]).await;
    relabel(&scene, "b", Some("nonsense")).await;
    scene.roles(&[("a", Some("primary")), ("b", Some("replica"))]).await;
}

async fn a_pod_that_comes_back_at_another_address_gets_its_role_again(world: &World) {
    let Pair { mut scene, a, b, way_a } = Pair::settled(world).await;
    // Behind the old address there is now somebody else's server.
    way_a.lead_to(&b);
    let (ip, _) = scene.way_to(&a).await;
    scene.move_pod("a", ip).await;
    scene.roles(&[("a", Some("primary")), ("b", Some("replica"))]).await;
    scene.condition("db", "Settled", "True", "AsExpected").await;
}

async fn a_role_from_the_pod_template_is_not_earned(world: &World) {
    let mut scene = world.scene().await;
    let a = primary().await;
    let b = a.standby(Setup::default()).await.unwrap();
    let (ip_a, _) = scene.way_to(&a).await;
    let (ip_b, _) = scene.way_to(&b).await;
    let owner = replica_set(
        &scene,
        &json!({ "app": "db" }),
        &json!({ "app": "db", "role": "primary" }),
    )
    .await;
    let born = json!({ "labels": { "role": "primary" }, "ownerReferences": owner });
    scene
        .pod("a", "n1", ip_a, json!({ "labels": { "role": "replica" } }))
        .await;
    scene.pod("b", "n2", ip_b, born).await;
    scene.route("db").await;
    scene.control();
    scene.roles(&[("a", Some("primary")), ("b", Some("replica"))]).await;
    let note = scene.event("TemplateCarriesRole").await;
    assert!(note.contains("pod b") && note.contains("ReplicaSet set"), "{note}");
}

/// A `ReplicaSet`, as the owner of pods.
async fn replica_set(scene: &Scene, selector: &Value, template: &Value) -> Value {
    let set: ReplicaSet = scene
        .create(json!({
            "metadata": { "name": "set" },
            "spec": {
                "replicas": 1,
                "selector": { "matchLabels": selector },
                "template": {
                    "metadata": { "labels": template },
                    "spec": { "containers": [{ "name": "postgres", "image": "none" }] },
                },
            },
        }))
        .await;
    json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "set", "uid": set.uid(), "controller": true }])
}

async fn a_wrong_password_changes_no_label_and_is_mended_without_a_restart(world: &World) {
    let Pair { scene, a, b, .. } = Pair::settled(world).await;
    scene.secret("rotated").await;
    a.sql("ALTER ROLE pgsteer PASSWORD 'not yet told'").await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pgsteer'";
    a.sql(end).await.unwrap();
    b.sql(end).await.unwrap();
    let message = scene
        .told("db", "CredentialsValid", "False", "ProbeBarred", "28P01")
        .await;
    assert!(message.contains("28P01") && !message.contains("rotated"), "{message}");
    scene.roles(&[("a", Some("primary")), ("b", Some("replica"))]).await;
    a.sql("ALTER ROLE pgsteer PASSWORD 'rotated'").await.unwrap();
    scene.condition("db", "CredentialsValid", "True", "AsExpected").await;
    scene.roles(&[("a", Some("primary")), ("b", Some("replica"))]).await;
}

async fn two_writable_servers_and_no_mark_need_a_person(world: &World) {
    let mut scene = world.scene().await;
    let (a, b) = (primary().await, primary().await);
    let (ip_a, _) = scene.way_to(&a).await;
    let (ip_b, _) = scene.way_to(&b).await;
    scene.pod("a", "n1", ip_a, json!({})).await;
    scene.pod("b", "n2", ip_b, json!({})).await;
    scene.route("db").await;
    scene.control();
    scene.condition("db", "NoMark", "True", "FirstPrimaryUnclear").await;
    scene
        .condition("db", "PrimaryAvailable", "False", "NoEligibleServer")
        .await;
}

async fn what_is_wrong_with_services_and_secrets_is_said_and_mended(world: &World) {
    let mut scene = world.scene().await;
    let a = primary().await;
    let (ip_a, _) = scene.way_to(&a).await;
    scene.pod("a", "n1", ip_a, json!({})).await;
    scene.bare_route("db").await;
    scene.control();
    let message = scene
        .told("db", "ServicesCorrect", "False", "ServiceMissing", "rw")
        .await;
    assert!(message.contains("rw") && message.contains("create it"), "{message}");
    let message = scene
        .told("db", "CredentialsValid", "False", "ProbeBarred", "create it")
        .await;
    assert!(
        message.contains("pgsteer-probe") && message.contains("create it"),
        "{message}"
    );
    scene
        .api::<PostgresRoute>()
        .delete("db", &DeleteParams::default())
        .await
        .unwrap();
    scene.route("db").await;
    scene.condition("db", "ServicesCorrect", "True", "AsExpected").await;
    scene.roles(&[("a", Some("primary"))]).await;
}

async fn a_policy_that_refuses_the_label_is_named_and_lifting_it_is_enough(world: &World) {
    let mut scene = world.scene().await;
    let a = primary().await;
    let (ip_a, _) = scene.way_to(&a).await;
    scene.pod("a", "n1", ip_a, json!({})).await;
    scene.route("db").await;
    let policies = scene.refuse_pod_updates("roles are not welcome here").await;
    scene.control();
    scene
        .told("db", "Settled", "False", "WriteRefused", "roles are not welcome here")
        .await;
    let note = scene.event("WriteRefused").await;
    assert!(note.contains("roles are not welcome here"), "{note}");
    scene.roles(&[("a", None)]).await;
    policies
        .delete(&scene.namespace, &DeleteParams::default())
        .await
        .unwrap();
    scene.roles(&[("a", Some("primary"))]).await;
    scene.condition("db", "Settled", "True", "AsExpected").await;
}

async fn a_missing_right_is_named_and_granting_it_is_enough(world: &World) {
    let mut scene = world.scene().await;
    let a = primary().await;
    let (ip_a, _) = scene.way_to(&a).await;
    scene.pod("a", "n1", ip_a, json!({})).await;
    scene.route("db").await;
    scene.control_with_rights(&["get", "list", "watch"]).await;
    scene
        .told(
            "db",
            "Settled",
            "False",
            "WriteRefused",
            "cannot patch resource \"pods\"",
        )
        .await;
    scene.roles(&[("a", None)]).await;
    scene.allow(&["get", "list", "watch", "patch"]).await;
    scene.roles(&[("a", Some("primary"))]).await;
    scene.condition("db", "Settled", "True", "AsExpected").await;
}

async fn one_controller_serves_several_namespaces_each_by_itself(world: &World) {
    let (mut here, mut there) = (world.scene().await, world.scene().await);
    let (mut a, b) = (primary().await, primary().await);
    let (ip_a, _) = here.way_to(&a).await;
    let (ip_b, _) = there.way_to(&b).await;
    here.pod("a", "n1", ip_a, json!({})).await;
    there.pod("b", "n1", ip_b, json!({})).await;
    here.route("db").await;
    there.route("db").await;
    here.control_with(
        here.config.clone(),
        vec![here.namespace.clone(), there.namespace.clone()],
    );
    here.roles(&[("a", Some("primary"))]).await;
    there.roles(&[("b", Some("primary"))]).await;
    a.kill().await.unwrap();
    here.roles(&[("a", None)]).await;
    there.roles(&[("b", Some("primary"))]).await;
}

async fn a_selector_that_picks_no_pod_is_said_until_one_appears_and_again_when_it_goes(world: &World) {
    let mut scene = world.scene().await;
    let a = primary().await;
    let (ip_a, _) = scene.way_to(&a).await;
    scene.route("db").await;
    scene.control();
    scene.told("db", "Settled", "False", "NoPods", "podSelector").await;
    scene.pod("a", "n1", ip_a, json!({})).await;
    scene.roles(&[("a", Some("primary"))]).await;
    scene.condition("db", "Settled", "True", "AsExpected").await;
    let now = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    scene.api::<Pod>().delete("a", &now).await.unwrap();
    scene.condition("db", "PrimaryAvailable", "False", "NoPods").await;
}

async fn the_younger_of_two_routes_that_claim_a_pod_is_refused(world: &World) {
    let Pair {
        scene, a: _a, b: _b, ..
    } = Pair::settled(world).await;
    // Creation times are in whole seconds; of two of the same second the name decides, and this one comes last either way.
    scene.bare_route("zz").await;
    scene.told("zz", "Accepted", "False", "PodClaimedTwice", "db").await;
    scene.condition("db", "Accepted", "True", "AsExpected").await;
    scene.roles(&[("a", Some("primary")), ("b", Some("replica"))]).await;
}

async fn a_workload_that_selects_by_the_role_is_left_alone(world: &World) {
    let mut scene = world.scene().await;
    let a = primary().await;
    let (ip_a, _) = scene.way_to(&a).await;
    let labels = json!({ "app": "db", "role": "primary" });
    let owner = replica_set(&scene, &labels, &labels).await;
    scene
        .pod("a", "n1", ip_a, json!({ "labels": labels, "ownerReferences": owner }))
        .await;
    scene.route("db").await;
    scene.control();
    scene
        .told("db", "Accepted", "False", "OwnerSelectsRoleLabel", "ReplicaSet set")
        .await;
    scene.roles(&[("a", Some("primary"))]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_on_a_real_api_server() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path()).await;
    tokio::join!(
        a_promotion_that_brings_no_pod_event_is_followed(&world),
        a_primary_that_dies_loses_its_role_and_its_heir_gets_it(&world),
        a_primary_whose_postmaster_hangs_loses_its_role_though_its_sessions_go_on(&world),
        a_stale_primary_that_is_the_only_one_up_stays_out(&world),
        labels_changed_by_hand_are_repaired(&world),
        word::a_word_is_refused_with_a_reason_or_carried_out(&world),
    );
    tokio::join!(
        a_pod_that_comes_back_at_another_address_gets_its_role_again(&world),
        a_role_from_the_pod_template_is_not_earned(&world),
        a_wrong_password_changes_no_label_and_is_mended_without_a_restart(&world),
        two_writable_servers_and_no_mark_need_a_person(&world),
        what_is_wrong_with_services_and_secrets_is_said_and_mended(&world),
    );
    tokio::join!(
        slices::the_slices_of_services_without_selectors_follow_the_primary(&world),
        slices::a_service_with_a_selector_is_refused_and_a_route_goes_over_and_back(&world),
    );
    tokio::join!(
        the_younger_of_two_routes_that_claim_a_pod_is_refused(&world),
        a_workload_that_selects_by_the_role_is_left_alone(&world),
        a_policy_that_refuses_the_label_is_named_and_lifting_it_is_enough(&world),
        a_missing_right_is_named_and_granting_it_is_enough(&world),
        one_controller_serves_several_namespaces_each_by_itself(&world),
        a_selector_that_picks_no_pod_is_said_until_one_appears_and_again_when_it_goes(&world),
    );
}
