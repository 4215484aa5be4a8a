//! One measurement by the client of a pair: asked for over a connection of its own, answered line by line until that is dropped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::attempt::{Ask, Attempt};
use crate::cluster::{Cluster, Relay};
use crate::wait::wait_for;

/// A client answers within milliseconds, also when the name leads nowhere.
const FIRST_LIMIT: Duration = Duration::from_secs(30);
/// A round of minutes at its pace; what comes later is not kept.
const ATTEMPTS_MAX: usize = 100_000;

/// A client at work; it stops when this is dropped.
#[derive(Debug)]
pub(super) struct Measurement {
    attempts: Arc<Mutex<Vec<Attempt>>>,
    _reader: JoinSet<()>,
    _way: Relay,
}

impl Measurement {
    /// Begins, and waits until an attempt has been answered by a server: the name works.
    pub(super) async fn begin(cluster: &Cluster, client: std::net::SocketAddr, ask: &Ask) -> Result<Self, String> {
        let way = cluster.reach(client).map_err(|error| error.to_string())?;
        let mut stream = TcpStream::connect(way.address())
            .await
            .map_err(|error| error.to_string())?;
        let mut line = serde_json::to_vec(ask).map_err(|error| error.to_string())?;
        line.push(b'\n');
        stream.write_all(&line).await.map_err(|error| error.to_string())?;
        let attempts = Arc::new(Mutex::new(Vec::new()));
        let mut reader = JoinSet::new();
        reader.spawn(read(stream, Arc::clone(&attempts)));
        let measurement = Self {
            attempts,
            _reader: reader,
            _way: way,
        };
        let first = wait_for("the first answer through the name", FIRST_LIMIT, || async {
            let attempts = measurement.attempts();
            let last = attempts.last().and_then(|attempt| attempt.error.clone());
            if attempts.iter().any(|attempt| attempt.by.is_some()) {
                Ok(())
            } else {
                Err(last.unwrap_or_else(|| "the client says nothing".to_owned()))
            }
        });
        first.await.map_err(|timed_out| timed_out.to_string())?;
        Ok(measurement)
    }

    /// What the client has said so far.
    pub(super) fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn read(stream: TcpStream, attempts: Arc<Mutex<Vec<Attempt>>>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(attempt) = serde_json::from_str(&line) {
            let mut attempts = attempts.lock().unwrap_or_else(PoisonError::into_inner);
            if attempts.len() < ATTEMPTS_MAX {
                attempts.push(attempt);
            }
        }
    }
}
