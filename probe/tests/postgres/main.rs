//! The probe against real PostgreSQL processes, and against things that only look like one.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what the tests share fails the test, too"
)]

mod barred;
mod impostors;
mod sessions;
mod standbys;
mod standing;
mod support;
mod tls;
