//! One clock for everything that a scenario stamps: the host's `CLOCK_MONOTONIC`, which pods of the embedded cluster share, because
//! they run on the same kernel. Stamps of another host's clock are translated with [`Clock`].

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A moment: nanoseconds of the host's `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostTime(pub u64);

impl HostTime {
    /// This moment.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Monotonic);
        // The monotonic clock starts at boot and is never negative.
        Self(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
    }

    /// The moment that the wall clock called so, in microseconds since 1970: right while nobody sets the wall clock in between.
    pub fn of_unix_micros(micros: i64) -> Self {
        let ago = unix_nanos() - i128::from(micros) * 1000;
        let nanos = i128::from(Self::now().0) - ago;
        Self(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }

    /// Whole milliseconds since an earlier moment; negative when that one was later.
    pub fn millis_since(self, earlier: Self) -> i64 {
        const NANOS_A_MILLI: i128 = 1_000_000;
        let nanos = i128::from(self.0) - i128::from(earlier.0);
        i64::try_from(nanos / NANOS_A_MILLI).unwrap_or(i64::MAX)
    }

    /// The moment this much earlier, at the earliest the boot of the host.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// How much later this moment is than another; nothing when it is earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment this much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// Seconds since 1970, for people.
pub fn unix_seconds() -> u64 {
    u64::try_from(unix_nanos() / NANOS_A_SECOND).unwrap_or(0)
}

const NANOS_A_SECOND: i128 = 1_000_000_000;

fn unix_nanos() -> i128 {
    let time = clock_gettime(ClockId::Realtime);
    i128::from(time.tv_sec) * NANOS_A_SECOND + i128::from(time.tv_nsec)
}

/// Whose clock somebody's stamps are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// This host's.
    Ours,
    /// Another host's. What is known of it: the least difference between a stamp and the moment when it was heard of. A translated stamp is
    /// late by the shortest time that a message took, which is milliseconds.
    Foreign {
        /// Nanoseconds to add to a stamp; `None` before the first one.
        ahead: Option<i128>,
    },
}

impl Clock {
    /// Another host's clock, of which nothing is known yet.
    pub fn foreign() -> Self {
        Self::Foreign { ahead: None }
    }

    /// Learns from a stamp that was heard of at this moment.
    pub fn heard(&mut self, stamp: HostTime, now: HostTime) {
        if let Self::Foreign { ahead } = self {
            let difference = i128::from(now.0) - i128::from(stamp.0);
            *ahead = Some(ahead.map_or(difference, |least| least.min(difference)));
        }
    }

    /// The stamp in this host's time.
    #[must_use]
    pub fn translate(self, stamp: HostTime) -> HostTime {
        match self {
            Self::Ours | Self::Foreign { ahead: None } => stamp,
            Self::Foreign { ahead: Some(ahead) } => {
                HostTime(u64::try_from(i128::from(stamp.0) + ahead).unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quickest_message_tells_how_far_another_clock_is_ahead() {
        let mut clock = Clock::foreign();
        // The other clock shows 1000 less; messages took 50, 20, 90.
        for (stamp, heard) in [(100, 1_150), (200, 1_220), (300, 1_390)] {
            clock.heard(HostTime(stamp), HostTime(heard));
        }
        assert_eq!(clock.translate(HostTime(400)), HostTime(1_420));
        // A clock that is far behind ours, as of a host that booted later, or ahead.
        let mut ahead = Clock::foreign();
        ahead.heard(HostTime(9_000), HostTime(1_010));
        assert_eq!(ahead.translate(HostTime(9_100)), HostTime(1_110));
    }

    #[test]
    fn a_stamp_of_our_own_clock_stays() {
        let mut ours = Clock::Ours;
        ours.heard(HostTime(100), HostTime(1_150));
        assert_eq!(ours.translate(HostTime(400)), HostTime(400));
    }
}
