//! Follows and leads in turn: the loop that is in charge while another replica leads, and hands over to the reign's own
//! loop when this one does.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    election::{Leadership, Reign},
    health::Health,
};

/// How long the writes of a reign may go on after its end: each has a shorter deadline of its own.
pub(super) const END_MAX: Duration = Duration::from_secs(5);

/// A follower shows this often that it is alive, though nothing happens.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// Why the loop gave up. The process ends, so that another replica leads.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// There is nobody left who could tell that we lead.
    #[error("the elector is gone")]
    NoElector,
    /// The reign's loop returned although the reign goes on.
    #[error("the loop of reign {number} ended before the reign")]
    Deserted {
        /// Which reign.
        number: u64,
    },
    /// The reign is over and its loop goes on.
    #[error("the loop of reign {number} went on for {END_MAX:?} after the reign")]
    Overstayed {
        /// Which reign.
        number: u64,
    },
}

/// The loop, and what it needs.
#[derive(Debug)]
pub(super) struct Reigns {
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) health: Arc<Health>,
    pub(super) stop: CancellationToken,
}

// === impl Reigns ===

impl Reigns {
    /// Calls `lead` for every reign, one after the other, until `stop` fires. `lead` returns when the reign is over, or soon
    /// after `stop` fired.
    pub(super) async fn run<F>(mut self, lead: impl Fn(Reign) -> F) -> Result<(), Error>
    where
        F: Future<Output = ()>,
    {
        while !self.stop.is_cancelled() {
            self.health.beat();
            let leadership = self.leadership.borrow_and_update().clone();
            match leadership {
                Leadership::Leader(reign) if reign.stands_at(self.clock.now()) => {
                    let reigning = lead(reign.clone());
                    self.await_end(&reign, reigning).await?;
                }
                // It has run out, and the next value is about to be published.
                Leadership::Leader(_) => self.change().await?,
                Leadership::Follower { holder } => {
                    self.health.follows(holder.as_deref());
                    self.change().await?;
                }
            }
        }
        Ok(())
    }

    /// Sees to it that `reigning` ends with its reign: no sooner, and not much later.
    async fn await_end(&self, reign: &Reign, reigning: impl Future<Output = ()>) -> Result<(), Error> {
        let number = reign.number;
        let overstayed = async {
            reign.lost.cancelled().await;
            // Nothing but the end of `lead` ends this early.
            timeout(END_MAX, std::future::pending::<()>()).await.unwrap_or_default();
        };
        tokio::select! {
            biased;
            () = reigning => (),
            () = overstayed => return Err(Error::Overstayed { number }),
        }
        self.health.follows(None);
        let deserted = self.stands(number) && !self.stop.is_cancelled();
        if deserted {
            Err(Error::Deserted { number })
        } else {
            Ok(())
        }
    }

    /// Whether reign `number` goes on; asked of the published value, which renewals prolong.
    fn stands(&self, number: u64) -> bool {
        let now = self.clock.now();
        let leadership = self.leadership.borrow();
        leadership
            .reign()
            .is_some_and(|reign| reign.number == number && reign.stands_at(now))
    }

    /// Waits until something may be different.
    async fn change(&mut self) -> Result<(), Error> {
        tokio::select! {
            biased;
            changed = timeout(BEAT_EVERY, self.leadership.changed()) => match changed {
                Ok(Err(_closed)) => Err(Error::NoElector),
                Ok(Ok(())) | Err(_) => Ok(()),
            },
            () = self.stop.cancelled(), if !self.stop.is_cancelled() => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
