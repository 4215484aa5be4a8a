//! The controller.

pub mod clock;
pub mod election;
