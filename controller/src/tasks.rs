//! Tasks that end with their owner, and stand still with their process.
//!
//! Whatever runs beside something else runs in [`Tasks`]. A process that is stopped and continued (SIGSTOP, a paused virtual machine)
//! does nothing meanwhile, in none of its tasks; the [`Gate`] is where a simulation stops it.

use std::{
    fmt,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::task::{AbortHandle, JoinError, JoinSet};

/// Whether the tasks of a process may run.
pub trait Gate: Send + Sync + fmt::Debug + 'static {
    /// Ready: this task may go on now. Pending: the task is woken when it may.
    fn poll_open(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A process that nobody stops but its host.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open;

/// Tasks that are cut off when this is dropped.
#[derive(Debug)]
pub struct Tasks<T> {
    set: JoinSet<T>,
    gate: Arc<dyn Gate>,
}

// === impl Open ===

impl Gate for Open {
    fn poll_open(&self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

// === impl Tasks ===

impl<T: Send + 'static> Tasks<T> {
    /// None yet.
    pub fn new(gate: &Arc<dyn Gate>) -> Self {
        Self {
            set: JoinSet::new(),
            gate: Arc::clone(gate),
        }
    }

    /// Begins one more.
    pub fn spawn(&mut self, work: impl Future<Output = T> + Send + 'static) -> AbortHandle {
        self.set.spawn(behind(Arc::clone(&self.gate), work))
    }

    /// The next one that has come to its end; `None` when there is none left.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.set.join_next().await
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

/// The same work, done only while the gate is open.
pub async fn behind<T>(gate: Arc<dyn Gate>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        ready!(gate.poll_open(cx));
        work.as_mut().poll(cx)
    })
    .await
}
