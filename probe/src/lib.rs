//! One question to one PostgreSQL server: connect, ask, classify.
//!
//! ```text
//!  Target ──> TCP ──> TLS ──> login ──> SELECT pg_is_in_recovery(), … ──> Report ─┐
//!              └────────┴───────┴─────────────────────────────────> ProbeError ─┴─> classify ──> Evidence
//! ```
//!
//! A question is put either on a **fresh** connection ([`ask`], [`Session::open`]) or on a kept one ([`Session::ask`]).
//! [`knock`] goes as far as the server's door, for a small part of the price, and tells whether it takes connections.
//! One deadline covers all of it: connecting, TLS, login and the query. [`classify`] says what an answer, or the lack of
//! one, is worth as evidence; what follows from the evidence is the caller's to decide. This crate knows no Kubernetes.
//!
//! Nothing is spawned: the future that the caller awaits drives the connection, so nothing outlives it.
//! PostgreSQL 12 and later are understood.

mod connect;
mod error;
mod evidence;
mod knock;
pub mod question;
mod report;
mod session;
mod target;
mod tls;
mod wire;

pub use error::{Phase, ProbeError};
pub use evidence::{Evidence, classify};
pub use knock::knock;
pub use report::{Receiver, Report, Standing, UnixMicros};
pub use session::{News, Pulse, Session, ask};
pub use target::{Password, Target};
pub use tls::{BadTls, Roots, Tls};
