//! The words of metric labels: enums, so that their number is known.

use probe::Evidence;

use crate::decide::Verdict;

/// Where a route stands, as `pgsteer_route_state` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteState {
    /// It was decided about.
    Decided(Verdict),
    /// It cannot be served as it is written.
    Refused,
}

/// What a write was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// This reign's stamp on a pod, and nothing else.
    Stamp,
    /// This reign's term in a ledger, and nothing else.
    StampLedger,
    /// The primary role taken off.
    Withdraw,
    /// A role that is not primary, or none.
    Relabel,
    /// The mark.
    SetMark,
    /// The primary role put on.
    Grant,
    /// An EndpointSlice made, without endpoints.
    CreateSlice,
    /// This reign's stamp on an EndpointSlice, and nothing else.
    StampSlice,
    /// Whom an EndpointSlice lists.
    SetEndpoints,
    /// The accept annotation taken off a route.
    ClearAccept,
    /// A route's status.
    Status,
    /// An Event.
    Event,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Carried out.
    Done,
    /// The object had changed, or is another one: nothing was written.
    Conflict,
    /// The object is gone.
    Gone,
    /// The API server said no: RBAC, admission, validation.
    Refused,
    /// No definite answer: it may have been carried out, or may still be.
    Unknown,
    /// Never sent: there was no permit for it.
    NotSent,
}

/// What a sighting was worth, as labels say it.
pub(super) const fn evidence_word(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Writable => "writable",
        Evidence::InRecovery => "in_recovery",
        Evidence::Down => "down",
        Evidence::Starting => "starting",
        Evidence::Silent => "silent",
        Evidence::Barred => "barred",
        Evidence::Unclear => "unclear",
    }
}

// === impl RouteState, Write, WriteOutcome ===

impl RouteState {
    pub(super) const ALL: [Self; 7] = [
        Self::Decided(Verdict::Settled),
        Self::Decided(Verdict::Moving),
        Self::Decided(Verdict::NoPrimary),
        Self::Decided(Verdict::SplitBrain),
        Self::Decided(Verdict::Blind),
        Self::Decided(Verdict::Paused),
        Self::Refused,
    ];

    /// The word as status and metrics show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decided(verdict) => verdict.as_str(),
            Self::Refused => "Refused",
        }
    }
}

impl Write {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Stamp => "stamp",
            Self::StampLedger => "stamp_ledger",
            Self::Withdraw => "withdraw",
            Self::Relabel => "relabel",
            Self::SetMark => "set_mark",
            Self::Grant => "grant",
            Self::CreateSlice => "create_slice",
            Self::StampSlice => "stamp_slice",
            Self::SetEndpoints => "set_endpoints",
            Self::ClearAccept => "clear_accept",
            Self::Status => "status",
            Self::Event => "event",
        }
    }
}

impl WriteOutcome {
    /// The word as spans and metrics show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::NotSent => "not_sent",
        }
    }
}

/// Every word of [`evidence_word`].
pub(super) const EVIDENCE: [&str; 7] = [
    evidence_word(Evidence::Writable),
    evidence_word(Evidence::InRecovery),
    evidence_word(Evidence::Down),
    evidence_word(Evidence::Starting),
    evidence_word(Evidence::Silent),
    evidence_word(Evidence::Barred),
    evidence_word(Evidence::Unclear),
];
