//! What is told of a switch, as plain data.

use std::time::Duration;

use probe::Evidence;

use crate::clock::Tick;

/// Why the primary changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The route had never had one.
    First,
    /// The server refused connections, was starting, or its container had ended.
    Down,
    /// The server gave no answer.
    Silent,
    /// The server said that it is in recovery.
    Demoted,
    /// The pod is gone.
    Gone,
    /// Another server was promoted while the old one had not been seen to end.
    Promoted,
    /// Several servers took writes, and the route's policy lets none of them keep the role.
    SplitBrain,
    /// A person said which server is the right one.
    Accepted,
    /// A person excluded the pod.
    Excluded,
    /// Somebody else had changed the role label.
    Repaired,
    /// Nobody was primary when this reign began to look.
    Vacant,
}

/// Something that a probe saw and that does not go with the pod's label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differing {
    /// The pod.
    pub pod: String,
    /// What the sighting was worth.
    pub evidence: Evidence,
    /// When it was seen first.
    pub at: Tick,
    /// In words; empty for an answer.
    pub detail: String,
}

/// How a switch came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is left to do, and the endpoints followed.
    Settled,
    /// Nothing is left to do, but the endpoints did not follow.
    NotFollowed,
    /// The primary changed again before.
    Superseded,
}

/// A switch that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Why it was.
    pub cause: Cause,
    /// How it ended.
    pub outcome: Outcome,
    /// Who was primary before.
    pub from: Option<String>,
    /// Who is primary now.
    pub to: Option<String>,
    /// The first sighting that differed.
    pub began: Tick,
    /// The answer to the withdrawal.
    pub withdrawn: Option<Tick>,
    /// The answer to the grant; none: the role was only taken from somebody who should not have had it.
    pub granted: Option<Tick>,
    /// The endpoints held the primary and nobody else.
    pub followed: Option<Tick>,
    /// Nothing was left to do.
    pub ended: Tick,
    /// Since when nobody could write through the Service, as far as this reign has seen; none: it cannot tell.
    pub unwritable_since: Option<Tick>,
}

/// What is worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A switch began.
    Began {
        /// At the first sighting that differed.
        at: Tick,
        /// Why.
        cause: Cause,
        /// Who was primary before.
        from: Option<String>,
    },
    /// A sighting was decided upon.
    Sighted(Differing),
    /// A decision that is not the one before.
    Decided,
    /// The endpoints followed what was written at `since`.
    Followed {
        /// The answer to the write.
        since: Tick,
    },
    /// The switch came to its end.
    Ended(Ended),
}

// === impl Ended ===

impl Ended {
    /// From the first sighting that differed until nothing was left to do.
    pub const fn took(&self) -> Duration {
        self.ended.since(self.began)
    }

    /// How long nobody could write through the Service: from the moment at which the old primary was seen to take no more writes,
    /// or lost its role, until the endpoints held the new one. None where that cannot be told.
    pub fn write_outage(&self) -> Option<Duration> {
        Some(
            self.followed?
                .since(self.unwritable_since.filter(|_| self.granted.is_some())?),
        )
    }
}

// === impl Cause, Outcome ===

impl Cause {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::First,
        Self::Down,
        Self::Silent,
        Self::Demoted,
        Self::Gone,
        Self::Promoted,
        Self::SplitBrain,
        Self::Accepted,
        Self::Excluded,
        Self::Repaired,
        Self::Vacant,
    ];

    /// The word as spans and metrics show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Down => "down",
            Self::Silent => "silent",
            Self::Demoted => "demoted",
            Self::Gone => "gone",
            Self::Promoted => "promoted",
            Self::SplitBrain => "split_brain",
            Self::Accepted => "accepted",
            Self::Excluded => "excluded",
            Self::Repaired => "repaired",
            Self::Vacant => "vacant",
        }
    }

    /// Whether the withdrawal is the moment at which clients lose the server that they could write to.
    pub(super) const fn leaves_nobody(self) -> bool {
        match self {
            Self::Promoted
            | Self::SplitBrain
            | Self::Accepted
            | Self::Excluded
            | Self::Down
            | Self::Silent
            | Self::Demoted => true,
            Self::First | Self::Gone | Self::Repaired | Self::Vacant => false,
        }
    }
}

impl Outcome {
    /// The word as spans show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::NotFollowed => "not followed",
            Self::Superseded => "superseded",
        }
    }
}
