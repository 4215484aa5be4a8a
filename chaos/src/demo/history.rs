//! The history of a run while it grows: written by the watches and the clients' followers, read by whoever waits.

use std::sync::{Arc, Mutex, PoisonError};

use crate::host_time::HostTime;
use crate::timeline::{Entry, Happening};

/// Two clients write a hundred lines a second each; this is over an hour. What comes later is not kept, and [`History::is_full`] says so.
const ENTRIES_MAX: usize = 1_000_000;

/// A history that grows.
#[derive(Debug, Clone, Default)]
pub(super) struct History(Arc<Mutex<Vec<Entry>>>);

impl History {
    /// Stamps what was just heard of.
    pub(super) fn record(&self, what: Happening) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() < ENTRIES_MAX {
            // Stamped under the lock, so that the stamps rise.
            entries.push(Entry {
                at: HostTime::now(),
                what,
            });
        }
    }

    /// Somebody outside did something, at this very moment.
    pub(super) fn did(&self, what: impl Into<String>) {
        self.record(Happening::Did(what.into()));
    }

    /// Looks at all of it.
    pub(super) fn read<T>(&self, look: impl FnOnce(&[Entry]) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether something may be missing from it.
    pub(super) fn is_full(&self) -> bool {
        self.read(|entries| entries.len() >= ENTRIES_MAX)
    }
}
