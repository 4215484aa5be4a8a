//! Who leads, as one process knows it: plain data and pure rules, no Lease and no clock.
//!
//! ```text
//! Follower --begin--> Leader --extend (silent)--> Leader --expire | end--> Follower
//!                       `----- raise (same reign, higher term) -----'
//! ```
//!
//! The value stands in a watch channel. Every rule here is applied under that channel's lock, so that a renewal and the end
//! of a reign can never pass each other.

use std::{mem, time::Duration};

use shared::{
    planted::{Bug, is_planted},
    term::Term,
};
use tokio_util::sync::CancellationToken;

use crate::clock::Tick;

/// What this process is at present.
#[derive(Debug, Clone)]
pub enum Leadership {
    /// Somebody else leads, or nobody does.
    Follower {
        /// Identity of the holder that the Lease named last; `None` when it named nobody, or nothing was seen yet.
        holder: Option<String>,
    },
    /// This process leads, until the tick that the reign names.
    Leader(Reign),
}

/// One uninterrupted stretch of leadership.
///
/// It ends when its time runs out, even if the Lease is won back a moment later: that is the next reign, with a higher
/// number, and whatever was fenced for the old one must be fenced again.
#[derive(Debug, Clone)]
pub struct Reign {
    /// `leaseTransitions` of the Lease. Raised at most by [`super::Handle::raise_term`] while the reign lasts.
    pub term: Term,
    /// The identity under which this process holds the Lease: `<pod>_<8 hex>`.
    pub holder: String,
    /// From this tick on nothing may be written. Each renewal moves it, in the published value only: a copy grows old.
    pub until: Tick,
    /// When the reign began.
    pub began: Tick,
    /// Reigns of this process so far, this one included; starts at 1.
    pub number: u64,
    /// Fires when the reign ends: its time ran out, it was ended by hand, or the Lease went to somebody else.
    pub lost: CancellationToken,
}

/// Leave to send one write, proof that this process led a moment ago.
///
/// It cannot be copied, and who sends the write takes it by value: one permit, one write. The request's deadline is
/// [`WritePermit::remaining`]; a request that may outlive its permit is not to be sent.
#[derive(Debug)]
pub struct WritePermit<'a> {
    reign: &'a Reign,
}

/// Why no permit is given. The caller drops the write; the next leader, or the next reign, decides afresh.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotLeader {
    /// This process does not lead.
    #[error("this replica does not lead{}", holder.as_ref().map(|holder| format!(", {holder} does")).unwrap_or_default())]
    Follower {
        /// Identity of the holder that the Lease named last.
        holder: Option<String>,
    },
    /// The reign was not renewed in time, or has been ended.
    #[error("reign {number} under term {term} is over")]
    Over {
        /// The term of the reign that ended.
        term: Term,
        /// The number of the reign that ended.
        number: u64,
    },
}

/// What became of an attempt to prolong a reign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    /// The reign goes on, at least as long as before.
    Extended,
    /// The answer came after the time had run out, or the reign had been ended meanwhile.
    TooLate,
}

/// Gives leave for one write, if the process leads at `now`. Ask with the value published at this moment: an older copy
/// may refuse what a newer one would allow, never the other way round.
pub fn permit(leadership: &Leadership, now: Tick) -> Result<WritePermit<'_>, NotLeader> {
    match leadership {
        Leadership::Follower { holder } => Err(NotLeader::Follower { holder: holder.clone() }),
        Leadership::Leader(reign) if reign.stands_at(now) || is_planted(Bug::NoPermit) => Ok(WritePermit { reign }),
        Leadership::Leader(Reign { term, number, .. }) => Err(NotLeader::Over {
            term: *term,
            number: *number,
        }),
    }
}

// === impl WritePermit ===

impl WritePermit<'_> {
    /// The term to stamp the write with.
    pub const fn term(&self) -> Term {
        self.reign.term
    }

    /// The identity to stamp the write with.
    pub fn holder(&self) -> &str {
        &self.reign.holder
    }

    /// The number of the reign that the write belongs to.
    pub const fn reign(&self) -> u64 {
        self.reign.number
    }

    /// From this tick on the write must not be sent any more.
    pub const fn until(&self) -> Tick {
        self.reign.until
    }

    /// How long the request may take; zero once the permit is worth nothing.
    pub fn remaining(&self, now: Tick) -> Duration {
        if self.reign.stands_at(now) {
            self.reign.until.since(now)
        } else if is_planted(Bug::NoPermit) {
            Duration::MAX
        } else {
            Duration::ZERO
        }
    }
}

// === impl Reign ===

impl Reign {
    /// Whether a write may be sent at `now`.
    pub fn stands_at(&self, now: Tick) -> bool {
        now < self.until && !self.lost.is_cancelled()
    }
}

// === impl Leadership ===

impl Default for Leadership {
    fn default() -> Self {
        Self::Follower { holder: None }
    }
}

impl Leadership {
    /// The reign that was published last, if this process leads; ask [`Reign::stands_at`] whether its time has run out.
    pub const fn reign(&self) -> Option<&Reign> {
        match self {
            Self::Follower { .. } => None,
            Self::Leader(reign) => Some(reign),
        }
    }

    /// Identity of whoever leads, as far as known here.
    pub fn holder(&self) -> Option<&str> {
        match self {
            Self::Follower { holder } => holder.as_deref(),
            Self::Leader(reign) => Some(&reign.holder),
        }
    }

    /// Begins `reign`; one that was still published ends first.
    pub(super) fn begin(&mut self, reign: Reign) {
        self.end(None);
        *self = Self::Leader(reign);
    }

    /// Moves the end of reign `number` to `until`, never backwards. Refused once its time has run out at `now`.
    pub(super) fn extend(&mut self, number: u64, until: Tick, now: Tick) -> Extension {
        match self {
            Self::Leader(reign) if reign.number == number && reign.stands_at(now) => {
                reign.until = reign.until.max(until);
                Extension::Extended
            }
            Self::Leader(_) | Self::Follower { .. } => Extension::TooLate,
        }
    }

    /// As [`Leadership::extend`], and gives the reign a higher term.
    pub(super) fn raise(&mut self, number: u64, term: Term, until: Tick, now: Tick) -> Extension {
        let extension = self.extend(number, until, now);
        if let (Extension::Extended, Self::Leader(reign)) = (extension, self) {
            reign.term = reign.term.max(term);
        }
        extension
    }

    /// Ends the reign if its time has run out at `now`. True when it did.
    pub(super) fn expire(&mut self, now: Tick) -> bool {
        match self {
            Self::Leader(reign) if !reign.stands_at(now) => {
                self.end(None);
                true
            }
            Self::Leader(_) | Self::Follower { .. } => false,
        }
    }

    /// Ends the reign, if there is one, and follows `holder`. True when there was a reign, or the holder changed.
    pub(super) fn end(&mut self, holder: Option<String>) -> bool {
        match mem::replace(self, Self::Follower { holder }) {
            Self::Leader(reign) => {
                reign.lost.cancel();
                true
            }
            Self::Follower { holder: before } => before.as_deref() != self.holder(),
        }
    }
}

#[cfg(test)]
mod tests;
