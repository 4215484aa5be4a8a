//! Leader election: which replica may write, and until when, proven anew for every write.
//!
//! ```text
//!            kube-leader-election            watch
//!                   |                          |
//! [ elector ] -> [ cas ] -> API server -> [ lease_watch ]
//!      |            `------> [ expiry ] <-------'           when may the Lease be taken?
//!      v
//!  [ state ] -> Leadership -> permit -> WritePermit         who may write, until which tick?
//! ```
//!
//! A candidate reads the Lease when it is due, or as soon as it may be taken, and then writes it under a precondition. Winning
//! begins a *reign*, which is published with the tick at which it ends; each renewal moves that tick, in silence. Nothing is
//! written without a [`WritePermit`], and there is none from that tick on, whatever a request or a timer is doing.
//!
//! The election library, kube-leader-election, is used as it comes. This is where it is not enough for us, and what closes the gap:
//!
//! | the library, by itself | here | where |
//! |---|---|---|
//! | patches without a precondition: whoever read the same expired Lease wins it too | each patch carries uid and resourceVersion of the read before it, and a patch without one is not sent | `cas` |
//! | compares the holder's wall clock with its own | the holder's times are marks that change or stand still; a Lease may be taken when it stood still for a ttl of the local clock | `expiry` |
//! | believes that it leads when a patch was accepted | the answer must name us | `attempt` |
//! | knows no end of a leadership, and waits for an answer without limit | a reign ends on a tick, counted from before the request; every attempt has a deadline; a failed one proves nothing | `leadership`, `state` |
//! | polls; a Lease that was released is taken at the next poll | candidates watch the Lease, and an empty one may be taken at once | `lease_watch` |
//! | a missing field is an error, for ever | filled in before the library sees the Lease | `expiry` |
//! | a Lease that was deleted is made at once, by anybody, and its transitions begin at zero | its maker holds it for a ttl before it reigns; the term goes on from the highest ever seen | `expiry`, `cas` |
//! | a process that restarts under its name goes on in the term of its predecessor | eight random digits in the identity, and every reign raises the term | `settings`, `cas` |
//! | cuts the ttl to whole seconds | a ttl that is not in whole seconds is refused | `settings` |
//!
//! There is no jitter: candidates who come at the same moment are told apart by the precondition, and the losers look again ten
//! milliseconds later. What an election cannot do is stop a request that is already under way; the stamps on the objects do that.

mod attempt;
mod cas;
mod elector;
mod expiry;
mod handle;
mod leadership;
#[cfg(test)]
pub(crate) mod lease_server;
mod lease_watch;
#[cfg(test)]
mod model;
mod settings;
mod state;

pub use elector::{ClientError, Elector};
pub use handle::{Handle, RaiseError, StepDown};
pub use leadership::{Leadership, NotLeader, Reign, WritePermit, permit};
pub use settings::{Settings, SettingsError, TTL_DEFAULT, TTL_MAX, TTL_MIN, identity, pod_of};
