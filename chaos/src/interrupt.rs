//! Ctrl-C and SIGTERM, for commands that have something to put in order before they end.

use tokio::signal::unix::{SignalKind, signal};

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
