//! Bugs that can be planted on purpose, to show that the simulation finds them.
//!
//! Only a build with the feature `planted-bugs` can have one, and no build that is shipped has that feature: there the answer is a
//! constant, and the compiler leaves nothing of the question.

/// A rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The Lease is patched without a precondition.
    NoCas,
    /// A write is sent although the reign's time has run out.
    NoPermit,
    /// The role is granted while another pod still carries it.
    GrantBeforeWithdraw,
    /// A new leader does not stamp what it finds.
    NoStamp,
    /// Whatever takes writes is eligible.
    NoMark,
    /// Timelines in file names are read as decimal numbers.
    DecimalTimelines,
    /// A server that has fallen silent has no claim any more.
    SilenceGrants,
    /// A sighting counts however old it is.
    StaleSighting,
}

/// All of them.
pub const BUGS: [Bug; 8] = [
    Bug::NoCas,
    Bug::NoPermit,
    Bug::GrantBeforeWithdraw,
    Bug::NoStamp,
    Bug::NoMark,
    Bug::DecimalTimelines,
    Bug::SilenceGrants,
    Bug::StaleSighting,
];

#[cfg(feature = "planted-bugs")]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in whatever runs on this thread from now on; none: takes it out again.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted.
#[cfg(feature = "planted-bugs")]
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this bug is planted: in this build none ever is.
#[cfg(not(feature = "planted-bugs"))]
#[inline]
pub const fn is_planted(_: Bug) -> bool {
    false
}
