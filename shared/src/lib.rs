//! The vocabulary of pgsteer: the two custom resources, and the words and names that every part agrees on.
//!
//! - [`route`]: `PostgresRoute`, what the user writes; [`status`]: what pgsteer says about it.
//! - [`ledger`]: `PostgresLedger`, the route's durable memory.
//! - [`role`], [`term`], [`wal`], [`quantity`]: the words that they are made of.
//! - [`names`]: labels, annotations and object names.
//! - [`planted`]: rules that a test build can leave out on purpose.
//!
//! Nothing here talks to anything: no runtime, no client.

mod as_text;
pub mod ledger;
pub mod names;
pub mod planted;
pub mod quantity;
pub mod role;
pub mod route;
pub mod status;
pub mod term;
pub mod wal;
