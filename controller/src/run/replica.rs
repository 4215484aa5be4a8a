//! The two parts of a process that matter to a route: the elector, and the loop that leads while it may.

use std::{convert::Infallible, sync::Arc, time::Duration};

use kube::Client;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    reigns::{self, Reigns},
    task::{Ended, Task},
};
use crate::{
    chain::Chain,
    election::{self, Elector},
    health::Health,
    host::Host,
    reign::{self, Context},
    shown::Shown,
};

/// How long giving the Lease back may hold up the end; without it the next leader waits out the ttl.
const RELEASE_MAX: Duration = Duration::from_secs(4);

/// The parts, running; they are cut off when this is dropped.
#[derive(Debug)]
pub struct Replica {
    reigns: Task,
    elector: Task,
    health: Arc<Health>,
    stop: CancellationToken,
    stop_elector: CancellationToken,
}

// === impl Replica ===

impl Replica {
    /// Begins to contend. `client` must not retry by itself; no `namespaces` means all.
    pub fn start(
        client: Client,
        (elector, handle): (Elector, election::Handle),
        host: &Host,
        shown: &Shown,
        namespaces: Vec<String>,
    ) -> Self {
        let [stop, stop_elector] = [(); 2].map(|()| CancellationToken::new());
        let reigns = Reigns {
            leadership: handle.leadership.clone(),
            clock: Arc::clone(&host.clock),
            health: Arc::clone(&shown.health),
            stop: stop.clone(),
        };
        let context = Context::new(client, handle, host.clone(), shown.clone(), namespaces, stop.clone());
        let context = Arc::new(context);
        let lead = move |reign| {
            let context = Arc::clone(&context);
            async move { reign::lead(&context, reign).await }
        };
        Self {
            reigns: Task::spawn("reigns", &host.gate, reigns.run(lead)),
            elector: Task::spawn("elector", &host.gate, elect(elector, stop_elector.clone())),
            health: Arc::clone(&shown.health),
            stop,
            stop_elector,
        }
    }

    /// How the first part that ends by itself ended.
    pub async fn ended(&mut self) -> Ended {
        tokio::select! {
            biased;
            ended = self.reigns.ended() => ended,
            ended = self.elector.ended() => ended,
        }
    }

    /// Ends them in order: no write is under way any more when the Lease is given back.
    pub async fn end(self) -> Result<(), Ended> {
        self.health.stops();
        self.stop.cancel();
        self.reigns.end_within(reigns::END_MAX).await?;
        self.stop_elector.cancel();
        if let Err(error) = self.elector.end_within(RELEASE_MAX).await {
            warn!(error = %Chain(&error), "the lease may not have been released: the next leader waits out the ttl");
        }
        Ok(())
    }
}

async fn elect(elector: Elector, stop: CancellationToken) -> Result<(), Infallible> {
    elector.run(stop).await;
    Ok(())
}
