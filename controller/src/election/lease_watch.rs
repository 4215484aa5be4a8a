//! Watches the Lease, so that a candidate knows of a release, a renewal or a deletion within milliseconds.
//!
//! What it shows is a hint and a date: it makes the candidate look now rather than at its next turn, and it starts the count
//! of [`super::expiry`] when the holder renewed rather than when we happened to look. The election itself still reads the
//! Lease afresh and writes under a precondition, so a late, lost or repeated event costs time and nothing else.

use std::{convert::Infallible, pin::pin, time::Duration};

use futures::{StreamExt as _, future};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    runtime::{
        WatchStreamExt as _,
        utils::Backoff,
        watcher::{self, Event, watcher},
    },
};
use tracing::debug;

use super::cas::LeaseCas;

/// The API server ends a watch after this many seconds; a connection that died in silence is noticed five seconds later.
/// While anybody leads, the Lease changes every second or so, and the turns of the elector bridge the gap.
pub(super) const WATCH_SECONDS: u32 = 20;

/// The same pause after every failure, for ever: the elector's own requests already notice an API server that is away.
#[derive(Debug)]
struct Every(Duration);

impl Iterator for Every {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0)
    }
}

impl Backoff for Every {
    fn reset(&mut self) {}
}

/// Tells `cas` whatever the watch shows. Never returns; after a failure it starts again when `pause` has passed.
pub(super) async fn follow(leases: Api<Lease>, name: &str, pause: Duration, cas: &LeaseCas) -> Infallible {
    let config = watcher::Config::default()
        .fields(&format!("metadata.name={name}"))
        .timeout(WATCH_SECONDS);
    let mut events = pin!(watcher(leases, config).backoff(Every(pause)));
    let mut listed = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed = false,
            Ok(Event::InitApply(lease) | Event::Apply(lease)) => {
                listed = true;
                cas.see(Some(&lease));
            }
            Ok(Event::InitDone) if listed => (),
            Ok(Event::InitDone | Event::Delete(_)) => cas.see(None),
            Err(error) => debug!(%error, "the watch on the lease failed and starts again"),
        }
    }
    // `Every` has no last pause, so the stream has no end. Were it otherwise, the elector's own turns would do.
    future::pending().await
}
