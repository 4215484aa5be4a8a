use std::{net::Ipv4Addr, time::Duration};

use shared::term::Term;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

use super::*;
use crate::{
    clock::{Clock, ManualClock},
    health::HEARTBEAT_AGE_MAX,
    reign::RouteKey,
};

/// The replica that is asked.
const IDENTITY: &str = "pgsteer-1_0000002b";

struct Served {
    address: SocketAddr,
    clock: Arc<ManualClock>,
    shown: Shown,
    stop: CancellationToken,
    server: JoinHandle<io::Result<()>>,
}

#[expect(clippy::disallowed_methods, reason = "the test waits for the task that it spawns")]
async fn serve() -> Served {
    let admin = Admin::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = admin.address().unwrap();
    let clock = Arc::new(ManualClock::default());
    let shown = Shown::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let stop = CancellationToken::new();
    let served = admin.serve(shown.clone(), IDENTITY.to_owned(), stop.clone());
    Served {
        address,
        clock,
        shown,
        stop,
        server: tokio::spawn(served),
    }
}

impl Served {
    /// Status, and the whole answer.
    async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }
}

#[tokio::test]
async fn livez_fails_when_the_main_loop_is_stuck() {
    let served = serve().await;
    assert_eq!(served.get("/livez").await.0, 200);
    served.clock.advance(HEARTBEAT_AGE_MAX + Duration::from_secs(1));
    let (status, answer) = served.get("/livez").await;
    assert_eq!(status, 503);
    assert!(answer.contains("has not come round for 31 s"), "{answer}");
}

#[tokio::test]
async fn readyz_says_what_it_waits_for_and_whom_it_follows() {
    let served = serve().await;
    let (status, answer) = served.get("/readyz").await;
    assert!(status == 503 && answer.contains("API server"), "{answer}");
    served.shown.health.follows(Some("pgsteer-0_0000002a"));
    let (status, answer) = served.get("/readyz").await;
    assert!(status == 200 && answer.contains("pgsteer-0_0000002a"), "{answer}");
    served.shown.health.leads(Term(4));
    assert_eq!(served.get("/readyz").await.0, 503);
    served.shown.health.synced(Term(4));
    assert_eq!(served.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let served = serve().await;
    served.shown.metrics.leads(Term(4));
    let (status, answer) = served.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(
        answer.contains(OPEN_METRICS) && answer.contains("\npgsteer_term 4\n"),
        "{answer}"
    );
    assert!(answer.ends_with("# EOF\n"), "{answer}");
    assert_eq!(served.get("/nothing").await.0, 404);
}

#[tokio::test]
async fn it_ends_when_asked() {
    let served = serve().await;
    served.stop.cancel();
    served.server.await.unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_that_names_it() {
    let served = serve().await;
    let error = Admin::bind(served.address).await.unwrap_err();
    assert!(error.to_string().contains(&served.address.to_string()), "{error}");
}

#[tokio::test]
async fn a_follower_names_the_leader_instead_of_telling_of_routes() {
    let served = serve().await;
    served.shown.health.follows(Some("pgsteer-0_0000002a"));
    for path in [
        "/api/v1/routes",
        "/api/v1/routes/pg/db",
        "/api/v1/routes/pg/db/plan",
        "/api/v1/routes/pg/db/history",
    ] {
        let (status, answer) = served.get(path).await;
        assert_eq!(status, 503, "{path}");
        let refusal = json(&answer);
        assert_eq!(refusal["kind"], "NotLeader", "{path}");
        assert_eq!(refusal["leader"], "pgsteer-0_0000002a", "{path}");
        assert_eq!(refusal["apiVersion"], "pgsteer.io/v1alpha1", "{path}");
    }
}

fn json(answer: &str) -> serde_json::Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn key() -> RouteKey {
    RouteKey {
        namespace: "shop".to_owned(),
        name: "orders".to_owned(),
    }
}

async fn leading() -> Served {
    let served = serve().await;
    served.shown.health.synced(Term(7));
    served.shown.live.show(&key(), crate::cli::live_fixture());
    served
}

#[tokio::test]
async fn the_leader_tells_of_its_routes_their_plans_and_their_histories() {
    let served = leading().await;
    let (status, answer) = served.get("/api/v1/routes").await;
    let all = json(&answer);
    assert_eq!(
        (status, &all["kind"], &all["term"]),
        (200, &"RouteOverview".into(), &7.into())
    );
    assert_eq!(all["leader"], IDENTITY);
    assert_eq!(all.pointer("/routes/0/members/0/lagBytes"), Some(&1_600_000.into()));
    let one = json(&served.get("/api/v1/routes/shop/orders").await.1);
    assert_eq!((&one["kind"], &one["route"]), (&"RouteView".into(), &all["routes"][0]));
    let plan = json(&served.get("/api/v1/routes/shop/orders/plan").await.1);
    assert_eq!(
        (&plan["kind"], &plan["next"]["then"]),
        (&"RoutePlan".into(), &"Settled".into())
    );
    let history = json(&served.get("/api/v1/routes/shop/orders/history").await.1);
    assert_eq!(
        (&history["kind"], &history["switches"]),
        (&"RouteHistory".into(), &serde_json::json!([]))
    );
    let (status, answer) = served.get("/api/v1/routes/shop/nothing").await;
    assert_eq!((status, &json(&answer)["kind"]), (404, &"NotFound".into()));
}

#[tokio::test]
async fn who_listens_hears_of_every_change_until_the_process_ends() {
    let served = leading().await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream
        .write_all(b"GET /api/v1/events HTTP/1.1\r\nhost: test\r\n\r\n")
        .await
        .unwrap();
    let mut heard = String::new();
    let mut hear_until = async |words: &str| {
        while !heard.contains(words) {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "it ended before {words:?}: {heard}");
            heard.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    };
    hear_until("event: routes").await;
    hear_until("\"pod\":\"db-0\"").await;
    let mut next = crate::cli::live_fixture();
    next.state = "Blind".to_owned();
    served.shown.live.show(&key(), next);
    hear_until("\"state\":\"Blind\"").await;
    served.shown.live.clear();
    served.shown.health.follows(Some("pgsteer-0_0000002a"));
    hear_until("event: notLeader").await;
    served.stop.cancel();
    served.server.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_page_takes_nothing_from_elsewhere() {
    let served = serve().await;
    for (path, kind) in [
        ("/", "text/html"),
        ("/status.css", "text/css"),
        ("/status.js", "text/javascript"),
    ] {
        let (status, answer) = served.get(path).await;
        assert_eq!(status, 200, "{path}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(kind) && head.contains("default-src 'none'"), "{head}");
        let outside = body.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !outside.contains("http://") && !outside.contains("https://") && !outside.contains("innerHTML"),
            "{path}"
        );
    }
}
