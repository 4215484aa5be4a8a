//! The controller.

pub mod admin;
pub mod apply;
pub mod chain;
pub mod cli;
pub mod clock;
mod data_identity;
pub mod decide;
pub mod election;
pub mod foresee;
pub mod health;
pub mod host;
pub mod live;
pub mod metrics;
pub mod reign;
pub mod run;
pub mod servers;
pub mod shown;
pub mod sighting;
pub mod stamp;
pub mod switch;
pub mod tasks;
pub mod telemetry;
pub mod trace;
pub mod watchdog;
pub mod writer;
