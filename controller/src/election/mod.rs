//! Leader election: which replica may write, proven before every write.

mod attempt;
mod cas;
mod elector;
mod expiry;
mod handle;
mod leadership;
#[cfg(test)]
mod lease_server;
mod lease_watch;
mod settings;
mod state;

pub use elector::{ClientError, Elector};
pub use handle::{Handle, RaiseError, StepDown};
pub use leadership::{Leadership, NotLeader, Reign, WritePermit, permit};
pub use settings::{Settings, SettingsError, TTL_DEFAULT, TTL_MAX, TTL_MIN, identity, pod_of};
