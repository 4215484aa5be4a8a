//! Leader election: which replica may write, proven before every write.

mod handle;
mod leadership;
mod settings;
mod state;

pub use handle::{Handle, RaiseError, StepDown};
pub use leadership::{Leadership, NotLeader, Reign, WritePermit, permit};
pub use settings::{Settings, SettingsError, TTL_DEFAULT, TTL_MAX, TTL_MIN, identity, pod_of};
