//! The status page in a real browser: what a person sees of a route, that it is live, and that a follower names the leader.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing there")]

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use chaos::browser::{Browser, Scheme};
use controller::{
    admin::Admin,
    clock::{BootClock, Clock},
    live::LiveRoute,
    reign::RouteKey,
    shown::Shown,
};
use serde_json::{Value, json};
use shared::term::Term;
use tokio_util::sync::CancellationToken;

/// A page is drawn in milliseconds; the rest is a busy host.
const LIMIT: Duration = Duration::from_secs(30);

/// What the page has to say of a healthy route.
const HEALTHY: [&str; 14] = [
    "leader pgsteer-1_0000002b, term 7",
    "Settled",
    "orders-rw",
    "orders-ro",
    "db-0",
    "primary, takes writes",
    "timeline 4",
    "lag 1.5 MiB",
    "asked in 0.8 ms",
    "db-1 → db-0",
    "down, timeline 4",
    "no writes for 1.51 s",
    "<b>why</b>",
    "live",
];

fn member(pod: &str, evidence: &str, role: Option<&str>, among: bool) -> Value {
    let mut member = json!({
        "pod": pod, "node": "node-a", "evidence": evidence, "timeline": 4, "probeMicros": 820, "amongWriteEndpoints": among,
        "why": "<b>why</b>", "since": "2026-01-10T00:00:00Z",
    });
    if let Some(role) = role {
        member["role"] = role.into();
    }
    if evidence == "InRecovery" {
        member["lagBytes"] = 1_600_000.into();
    }
    member
}

fn route(state: &str, members: &[Value], conditions: &Value) -> LiveRoute {
    serde_json::from_value(json!({
        "namespace": "shop", "name": "orders", "state": state, "services": { "primary": "orders-rw", "replica": "orders-ro" },
        "members": members, "conditions": conditions, "next": { "turns": [], "then": state }, "seenAt": "2026-01-10T00:05:00Z",
        "switches": [{
            "at": "2026-01-10T00:00:00Z", "from": "db-1", "to": "db-0", "timeline": 4, "cause": "down",
            "phases": { "withdrawnMillis": 11, "grantedMillis": 1480, "followedMillis": 1512, "settledMillis": 1530, "writeOutageMillis": 1512 },
        }],
    }))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
#[expect(clippy::disallowed_methods, reason = "the test waits for the task that it spawns")]
async fn a_person_sees_each_route_as_a_picture_that_is_live() {
    let admin = Admin::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = admin.address().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(BootClock);
    let (shown, stop) = (Shown::new(clock), CancellationToken::new());
    let server = tokio::spawn(admin.serve(shown.clone(), "pgsteer-1_0000002b".to_owned(), stop.clone()));
    let key = RouteKey {
        namespace: "shop".to_owned(),
        name: "orders".to_owned(),
    };
    let healthy = [
        member("db-0", "Writable", Some("primary"), true),
        member("db-1", "InRecovery", Some("replica"), false),
    ];
    shown.health.synced(Term(7));
    shown.live.show(&key, route("Settled", &healthy, &json!([])));

    let directory = tempfile::tempdir().unwrap();
    let mut page = Browser::open(&directory.path().join("chromium"), &format!("http://{address}/")).unwrap();
    let text = page.shows("shop/orders", LIMIT).await.unwrap();
    for words in HEALTHY {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    let wires = "[...document.querySelectorAll('.wires path')].map((wire) => wire.getAttribute('class'))";
    assert_eq!(
        page.ask(wires).unwrap(),
        json!(["primary", "replica"]),
        "a line from each Service to its pod"
    );

    // It comes by itself, and the write Service leads nowhere.
    let lost = [
        member("db-0", "Down", None, false),
        member("db-1", "InRecovery", Some("replica"), false),
    ];
    let condition = json!([{
        "type": "PrimaryAvailable", "status": "False", "reason": "NoEligibleServer", "message": "db-0 is down",
        "lastTransitionTime": "2026-01-10T00:05:00Z",
    }]);
    shown.live.show(&key, route("NoPrimary", &lost, &condition));
    let text = page.shows("writes: leads nowhere", LIMIT).await.unwrap();
    assert!(
        text.contains("PrimaryAvailable is False: NoEligibleServer") && text.contains("no role, down"),
        "{text}"
    );
    assert_eq!(page.ask(wires).unwrap(), json!(["replica"]));

    let back = "getComputedStyle(document.body).backgroundColor";
    page.prefer(Scheme::Light).unwrap();
    let light = page.ask(back).unwrap();
    page.prefer(Scheme::Dark).unwrap();
    assert_ne!(page.ask(back).unwrap(), light, "dark where a person likes it dark");
    let elsewhere = page
        .ask("performance.getEntriesByType('resource').filter((one) => !one.name.startsWith(location.origin)).length");
    assert_eq!(elsewhere.unwrap(), 0, "nothing comes from anywhere else");

    shown.live.clear();
    shown.health.follows(Some("pgsteer-0_0000002a"));
    let text = page
        .shows("The routes are the leader's: pgsteer-0", LIMIT)
        .await
        .unwrap();
    assert!(!text.contains("shop/orders"), "{text}");

    stop.cancel();
    server.await.unwrap().unwrap();
    page.shows("no connection", LIMIT).await.unwrap();
}
