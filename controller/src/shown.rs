//! What a process shows of itself: the loops write it, the admin endpoint reads it.

use std::sync::Arc;

use crate::{clock::Clock, health::Health, live::Live, metrics::Metrics};

/// What a process shows of itself; a copy is the same.
#[derive(Debug, Clone)]
pub struct Shown {
    /// For the kubelet.
    pub health: Arc<Health>,
    /// For Prometheus.
    pub metrics: Arc<Metrics>,
    /// For the command line and the status page.
    pub live: Arc<Live>,
}

impl Shown {
    /// A process that has just started.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            health: Arc::new(Health::new(clock)),
            metrics: Arc::new(Metrics::new()),
            live: Arc::new(Live::default()),
        }
    }
}
