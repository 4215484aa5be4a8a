//! What a switch looks like from outside: its trace in a real Jaeger, its measures in a real Prometheus.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chaos::{
    cluster::ControlPlane,
    jaeger::{Jaeger, Span},
    postgres::{Server, Setup},
    prometheus::Prometheus,
    wait::wait_for,
};
use controller::clock::{BootClock, Clock as _};
use serde_json::json;
use tokio::sync::RwLock;

use crate::{
    client::Client,
    measured,
    process::Process,
    world::{LIMIT, Scene, World, primary},
};

/// The client and the controller look at the same things by different watches and at a pace of their own; on a busy host that
/// comes to this.
const AGREEMENT: Duration = Duration::from_secs(1);

/// Spans are told in whole microseconds.
const ROUNDING_MICROS: u64 = 2;

/// A pair that is routed by a controller of its own, and a client that writes.
struct Stage {
    scene: Scene,
    process: Process,
    client: Client,
    a: Arc<RwLock<Server>>,
    b: Arc<RwLock<Server>>,
}

impl Stage {
    async fn settled(world: &World, directory: &std::path::Path, jaeger: &Jaeger) -> Self {
        let mut scene = world.scene().await;
        let a = primary().await;
        let b = a.standby(Setup::default()).await.unwrap();
        let (ip_a, _) = scene.way_to(&a).await;
        let (ip_b, _) = scene.way_to(&b).await;
        scene.pod("a", "n1", ip_a, json!({})).await;
        scene.pod("b", "n2", ip_b, json!({})).await;
        scene.route("db").await;
        let [a, b] = [a, b].map(|server| Arc::new(RwLock::new(server)));
        let servers = [("a", Arc::clone(&a)), ("b", Arc::clone(&b))];
        let client = Client::start(&scene, servers.into());
        let endpoint = format!("http://{}", jaeger.otlp());
        let process = Process::start(
            directory,
            &world.kubeconfig(),
            &scene.namespace,
            &["--otlp-endpoint", &endpoint],
        );
        scene.roles(&[("a", Some("primary")), ("b", Some("replica"))]).await;
        client.writes_after(BootClock.now()).await;
        Self {
            scene,
            process,
            client,
            a,
            b,
        }
    }

    /// The primary dies, and its standby is promoted once the role is withdrawn.
    async fn fail_over(&self) {
        self.a.write().await.kill().await.unwrap();
        self.scene.roles(&[("a", None), ("b", Some("replica"))]).await;
        self.b.read().await.promote().await.unwrap();
        self.scene.roles(&[("a", None), ("b", Some("primary"))]).await;
        self.client.writes_after(BootClock.now()).await;
    }
}

/// The whole trace of the switch with this cause.
async fn switch(jaeger: &Jaeger, cause: &str) -> Vec<Span> {
    let what = format!("the trace of a switch because of {cause:?}");
    let whole = jaeger.trace("pgsteer", &what, LIMIT, |spans| {
        let root = spans
            .iter()
            .find(|span| span.name == "switch" && span.tags["cause"] == cause)?;
        // The last of the API server's spans comes when its own batch is full or old. It has calls of its own, to etcd, which traces
        // nothing here: they are not waited for.
        let answered = |call: &&Span| spans.iter().any(|span| span.parent.as_ref() == Some(&call.id));
        let is_call = |span: &&Span| span.service == "pgsteer" && span.tags.get("span.kind") == Some(&json!("client"));
        let calls: Vec<_> = spans.iter().filter(is_call).collect();
        let ended = root.tags.contains_key("outcome") && !calls.is_empty() && calls.iter().all(answered);
        ended.then(|| spans.to_vec())
    });
    whole.await.unwrap()
}

/// The names of the spans of `service` that are parts of `parent`, in the order of their beginnings.
fn parts<'a>(trace: &'a [Span], parent: &Span, service: &str) -> Vec<&'a str> {
    let of_it = |span: &&Span| span.parent.as_ref() == Some(&parent.id) && span.service == service;
    trace.iter().filter(of_it).map(|span| span.name.as_str()).collect()
}

fn only<'a>(trace: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = trace
        .iter()
        .filter(|span| span.name == name && span.service == "pgsteer")
        .collect();
    assert_eq!(found.len(), 1, "{name}: {found:#?}");
    found[0]
}

/// Within what they are parts of, and in the order in which a switch goes.
fn in_order(trace: &[Span]) {
    let by_id: BTreeMap<_, _> = trace.iter().map(|span| (&span.id, span)).collect();
    for span in trace.iter().filter(|span| span.service == "pgsteer") {
        let Some(parent) = span.parent.as_ref().map(|parent| by_id[parent]) else {
            continue;
        };
        let within = span.start_micros + ROUNDING_MICROS >= parent.start_micros
            && span.start_micros + span.micros <= parent.start_micros + parent.micros + ROUNDING_MICROS;
        assert!(within, "{span:#?} is not within {parent:#?}");
    }
    let steps = ["withdraw", "set mark", "grant", "endpoints", "settled"].map(|name| only(trace, name));
    for pair in steps.windows(2) {
        assert!(pair[0].start_micros <= pair[1].start_micros, "{pair:#?}");
    }
}

fn every_span_has_its_parent(trace: &[Span]) {
    let root = only(trace, "switch");
    assert_eq!(
        (root.parent.as_ref(), &root.tags["from"], &root.tags["to"]),
        (None, &json!("a"), &json!("b"))
    );
    let mut of_switch = parts(trace, root, "pgsteer");
    of_switch.retain(|name| *name != "decide");
    let mut expected = vec![
        "sighting",
        "withdraw",
        "sighting",
        "set mark",
        "grant",
        "endpoints",
        "settled",
    ];
    assert_eq!(of_switch.len(), expected.len(), "{of_switch:?}");
    expected.sort_unstable();
    of_switch.sort_unstable();
    assert_eq!(of_switch, expected);
    for (write, call) in [
        ("withdraw", "PATCH pods"),
        ("set mark", "PATCH postgresledgers"),
        ("grant", "PATCH pods"),
    ] {
        let write = only(trace, write);
        assert_eq!(parts(trace, write, "pgsteer"), ["permit", call]);
        assert_eq!(write.tags["outcome"], "done");
        let call = trace
            .iter()
            .find(|span| span.parent.as_ref() == Some(&write.id) && span.name == call)
            .unwrap();
        assert_eq!(call.tags["span.kind"], "client");
        // The API server tells its own part of the trace: the context was handed on to it.
        let answers = parts(trace, call, "apiserver");
        assert!(answers.len() == 1 && answers[0].starts_with("PATCH "), "{answers:?}");
    }
    let sightings: Vec<_> = trace.iter().filter(|span| span.name == "sighting").collect();
    let seen = sightings.iter().map(|span| (&span.tags["pod"], &span.tags["evidence"]));
    assert!(
        seen.eq([(&json!("a"), &json!("Down")), (&json!("b"), &json!("Writable"))]),
        "{sightings:#?}"
    );
    assert_eq!(
        sightings[0].start_micros, root.start_micros,
        "it begins with the first sighting that differed"
    );
    let decisions: Vec<_> = trace.iter().filter(|span| span.name == "decide").collect();
    let first = decisions.first().unwrap();
    assert_eq!(
        (&first.tags["verdict"], &first.tags["actions"]),
        (&json!("Moving"), &json!(r#"["withdraw a"]"#))
    );
    let pods = first.tags["pods"].as_str().unwrap();
    assert!(
        pods.contains("a: primary, Down") && pods.contains("b: replica, InRecovery, on timeline 1 at "),
        "{pods}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Jaeger (`chaos build --jaeger`) and minutes on a busy host"]
async fn a_switch_is_one_trace_that_agrees_with_what_its_client_measured() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let directory = tempfile::tempdir().unwrap();
    let jaeger = Jaeger::start(&directory.path().join("jaeger")).await.unwrap();
    let (files, collector) = (directory.path().join("api"), jaeger.otlp().to_string());
    let api_server = ControlPlane::start_traced(&files, &collector).await.unwrap();
    let world = World::over(api_server).await;
    let began = measured::begin();
    let stage = Stage::settled(&world, directory.path(), &jaeger).await;
    let targets = [("pgsteer", stage.process.admin().await)];
    let files = directory.path().join("prometheus");
    let prometheus = Prometheus::start(&files, &targets, &[]).await.unwrap();
    let first = switch(&jaeger, "first").await;
    measured::scraped(&prometheus, began).await;
    stage.fail_over().await;
    let trace = switch(&jaeger, "down").await;
    every_span_has_its_parent(&trace);
    in_order(&trace);

    let root = only(&trace, "switch");
    let (took, gap) = (Duration::from_micros(root.micros), stage.client.longest_gap());
    let outage = Duration::from_secs_f64(root.tags["write_outage_ms"].as_f64().unwrap() / 1_000.0);
    println!("the client could not write for {gap:?}; the trace took {took:?}, and says {outage:?}");
    assert!(
        took.abs_diff(gap) < AGREEMENT,
        "the trace says {took:?}, the client {gap:?}"
    );
    assert!(
        outage.abs_diff(gap) < AGREEMENT,
        "the trace says {outage:?}, the client {gap:?}"
    );

    // Linked with the change of leadership that it happened under, which is a trace of its own.
    let reign = jaeger.trace("pgsteer", "the change of leadership", LIMIT, |spans| {
        spans
            .iter()
            .any(|span| span.name == "take over")
            .then(|| spans.to_vec())
    });
    let reign = reign.await.unwrap();
    let take_over = only(&reign, "take over");
    assert_eq!(parts(&reign, take_over, "pgsteer"), ["fill stores", "fence"]);
    for switch in [&first, &trace].map(|trace| only(trace, "switch")) {
        assert_eq!(switch.links, [(take_over.trace.clone(), take_over.id.clone())]);
    }

    // Lines of the log name it, and its parts.
    let logged = |message: &str| {
        let log = stage.process.log();
        let of_it = |line: &&serde_json::Value| line["message"] == message && line["trace_id"] == root.trace.as_str();
        log.iter()
            .find(of_it)
            .cloned()
            .unwrap_or_else(|| panic!("{message}: {log:#?}"))
    };
    assert_eq!(logged("the switch is over")["span_id"], root.id.as_str());
    assert_eq!(logged("role label set")["span_id"], only(&trace, "grant").id.as_str());

    measured::check(&stage.process, &prometheus, began, &root.trace).await;

    nothing_else_is_told(&stage, &jaeger).await;
}

/// Ten turns later there is nothing else: who has nothing to tell exports nothing.
async fn nothing_else_is_told(stage: &Stage, jaeger: &Jaeger) {
    let turns = || async { stage.process.metric("pgsteer_decide_seconds_count").await };
    let before = turns().await.unwrap();
    wait_for("ten more turns", LIMIT, || async {
        let now = turns().await?;
        if now >= before + 10.0 {
            Ok(())
        } else {
            Err(format!("{now} after {before}"))
        }
    })
    .await
    .unwrap();
    let mut all: Vec<_> = jaeger.traces("pgsteer").await.unwrap();
    all.sort_by_key(|spans| spans.first().map(|span| span.start_micros));
    let roots = all
        .iter()
        .flatten()
        .filter(|span| span.parent.is_none())
        .map(|span| span.name.as_str());
    assert_eq!(roots.collect::<Vec<_>>(), ["take over", "switch", "switch"]);
}
