//! What a process has from its host: a clock, chance, the way to the servers, leave to run, and where traces go.
//!
//! It comes in through the door, so that the simulation (`controller/tests/simulation/`) can bring its own and run everything else as
//! it is.

use std::{fmt, sync::Arc, time::Duration};

use rand::RngExt as _;

use crate::{
    clock::{BootClock, Clock},
    servers::{Network, Servers},
    tasks::{Gate, Open},
    trace::Tracer,
};

/// Where random numbers come from. Nothing is decided by them: they spread what would else fall into one instant.
pub trait Chance: Send + Sync + fmt::Debug + 'static {
    /// Any span from nothing to `limit`.
    fn up_to(&self, limit: Duration) -> Duration;
}

/// The operating system's random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct TrueChance;

/// What a process has from its host.
#[derive(Debug, Clone)]
pub struct Host {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Random spans.
    pub chance: Arc<dyn Chance>,
    /// The way to the PostgreSQL servers.
    pub servers: Arc<dyn Servers>,
    /// Leave to run.
    pub gate: Arc<dyn Gate>,
    /// What begins traces; by default they are not exported.
    pub tracer: Tracer,
}

// === impl Host ===

impl Host {
    /// The host that this process really runs on.
    pub fn real() -> Self {
        Self {
            clock: Arc::new(BootClock),
            chance: Arc::new(TrueChance),
            servers: Arc::new(Network),
            gate: Arc::new(Open),
            tracer: Tracer::default(),
        }
    }
}

// === impl TrueChance ===

impl Chance for TrueChance {
    fn up_to(&self, limit: Duration) -> Duration {
        rand::rng().random_range(Duration::ZERO..=limit)
    }
}
