//! Every kind of fault, and how often each really happened.

macro_rules! faults {
    ($($name:ident $text:literal,)*) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault { $(#[doc = $text] $name,)* }

        /// All kinds, in order.
        pub(crate) const FAULTS: &[(Fault, &str)] = &[$((Fault::$name, $text),)*];
    };
}

faults! {
    RequestDropped "request dropped",
    RequestLate "request carried out after its sender had given up",
    RequestDelayed "request delayed",
    RequestTwice "request carried out twice",
    RequestRefused "request answered with 5xx or 429",
    ReplyDropped "reply dropped",
    ReplyDelayed "reply delayed",
    ReplyReordered "reply overtaken by a later one",
    ReplyBroken "connection broken before the reply",
    EventDropped "watch event dropped",
    EventDelayed "watch event delayed",
    EventReordered "watch event overtaken by a later one",
    EventTwice "watch event sent twice",
    WatchEnded "watch ended or broken",
    WatchExpired "watch too old (410)",
    ApiFrozen "API server frozen",
    LinkCut "replica cut off from the API server",
    CrashAtPoll "replica crashed at an await",
    CrashAtWrite "replica crashed with a write under way",
    PauseAtPoll "replica paused at an await",
    PauseAtWrite "replica paused with a write under way",
    Restart "replica ended in order",
    WallClock "wall clock moved by up to an hour",
    LeaseDeleted "Lease deleted",
    LabelEdited "role label edited by hand",
    RouteExcluded "pod excluded or route paused for a while",
    ServerCrash "server crashed",
    ServerHang "server hung",
    ServerCut "server out of a replica's reach",
    ServerSlow "server slow to answer",
    ServerBarred "server bars the probe, or is starting",
    SplitBrain "promoted beside a living primary",
    TwicePromoted "two servers promoted to one timeline",
    FarBehind "promoted from far behind",
    StaleReturn "old primary back, still taking writes",
    Wiped "server initialised anew",
    Restored "volume restored from a backup",
    PodReplaced "pod replaced, with another address",
    AddressesSwapped "addresses of two pods swapped",
}

/// How often each kind happened.
#[derive(Debug, Clone)]
pub(crate) struct Counters(pub(crate) [u64; FAULTS.len()]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; FAULTS.len()])
    }
}

impl Counters {
    /// It happened.
    pub(crate) const fn count(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// How many there were.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds another seed's.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}
