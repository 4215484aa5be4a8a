//! One clock for everything that a scenario stamps: the host's `CLOCK_MONOTONIC`, which pods of the embedded cluster share, because
//! they run on the same kernel. On a cluster of several hosts stamps of different hosts cannot be compared.

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

    /// Whole milliseconds since an earlier moment; negative when that one was later.
    pub fn millis_since(self, earlier: Self) -> i64 {
        const NANOS_A_MILLI: i128 = 1_000_000;
        let nanos = i128::from(self.0) - i128::from(earlier.0);
        i64::try_from(nanos / NANOS_A_MILLI).unwrap_or(i64::MAX)
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
