//! The kept session and fresh connections beside each other.

use std::{
    convert::Infallible,
    future::pending,
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use kube::{Client, client::Body};
use probe::{News, Phase, Target, UnixMicros};
use shared::wal::{Lsn, SystemIdentifier, Timeline};
use tokio::time::timeout;
use tower::service_fn;

use super::*;
use crate::{
    clock::Clock,
    election::lease_server::TimerClock,
    servers::{Opened as Session, Servers},
};

const INTERVAL: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(5);

fn says(standing: Standing) -> Report {
    Report {
        standing,
        system_identifier: SystemIdentifier(1),
        timeline: Timeline(1),
        lsn: Lsn(1),
        postmaster_started: UnixMicros(1),
        data_directory: None,
        hot_standby_reported: true,
        receiver: None,
        server_version_num: 150_014,
    }
}

/// A server that is promoted once a session is kept, and answers nothing on it from then on.
#[derive(Debug, Default)]
struct Stalling {
    promoted: Arc<AtomicBool>,
}

struct Stalled;

impl Servers for Stalling {
    fn ask<'a>(&'a self, _: &'a Target, _: Duration) -> BoxFuture<'a, Result<Report, ProbeError>> {
        let standing = if self.promoted.load(Ordering::Relaxed) {
            Standing::Writable
        } else {
            Standing::InRecovery
        };
        async move { Ok(says(standing)) }.boxed()
    }

    fn knock<'a>(&'a self, _: &'a Target, _: Duration) -> BoxFuture<'a, Result<(), ProbeError>> {
        async { Ok(()) }.boxed()
    }

    fn open<'a>(&'a self, _: &'a Target, _: Duration) -> BoxFuture<'a, Result<Session, ProbeError>> {
        async {
            self.promoted.store(true, Ordering::Relaxed);
            let kept: Box<dyn Kept> = Box::new(Stalled);
            Ok((kept, says(Standing::InRecovery)))
        }
        .boxed()
    }
}

impl Kept for Stalled {
    fn ask(&mut self, deadline: Duration) -> BoxFuture<'_, Result<Report, ProbeError>> {
        async move {
            drop(timeout(deadline, pending::<()>()).await);
            Err(ProbeError::TimedOut { phase: Phase::Query })
        }
        .boxed()
    }

    fn pulse(&mut self, deadline: Duration) -> BoxFuture<'_, Result<Pulse, ProbeError>> {
        async move { self.ask(deadline).await.map(|_| Pulse { standing: None }) }.boxed()
    }

    fn news(&mut self) -> BoxFuture<'_, News> {
        pending().boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_fresh_answer_does_not_wait_for_a_kept_session_that_gives_none() {
    let clock: Arc<dyn Clock> = Arc::new(TimerClock::at_percent(100));
    let host = Host {
        clock: Arc::clone(&clock),
        servers: Arc::new(Stalling::default()),
        ..Host::real()
    };
    let nobody = service_fn(|_: Request<Body>| pending::<Result<Response<Full<Bytes>>, Infallible>>());
    let credentials = Arc::new(Credentials::new(Client::new(nobody, "default"), clock));
    let (out, mut seen) = mpsc::channel(16);
    let surroundings = Surroundings {
        credentials,
        host,
        metrics: Arc::new(Metrics::new()),
        out,
    };
    let key = |name: &str| RouteKey {
        namespace: "default".to_owned(),
        name: name.to_owned(),
    };
    let assignment = Assignment {
        route: key("route"),
        pod: PodKey {
            name: "pod".to_owned(),
            uid: "uid".to_owned(),
        },
        ip: std::net::Ipv4Addr::LOCALHOST.into(),
        port: 5432,
        connection: Connection {
            user: "postgres".to_owned(),
            database: "postgres".to_owned(),
            password_secret: None,
            tls: shared::route::Tls::default(),
        },
        interval: INTERVAL,
        timeout: TIMEOUT,
    };
    let (_steady, pace) = watch::channel(Pace::Steady);
    let told = async {
        let mut first = None;
        while let Some(Seen { sighting, .. }) = seen.recv().await {
            let began = *first.get_or_insert(sighting.at);
            if sighting.evidence == Evidence::Writable {
                return sighting.at.since(began);
            }
        }
        Duration::MAX
    };
    let after = tokio::select! {
        () = run(assignment, surroundings, pace) => Duration::MAX,
        after = told => after,
    };
    // In simulated time: the next fresh connection tells it, and not the end of the kept session's patience.
    assert!(after <= schedule::FRESH_EVERY * 2, "{after:?}");
}

#[test]
fn what_a_server_said_before_it_was_promoted_is_not_news_after_it() {
    let [standby, promoted] = [Standing::InRecovery, Standing::Writable].map(says);
    assert_eq!(newer(standby.clone(), Some(promoted.clone())), promoted);
    assert_eq!(newer(promoted.clone(), Some(standby.clone())), promoted);
    let restarted = Report {
        postmaster_started: UnixMicros(2),
        ..standby
    };
    assert_eq!(
        newer(restarted.clone(), Some(promoted)),
        restarted,
        "a new postmaster may be a standby again"
    );
}
