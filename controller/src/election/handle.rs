//! What the rest of the process holds of the elector: the published leadership, and two things to ask for.

use std::{sync::Arc, time::Duration};

use shared::term::Term;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    leadership::{Leadership, NotLeader},
    state::State,
};

/// Requests that may wait for the elector. It takes them between two attempts, and there is one asker, the leader's loop.
pub(super) const COMMANDS_MAX: usize = 4;

/// Why a leader gives up before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepDown {
    /// This process cannot see a single server: another one may. The Lease is released at once.
    Blind,
    /// Somebody reigns under a higher term: this process is the zombie. It stops and does not touch the Lease.
    Zombie,
}

/// Why a term was not raised.
#[derive(Debug, thiserror::Error)]
pub enum RaiseError {
    /// There was no reign to raise, or it ended meanwhile. The caller stops writing.
    #[error("the term was not raised")]
    NotLeader(#[source] NotLeader),
    /// The Lease has changed hands, so the reign has been ended. The caller stops writing.
    #[error("the term was not raised to {0}: the Lease is not ours any more, and the reign is over")]
    Refused(Term),
    /// No answer in time, or a broken one. The reign goes on under its old term; if the request was carried out after all,
    /// the next renewal ends the reign. The caller writes nothing and asks again.
    #[error("the term was not raised to {0}: the API server did not answer")]
    Unanswered(Term),
    /// No Lease can hold such a term: a stamp carries a number that no leader has written. The caller stops writing, and a
    /// person removes that stamp.
    #[error("the term was not raised to {0}: no Lease can hold that number")]
    TooHigh(Term),
    /// The elector has been stopped. The caller stops as well.
    #[error("the term was not raised: the elector has been stopped")]
    Stopped,
}

/// Something that the elector is asked to do between two attempts.
#[derive(Debug)]
pub(super) enum Command {
    /// Release the Lease; leadership has already ended.
    Release { done: oneshot::Sender<()> },
    /// Renew with a higher term.
    Raise {
        at_least: Term,
        done: oneshot::Sender<Result<Term, RaiseError>>,
    },
}

/// The elector, as the rest of the process sees it.
#[derive(Debug, Clone)]
pub struct Handle {
    /// Who leads. A change is announced when a reign begins or ends, when its term is raised, and when a follower sees
    /// another holder; a renewal is silent. Take the permit from [`watch::Receiver::borrow`], at the moment of the write.
    pub leadership: watch::Receiver<Leadership>,
    pub(super) state: Arc<State>,
    pub(super) commands: mpsc::Sender<Command>,
}

// === impl Handle ===

impl Handle {
    /// Ends this process's leadership at once, and keeps it from contending for `pause`; then, when `Blind`, releases the
    /// Lease, and returns when that has been answered or its deadline has passed. Does nothing more when called twice.
    pub async fn step_down(&self, reason: StepDown, pause: Duration) {
        self.state.end_reign(pause);
        match reason {
            StepDown::Zombie => (),
            StepDown::Blind => {
                let (done, released) = oneshot::channel();
                if self.commands.send(Command::Release { done }).await.is_err() || released.await.is_err() {
                    tracing::debug!("the elector has been stopped, which releases the lease as well");
                }
            }
        }
    }

    /// Renews the Lease with a term of `at_least` or more, and publishes it: same reign, higher term. Nothing is asked of
    /// the API server when the term is that high already.
    pub async fn raise_term(&self, at_least: Term) -> Result<Term, RaiseError> {
        let (done, raised) = oneshot::channel();
        if self.commands.send(Command::Raise { at_least, done }).await.is_err() {
            return Err(RaiseError::Stopped);
        }
        raised.await.unwrap_or(Err(RaiseError::Stopped))
    }
}
