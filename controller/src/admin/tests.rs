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
};

struct Served {
    address: SocketAddr,
    clock: Arc<ManualClock>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    server: JoinHandle<io::Result<()>>,
}

#[expect(clippy::disallowed_methods, reason = "the test waits for the task that it spawns")]
async fn serve() -> Served {
    let admin = Admin::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = admin.address().unwrap();
    let clock = Arc::new(ManualClock::default());
    let health = Arc::new(Health::new(Arc::clone(&clock) as Arc<dyn Clock>));
    let (metrics, stop) = (Arc::new(Metrics::new()), CancellationToken::new());
    let served = admin.serve(Arc::clone(&health), Arc::clone(&metrics), stop.clone());
    Served {
        address,
        clock,
        health,
        metrics,
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
    served.health.follows(Some("pgsteer-0_0000002a"));
    let (status, answer) = served.get("/readyz").await;
    assert!(status == 200 && answer.contains("pgsteer-0_0000002a"), "{answer}");
    served.health.leads(Term(4));
    assert_eq!(served.get("/readyz").await.0, 503);
    served.health.synced(Term(4));
    assert_eq!(served.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let served = serve().await;
    served.metrics.leads(Term(4));
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
