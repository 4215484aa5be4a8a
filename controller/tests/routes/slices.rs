//! Routes whose EndpointSlices the controller writes itself: what kube-proxy would see.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use chaos::{postgres::Setup, wait::wait_for};
use controller::servers::{Network, Opened, Servers};
use futures::{FutureExt as _, future::BoxFuture};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use probe::{ProbeError, Report, Target};
use serde_json::{Value, json};
use shared::route::PostgresRoute;

use super::world::{LIMIT, PASSWORD, Scene, World, primary};

const WRITES: &str = "rw-pgsteer-ipv4";
const READS: &str = "ro-pgsteer-ipv4";

/// The way to servers at addresses that an EndpointSlice may hold, which no loopback address is: 10.0.X.Y is 127.0.X.Y here.
#[derive(Debug)]
pub(crate) struct Mapped;

impl Mapped {
    fn target(target: &Target) -> Target {
        let mut target = target.clone();
        if let IpAddr::V4(ip) = target.address.ip()
            && let [10, rest @ ..] = ip.octets()
        {
            target
                .address
                .set_ip(Ipv4Addr::new(127, rest[0], rest[1], rest[2]).into());
        }
        target
    }
}

impl Servers for Mapped {
    fn ask<'a>(&'a self, target: &'a Target, deadline: Duration) -> BoxFuture<'a, Result<Report, ProbeError>> {
        async move { Network.ask(&Self::target(target), deadline).await }.boxed()
    }

    fn knock<'a>(&'a self, target: &'a Target, deadline: Duration) -> BoxFuture<'a, Result<(), ProbeError>> {
        async move { Network.knock(&Self::target(target), deadline).await }.boxed()
    }

    fn open<'a>(&'a self, target: &'a Target, deadline: Duration) -> BoxFuture<'a, Result<Opened, ProbeError>> {
        async move { Network.open(&Self::target(target), deadline).await }.boxed()
    }
}

/// The address by which an EndpointSlice may know what listens at one of the loopback.
fn listable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let [_, rest @ ..] = v4.octets();
            Ipv4Addr::new(10, rest[0], rest[1], rest[2]).into()
        }
        IpAddr::V6(_) => ip,
    }
}

impl Scene {
    /// The same with Services that have no selector.
    async fn route_by_slices(&self, name: &str) {
        for service in ["rw", "ro"] {
            self.create::<Service>(json!({
                "metadata": { "name": service },
                "spec": { "ports": [{ "port": 5432, "targetPort": "postgres" }] },
            }))
            .await;
        }
        self.secret(PASSWORD).await;
        self.bare_route(name).await;
        let patch = json!({ "spec": { "routing": "EndpointSlices" } });
        self.api::<PostgresRoute>()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }
}

/// The pods that a slice lists, and the ports.
async fn listed(scene: &Scene, slice: &str) -> Result<(Vec<String>, Vec<i32>), String> {
    let found = scene
        .api::<EndpointSlice>()
        .get(slice)
        .await
        .map_err(|error| error.to_string())?;
    let pods = found.endpoints.unwrap_or_default().into_iter();
    let pods = pods.filter_map(|endpoint| endpoint.target_ref?.name).collect();
    let ports = found
        .ports
        .unwrap_or_default()
        .into_iter()
        .filter_map(|port| port.port)
        .collect();
    Ok((pods, ports))
}

async fn lists(scene: &Scene, slice: &str, wanted: &[&str]) {
    let what = format!("{slice} to list {wanted:?}");
    let outcome = wait_for(&what, LIMIT, async || {
        let (pods, _) = listed(scene, slice).await?;
        if pods == wanted {
            Ok(())
        } else {
            Err(format!("it lists {pods:?}; {}", scene.explain().await))
        }
    });
    outcome.await.unwrap();
}

async fn patch<K>(scene: &Scene, name: &str, patch: Value)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    scene
        .api::<K>()
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

fn foreign(service: &str, address: &str) -> Value {
    json!({
        "metadata": { "name": "theirs", "labels": { "kubernetes.io/service-name": service } },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": [address] }],
        "ports": [{ "port": 5432 }],
    })
}

pub(crate) async fn the_slices_of_services_without_selectors_follow_the_primary(world: &World) {
    let mut scene = world.scene().await;
    let mut a = primary().await;
    let b = a.standby(Setup::default()).await.unwrap();
    let (ip_a, _) = scene.way_to(&a).await;
    let (ip_b, _) = scene.way_to(&b).await;
    scene.pod("a", "n1", listable(ip_a), json!({})).await;
    scene.pod("b", "n2", listable(ip_b), json!({})).await;
    scene.route_by_slices("db").await;
    scene.create::<EndpointSlice>(foreign("rw", "10.9.9.9")).await;
    scene.control();

    // While somebody else's endpoint is there nothing is granted; the condition names the command.
    let told = scene
        .told("db", "ForeignEndpoints", "True", "ListedByOthers", "theirs")
        .await;
    assert!(
        told.contains(&format!("kubectl -n {} delete endpointslice", scene.namespace)),
        "{told}"
    );
    scene.roles(&[("a", None), ("b", Some("replica"))]).await;
    scene
        .api::<EndpointSlice>()
        .delete("theirs", &DeleteParams::default())
        .await
        .unwrap();
    scene.roles(&[("a", Some("primary")), ("b", Some("replica"))]).await;
    lists(&scene, WRITES, &["a"]).await;
    lists(&scene, READS, &["b"]).await;
    scene.condition("db", "ForeignEndpoints", "False", "AsExpected").await;
    scene.condition("db", "Settled", "True", "AsExpected").await;
    let slice = scene.api::<EndpointSlice>().get(WRITES).await.unwrap();
    let owner = &slice.owner_references()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("Service", "rw"));
    // The targetPort's name was resolved to what the pod calls so.
    assert_eq!(listed(&scene, WRITES).await.unwrap().1, [i32::from(scene.port())]);

    // What others write into it goes, and what they delete comes back.
    patch::<EndpointSlice>(&scene, WRITES, json!({ "endpoints": [{ "addresses": ["10.9.9.9"] }] })).await;
    lists(&scene, WRITES, &["a"]).await;
    scene
        .api::<EndpointSlice>()
        .delete(WRITES, &DeleteParams::default())
        .await
        .unwrap();
    lists(&scene, WRITES, &["a"]).await;

    // A switch: a refuses connections, b is promoted.
    a.kill().await.unwrap();
    b.promote().await.unwrap();
    lists(&scene, WRITES, &["b"]).await;
    lists(&scene, READS, &[]).await;
    scene.roles(&[("a", None), ("b", Some("primary"))]).await;
    // It comes back as it was, and is stale.
    a.start().await.unwrap();
    scene.roles(&[("a", Some("orphan")), ("b", Some("primary"))]).await;
    lists(&scene, WRITES, &["b"]).await;
    lists(&scene, READS, &[]).await;
}

pub(crate) async fn a_service_with_a_selector_is_refused_and_a_route_goes_over_and_back(world: &World) {
    let mut scene = world.scene().await;
    let a = primary().await;
    let (ip_a, _) = scene.way_to(&a).await;
    scene.pod("a", "n1", listable(ip_a), json!({})).await;
    scene.route("db").await;
    patch::<PostgresRoute>(&scene, "db", json!({ "spec": { "routing": "EndpointSlices" } })).await;
    scene.control();
    let told = scene
        .told("db", "ServicesCorrect", "False", "ServiceHasSelector", "rw")
        .await;
    assert!(told.contains("--type=json"), "{told}");
    let note = scene.event("ServiceHasSelector").await;
    assert!(note.contains("selector"), "{note}");
    scene.roles(&[("a", None)]).await;
    for service in ["rw", "ro"] {
        patch::<Service>(&scene, service, json!({ "spec": { "selector": null } })).await;
    }
    lists(&scene, WRITES, &["a"]).await;
    scene.roles(&[("a", Some("primary"))]).await;
    scene.condition("db", "ServicesCorrect", "True", "AsExpected").await;
    // Back to labels: the slices are emptied, the label stays.
    for (service, role) in [("rw", "primary"), ("ro", "replica")] {
        patch::<Service>(
            &scene,
            service,
            json!({ "spec": { "selector": { "app": "db", "role": role } } }),
        )
        .await;
    }
    patch::<PostgresRoute>(&scene, "db", json!({ "spec": { "routing": "Labels" } })).await;
    lists(&scene, WRITES, &[]).await;
    scene.condition("db", "Settled", "True", "AsExpected").await;
    scene.roles(&[("a", Some("primary"))]).await;
}
