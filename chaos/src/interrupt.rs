//! Ctrl-C and SIGTERM, for commands that have something to put in order before they end.

use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::{Cache, Cluster, Progress, State};
use crate::unfinished::Unfinished;

/// Ends when the person at the terminal, or the system, asks this program to end.
pub async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without a way to hear of signals their default ends the process, as ever.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Boots a cluster; one that is interrupted half-way is taken down again. What a failed boot left, it has cleared away itself.
pub async fn boot(cache: &Cache, state: &State, nodes: u8, progress: Progress) -> Result<Cluster, Unfinished> {
    tokio::select! {
        booted = Cluster::up(cache, state, nodes, progress) => Ok(booted?),
        () = interrupted() => {
            Cluster::down(state).await?;
            Err(Unfinished::Interrupted)
        }
    }
}
