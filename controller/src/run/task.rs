//! One task of the process, whose end nobody misses.

use std::{error::Error, sync::Arc, time::Duration};

use tokio::{task::JoinError, time::timeout};

use crate::tasks::{Gate, Tasks};

type Cause = Box<dyn Error + Send + Sync>;

/// How a task ended. Nobody had asked it to, unless the time-out says so: the process ends.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// It returned.
    #[error("task {0} ended by itself")]
    Returned(&'static str),
    /// It returned an error.
    #[error("task {name} failed")]
    Failed {
        /// Which.
        name: &'static str,
        /// The error.
        #[source]
        cause: Cause,
    },
    /// It panicked.
    #[error("task {name} panicked")]
    Panicked {
        /// Which.
        name: &'static str,
        /// How.
        #[source]
        cause: JoinError,
    },
    /// It had been asked to end, and did not.
    #[error("task {name} did not end within {limit:?}")]
    Stuck {
        /// Which.
        name: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
}

/// A running task; it is cut off when this is dropped.
#[derive(Debug)]
pub(super) struct Task {
    name: &'static str,
    running: Tasks<Result<(), Cause>>,
}

// === impl Task ===

impl Task {
    pub(super) fn spawn<E: Into<Cause>>(
        name: &'static str,
        gate: &Arc<dyn Gate>,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Self {
        let mut running = Tasks::new(gate);
        running.spawn(async { work.await.map_err(Into::into) });
        Self { name, running }
    }

    /// Waits for the end that nobody asked for.
    pub(super) async fn ended(&mut self) -> Ended {
        self.outcome().await.err().unwrap_or(Ended::Returned(self.name))
    }

    /// Waits for the end that was asked for.
    pub(super) async fn end_within(mut self, limit: Duration) -> Result<(), Ended> {
        let ended = timeout(limit, self.outcome()).await;
        ended.unwrap_or(Err(Ended::Stuck { name: self.name, limit }))
    }

    async fn outcome(&mut self) -> Result<(), Ended> {
        let name = self.name;
        match self.running.join_next().await {
            // It ended before, and that has been told.
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(cause))) => Err(Ended::Failed { name, cause }),
            Some(Err(cause)) => Err(Ended::Panicked { name, cause }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future, io};

    use super::*;
    use crate::tasks::Open;

    fn spawn<E: Into<Cause>>(work: impl Future<Output = Result<(), E>> + Send + 'static) -> Task {
        let gate: Arc<dyn Gate> = Arc::new(Open);
        Task::spawn("task", &gate, work)
    }

    #[tokio::test]
    async fn every_way_to_end_is_told_apart() {
        let mut returned = spawn(async { Ok::<_, io::Error>(()) });
        assert!(matches!(returned.ended().await, Ended::Returned("task")));
        let mut failed = spawn(async { Err(io::Error::other("no")) });
        assert!(matches!(failed.ended().await, Ended::Failed { name: "task", .. }));
        let mut panicked = spawn(async {
            assert!(std::hint::black_box(false), "a panic for the test");
            Ok::<_, io::Error>(())
        });
        assert!(matches!(panicked.ended().await, Ended::Panicked { name: "task", .. }));
        let stuck = spawn(future::pending::<Result<(), io::Error>>());
        let limit = Duration::from_millis(1);
        assert!(matches!(
            stuck.end_within(limit).await,
            Err(Ended::Stuck { name: "task", .. })
        ));
    }
}
