//! The vocabulary of pgsteer.

pub mod term;
pub mod wal;
