//! What the leader knows of its routes right now, for people: what the status has, and the figures that change all the time (lag, how
//! long a server takes to answer) or are nobody's but the leader's (what it would do next).
//!
//! ```text
//! turn of a route --show--> Live --read--> admin endpoint --> command line, status page
//! ```
//!
//! Nothing is decided from it. It is plain data as JSON, in `camelCase`; a follower has none.

mod told;

pub(crate) use told::behind;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

pub use told::{
    LiveMember, LiveRoute, Moving, NextTurns, Overview, RouteHistory, RoutePlan, SeenBy, Services, Turn, refused, route,
};

use crate::reign::RouteKey;

/// Every route as the leader last looked at it; empty in a follower.
#[derive(Debug)]
pub struct Live {
    routes: Mutex<BTreeMap<RouteKey, Arc<LiveRoute>>>,
    changes: watch::Sender<u64>,
}

// === impl Live ===

impl Default for Live {
    fn default() -> Self {
        Self {
            routes: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl Live {
    /// Shows a route as a turn has just found it.
    pub fn show(&self, key: &RouteKey, route: LiveRoute) {
        self.lock().insert(key.clone(), Arc::new(route));
        self.changed();
    }

    /// Takes out a route that is gone.
    pub fn forget(&self, key: &RouteKey) {
        self.lock().remove(key);
        self.changed();
    }

    /// Takes out all: this replica leads no more.
    pub fn clear(&self) {
        self.lock().clear();
        self.changed();
    }

    /// Every route, by namespace and name.
    pub fn routes(&self) -> Vec<Arc<LiveRoute>> {
        self.lock().values().cloned().collect()
    }

    /// One route.
    pub fn get(&self, key: &RouteKey) -> Option<Arc<LiveRoute>> {
        self.lock().get(key).cloned()
    }

    /// Wakes whenever something is shown or taken out.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RouteKey, Arc<LiveRoute>>> {
        // What is kept there is only what is shown: worth having even after a panic half-way.
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
