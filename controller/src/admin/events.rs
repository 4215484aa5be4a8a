//! `/api/v1/events`: everything, whenever something changes, as server-sent events. A follower's stream names the leader.
//!
//! An event is `routes` with the answer of `/api/v1/routes`, or `notLeader` with the refusal. The door ends every connection after a minute,
//! and who listens comes again by itself.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::{Stream, stream};
use tokio::sync::watch;

use super::Sources;

/// Pause between two events. A route is looked at every two seconds when nothing happens, and many times a second during a switch: people
/// see no more than this, and many routes are much to send.
const EVENT_EVERY: Duration = Duration::from_millis(250);

/// Without news this often: a reign that ended without a route is told so, and a dead connection is found.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What a stream remembers between two events.
struct Following {
    sources: Sources,
    changes: watch::Receiver<u64>,
    began: bool,
}

pub(super) async fn follow(State(sources): State<Sources>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let following = Following {
        changes: sources.shown.live.changes(),
        sources,
        began: false,
    };
    let events = stream::unfold(following, async |mut following| {
        if following.began {
            following.wait().await?;
        }
        following.began = true;
        Some((Ok(following.event()), following))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

// === impl Following ===

impl Following {
    /// Waits until there may be something new; none: the process is to end.
    async fn wait(&mut self) -> Option<()> {
        #[expect(clippy::disallowed_methods, reason = "the pace of what people see")]
        let news = async {
            tokio::time::sleep(EVENT_EVERY).await;
            tokio::time::timeout(SILENCE_MAX, self.changes.changed()).await
        };
        tokio::select! {
            biased;
            () = self.sources.stop.cancelled() => None,
            // Silence is told too: nothing may have been shown because nobody leads here.
            _silent_or_not = news => Some(()),
        }
    }

    fn event(&mut self) -> Event {
        self.changes.mark_unchanged();
        let event = match self.sources.overview() {
            Ok(overview) => Event::default().event("routes").json_data(overview),
            Err(refusal) => Event::default().event("notLeader").json_data(refusal),
        };
        event.unwrap_or_else(|error| Event::default().event("error").data(error.to_string()))
    }
}
