//! The controller.

pub mod admin;
pub mod clock;
pub mod decide;
pub mod election;
pub mod health;
pub mod metrics;
pub mod sighting;
pub mod stamp;
pub mod telemetry;
