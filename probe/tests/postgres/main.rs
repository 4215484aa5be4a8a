//! The probe against real PostgreSQL processes, and against things that only look like one.

mod barred;
mod impostors;
mod sessions;
mod standbys;
mod standing;
mod support;
mod tls;
