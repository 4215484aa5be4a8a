//! The controller.

pub mod clock;
