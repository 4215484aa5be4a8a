//! The controller.

pub mod clock;
pub mod decide;
pub mod election;
pub mod sighting;
pub mod stamp;
