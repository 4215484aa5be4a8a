//! The whole output of a decision.

use std::collections::BTreeMap;

use probe::Evidence;
use shared::{ledger::Mark, role::Role, term::Term};

use super::{
    eligible::Ineligible,
    listing::{Family, Listing, SliceKey},
    observed::{LabelState, PodKey},
};
use crate::clock::Tick;

/// One write. Each names what it expects to find; where that is no longer so, nothing is written and the route is decided anew.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Put this reign's stamp on a pod and change nothing else.
    Stamp {
        /// The pod.
        pod: PodKey,
        /// What is expected.
        resource_version: String,
    },
    /// Put this reign's term into the ledger and change nothing else.
    StampLedger {
        /// What is expected.
        resource_version: String,
        /// The ledger's uid.
        uid: String,
    },
    /// Take the primary role off a pod.
    Withdraw {
        /// The pod.
        pod: PodKey,
        /// What is expected.
        resource_version: String,
        /// What it is labelled instead.
        to: Option<Role>,
    },
    /// Change the label of a pod that is not primary to one that is not primary.
    Relabel {
        /// The pod.
        pod: PodKey,
        /// What is expected.
        resource_version: String,
        /// What the label says now.
        from: LabelState,
        /// What it is labelled instead.
        to: Option<Role>,
    },
    /// Write the mark: upwards, or anywhere by a person's word.
    SetMark {
        /// The ledger as it was seen; `None`: it must not exist.
        expected: Option<LedgerExpected>,
        /// The new mark.
        mark: Mark,
        /// The pod that was primary before, when this is a switch.
        switch: Option<SwitchFrom>,
    },
    /// Put the primary role on a pod.
    Grant {
        /// The pod.
        pod: PodKey,
        /// What is expected.
        resource_version: String,
    },
    /// Make an EndpointSlice of a Service without endpoints.
    CreateSlice {
        /// Its name, which is expected to be free.
        slice: String,
        /// The Service.
        service: String,
        /// The Service's uid: with the Service the slice goes.
        service_uid: String,
        /// The addresses that it can hold.
        family: Family,
    },
    /// Put this reign's stamp on an EndpointSlice and change nothing else.
    StampSlice {
        /// The slice.
        slice: SliceKey,
        /// What is expected.
        resource_version: String,
    },
    /// Change whom an EndpointSlice lists, in one write.
    SetEndpoints {
        /// The slice.
        slice: SliceKey,
        /// What is expected.
        resource_version: String,
        /// The Service that it belongs to.
        service: String,
        /// What it says from now on.
        to: Listing,
    },
    /// Take the accept annotation off the route: it is done.
    ClearAccept,
    /// Somebody with a higher claim has written: stop leading.
    StepDown {
        /// The term that was met.
        met: Term,
    },
}

impl Action {
    /// What it does, in a word or two, as logs and spans show it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Stamp { .. } => "stamp",
            Self::StampLedger { .. } => "stamp ledger",
            Self::Withdraw { .. } => "withdraw",
            Self::Relabel { .. } => "relabel",
            Self::SetMark { .. } => "set mark",
            Self::Grant { .. } => "grant",
            Self::CreateSlice { .. } => "create slice",
            Self::StampSlice { .. } => "stamp slice",
            Self::SetEndpoints { .. } => "set endpoints",
            Self::ClearAccept => "clear accept",
            Self::StepDown { .. } => "step down",
        }
    }

    /// The pod that it is about.
    pub const fn pod(&self) -> Option<&PodKey> {
        match self {
            Self::Stamp { pod, .. }
            | Self::Withdraw { pod, .. }
            | Self::Relabel { pod, .. }
            | Self::Grant { pod, .. } => Some(pod),
            Self::StampLedger { .. }
            | Self::SetMark { .. }
            | Self::CreateSlice { .. }
            | Self::StampSlice { .. }
            | Self::SetEndpoints { .. }
            | Self::ClearAccept
            | Self::StepDown { .. } => None,
        }
    }

    /// Whether it gives somebody what only a recent sighting can justify. What takes away is safe however late.
    pub const fn gives(&self) -> bool {
        matches!(
            self,
            Self::Grant { .. } | Self::SetMark { .. } | Self::SetEndpoints { .. }
        )
    }

    /// The name of the EndpointSlice that it is about.
    pub fn slice(&self) -> Option<&str> {
        match self {
            Self::CreateSlice { slice, .. } => Some(slice),
            Self::StampSlice { slice, .. } | Self::SetEndpoints { slice, .. } => Some(&slice.name),
            Self::Stamp { .. }
            | Self::StampLedger { .. }
            | Self::Withdraw { .. }
            | Self::Relabel { .. }
            | Self::SetMark { .. }
            | Self::Grant { .. }
            | Self::ClearAccept
            | Self::StepDown { .. } => None,
        }
    }
}

/// The ledger that a write expects to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerExpected {
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
}

/// Where a switch comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchFrom {
    /// The pod that was primary before; `None` for the first primary of a route.
    pub pod: Option<String>,
}

/// Where the route stands, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Every label is as it should be.
    Settled,
    /// Something is being changed, or is about to be.
    Moving,
    /// No server can be primary.
    NoPrimary,
    /// Several servers take writes.
    SplitBrain,
    /// No server replies, and it may be the controller that cannot see: everything is held.
    Blind,
    /// A person paused the route.
    Paused,
}

impl Verdict {
    /// The word as status, metrics and spans show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "Settled",
            Self::Moving => "Moving",
            Self::NoPrimary => "NoPrimary",
            Self::SplitBrain => "SplitBrain",
            Self::Blind => "Blind",
            Self::Paused => "Paused",
        }
    }
}

/// Something that a person may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Several servers take writes; `tie`: and nothing but a person can tell which is the right one.
    SplitBrain {
        /// The pods.
        pods: Vec<String>,
        /// Whether nobody is granted because of it.
        tie: bool,
    },
    /// There is no mark, and it is not clear which server is the right one.
    NoMark {
        /// What is missing.
        missing: String,
    },
    /// A server takes writes, is not the right one, and says so in neither Service.
    Orphaned {
        /// The pod.
        pod: String,
        /// Why it is not eligible; `None`: another one is chosen.
        why: Option<Ineligible>,
    },
    /// A standby does not belong to this history.
    Foreign {
        /// The pod.
        pod: String,
        /// In what way.
        why: Ineligible,
    },
    /// A server is alive and does not let the probe look.
    Barred {
        /// The pod.
        pod: String,
        /// What it said.
        detail: String,
    },
    /// Somebody else keeps changing the role label.
    Contested {
        /// The pod.
        pod: String,
    },
    /// Somebody else lists endpoints for a Service whose slices the controller writes.
    ForeignEndpoints {
        /// The Service.
        service: String,
        /// The slices.
        slices: Vec<String>,
    },
    /// A person asked to accept a server that cannot be.
    AcceptRefused {
        /// Why.
        why: String,
    },
}

/// What is known of one pod, for status and explanation.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberView {
    /// What its server was found to be.
    pub evidence: Evidence,
    /// The label it should have.
    pub desired: Option<Role>,
    /// Why.
    pub why: String,
}

/// The whole output of a decision about one route.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The writes of this turn: all may go out side by side.
    pub actions: Vec<Action>,
    /// Where the route stands.
    pub verdict: Verdict,
    /// The chosen server.
    pub chosen: Option<PodKey>,
    /// What a person may want to know.
    pub findings: Vec<Finding>,
    /// Every pod, explained.
    pub members: BTreeMap<PodKey, MemberView>,
    /// The moment at which the decision may differ although nothing is seen to change.
    pub wake_at: Option<Tick>,
}
