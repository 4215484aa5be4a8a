//! A state of the model: what the API server holds, what is on its way to it, and what each process knows.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use shared::{role::Role, term::Term};
use tokio_util::sync::CancellationToken;

use super::super::{
    cas::{Book, Intent},
    leadership::{Leadership, Reign},
    settings::{Settings, TTL_MIN, identity},
    state::State,
};
use crate::{
    clock::{ManualClock, Tick},
    stamp::Holder,
};

/// Pods of the route.
pub(super) const PODS: usize = 2;

/// What a process may write to besides the Lease: the pods, and then the ledger.
pub(super) const OBJECTS: usize = PODS + 1;

/// The ledger among the objects.
pub(super) const LEDGER: usize = PODS;

/// One step of a clock: half of the shortest ttl, so that a reign covers the step in which it was asked for and the next.
pub(super) const STEP: Duration = Duration::from_secs(1);

/// Where every clock begins: long after its host booted.
const BEGINNING: Duration = Duration::from_secs(1000);

/// A clock's reading after so many steps.
pub(super) fn tick(steps: u8) -> Tick {
    Tick::default() + BEGINNING + STEP * u32::from(steps)
}

/// The identity of a process. Its digits are all that the model keeps of it.
pub(super) fn identity_of(holder: Holder) -> String {
    identity("pgsteer", holder.0)
}

/// The settings of a process.
pub(super) fn settings(holder: Holder) -> Settings {
    Settings::new("pgsteer", "pgsteer", identity_of(holder), TTL_MIN).expect("sound settings")
}

/// The whole state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) lease: Option<HeldLease>,
    /// Leases made so far: the next one's uid.
    pub(super) leases: u8,
    pub(super) pods: [PodObject; PODS],
    pub(super) ledger: Option<LedgerObject>,
    /// What is on its way to the API server, in an order that says nothing.
    pub(super) requests: Vec<Request>,
    pub(super) processes: Vec<Process>,
    /// Which server takes writes: see [`super::office::sees`].
    pub(super) phase: u8,
    pub(super) spent: Spent,
    pub(super) history: History,
}

/// The Lease as the API server holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct HeldLease {
    pub(super) uid: u8,
    /// Rises at every write; it stands for the resourceVersion, and for the time of the last renewal.
    pub(super) version: u8,
    pub(super) holder: Option<Holder>,
    pub(super) term: Term,
}

/// A stamp without its number, which is the object's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Seal {
    pub(super) term: Term,
    pub(super) holder: Holder,
}

/// A pod as the API server holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PodObject {
    pub(super) version: u8,
    pub(super) seal: Option<Seal>,
    pub(super) label: Option<Role>,
}

/// The ledger as the API server holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LedgerObject {
    pub(super) version: u8,
    pub(super) seal: Seal,
    pub(super) floor: Term,
    pub(super) mark: Option<MarkOf>,
}

/// Which pod's data is the mark, and on which timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct MarkOf {
    pub(super) pod: usize,
    pub(super) timeline: u32,
}

/// One write on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Request {
    /// Which of the processes sent it, if it still waits for the answer. It may arrive all the same when it does not.
    pub(super) awaited_by: Option<usize>,
    pub(super) seal: Seal,
    pub(super) write: Write,
}

/// What a request is to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Write {
    /// Make the Lease, or change the one that is expected.
    Lease {
        /// uid and version; `None`: there must be none.
        expected: Option<(u8, u8)>,
        change: LeaseChange,
        /// The term, if it changes.
        term: Option<Term>,
    },
    /// Change a pod, or the ledger.
    Object {
        object: usize,
        /// The version; `None`: there must be none.
        expected: Option<u8>,
        change: Change,
    },
}

/// A change of the Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum LeaseChange {
    /// Take or make it.
    Hold,
    /// Keep it.
    Renew,
    /// Give it back.
    Release,
}

/// A change of an object, besides its stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Change {
    Stamp,
    Label(Option<Role>),
    Mark(MarkOf),
}

/// One replica's process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) holder: Holder,
    /// Its clock, in steps.
    pub(super) clock: u8,
    pub(super) noted: Noted,
    pub(super) attempt: Option<Attempt>,
    pub(super) reign: Option<Reigning>,
    /// Reigns so far.
    pub(super) reigns: u64,
}

/// What a process has seen of the Lease: the shipped book, with a fingerprint that is taken once, because states are hashed often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Noted {
    book: Arc<Book>,
    fingerprint: u64,
}

/// An attempt of the elector that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Attempt {
    /// When it began, in steps.
    pub(super) asked: u8,
    pub(super) intent: Intent,
    /// Number and term of the reign that stood then.
    pub(super) reign: Option<(u64, Term)>,
    pub(super) stage: Stage,
}

/// How far an attempt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// The Lease was read so; the answer is on its way.
    Read(Option<HeldLease>),
    /// A write is under way.
    Sent,
    /// The write was answered: with the Lease as it is now, or with a conflict.
    Answered(Option<HeldLease>),
}

/// A reign, and how far its leader has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Reigning {
    pub(super) term: Term,
    pub(super) until: Tick,
    pub(super) began: Tick,
    pub(super) number: u64,
    pub(super) office: Office,
}

/// How far the leader of a reign has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Office {
    /// It has read nothing yet.
    New,
    /// It has read every stamp: this is the highest term.
    Listed(Option<Term>),
    /// It takes turns, and remembers the objects whose last write had no answer.
    Governs { unknown: [bool; OBJECTS] },
}

/// What has happened so far of what may happen only so often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Spent {
    pub(super) steps: u8,
    pub(super) crashes: u8,
    pub(super) deletions: u8,
    pub(super) losses: u8,
    pub(super) repeats: u8,
    pub(super) releases: u8,
    pub(super) promotions: u8,
    pub(super) lease_writes: u8,
}

/// What properties have to know of the past.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any of them may be true together"
)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct History {
    /// Whose grant was carried out last.
    pub(super) granted: Option<Seal>,
    /// A reign granted after another one had.
    pub(super) taken_over: bool,
    /// A write of a reign was carried out after the next reign's first grant.
    pub(super) late_write_carried_out: bool,
    /// Such a write came and was refused.
    pub(super) late_write_refused: bool,
    /// An object's term fell.
    pub(super) term_fell: bool,
    /// A reign had to raise its term.
    pub(super) raised: bool,
    /// A leader met a higher claim and stopped.
    pub(super) stepped_down: bool,
}

// === impl HeldLease ===

impl HeldLease {
    /// The object as the API server shows it.
    pub(super) fn object(self) -> Lease {
        // Any two versions have different times, as any two renewals do; which ones does not matter.
        let at = MicroTime(Timestamp::constant(1_800_000_000 + i64::from(self.version), 0));
        Lease {
            metadata: ObjectMeta {
                uid: Some(self.uid.to_string()),
                resource_version: Some(self.version.to_string()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.holder.map_or_else(String::new, identity_of)),
                renew_time: Some(at),
                lease_transitions: i32::try_from(self.term.0).ok(),
                lease_duration_seconds: i32::try_from(TTL_MIN.as_secs()).ok(),
                ..LeaseSpec::default()
            }),
        }
    }
}

// === impl Noted ===

impl Noted {
    fn new(book: Book) -> Self {
        let mut hasher = DefaultHasher::new();
        book.hash(&mut hasher);
        Self {
            book: Arc::new(book),
            fingerprint: hasher.finish(),
        }
    }

    pub(super) fn book(&self) -> &Book {
        &self.book
    }

    /// Lets the shipped rules change the book.
    pub(super) fn edit<T>(&mut self, edit: impl FnOnce(&mut Book) -> T) -> T {
        let mut book = Book::clone(&self.book);
        let edited = edit(&mut book);
        *self = Self::new(book);
        edited
    }
}

impl Hash for Noted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.fingerprint);
    }
}

// === impl Process ===

impl Process {
    /// A process that has just started.
    pub(super) fn new(holder: Holder, clock: u8) -> Self {
        Self {
            holder,
            clock,
            noted: Noted::new(Book::new(identity_of(holder), TTL_MIN)),
            attempt: None,
            reign: None,
            reigns: 0,
        }
    }

    pub(super) fn now(&self) -> Tick {
        tick(self.clock)
    }

    /// Whether it holds a Lease that it made, and may not reign yet.
    pub(super) fn is_on_probation(&self) -> bool {
        self.noted.book().expiry().probation(self.now()).is_some()
    }

    /// Whether time makes a difference to it: it reigns, or the Lease has to stand still for longer.
    pub(super) fn waits(&self) -> bool {
        self.reign.is_some()
            || self
                .noted
                .book()
                .expiry()
                .takeable_at()
                .is_some_and(|at| at > self.now())
    }

    /// The stamp that its writes carry.
    pub(super) fn seal(&self, term: Term) -> Seal {
        Seal {
            term,
            holder: self.holder,
        }
    }

    /// Leadership as this process has published it; the name is left out, no rule that is asked for here looks at it.
    pub(super) fn leadership(&self) -> Leadership {
        self.reign.map_or_else(Leadership::default, |reign| {
            Leadership::Leader(Reign {
                term: reign.term,
                holder: String::new(),
                until: reign.until,
                began: reign.began,
                number: reign.number,
                lost: CancellationToken::new(),
            })
        })
    }

    /// Lets the shipped rules change what is published, and keeps what comes of it.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&State) -> T) -> T {
        let clock = Arc::new(ManualClock::default());
        let state = State::new(Arc::<ManualClock>::clone(&clock));
        if let Some(Reigning {
            term,
            until,
            began,
            number,
            ..
        }) = self.reign
        {
            clock.advance(began.since(Tick::default()));
            state.begin(term, &identity_of(self.holder), number, until);
            clock.advance(self.now().since(began));
        } else {
            clock.advance(self.now().since(Tick::default()));
        }
        let changed = change(&state);
        self.reign = state.published().reign().map(|reign| Reigning {
            term: reign.term,
            until: reign.until,
            began: reign.began,
            number: reign.number,
            // What the leader knows is the reign's: with the next reign it begins anew.
            office: self
                .reign
                .filter(|before| before.number == reign.number)
                .map_or(Office::New, |before| before.office),
        });
        changed
    }
}

// === impl World ===

impl World {
    /// Nothing was ever written.
    pub(super) fn new(processes: u32) -> Self {
        let pod = PodObject {
            version: 1,
            seal: None,
            label: None,
        };
        Self {
            lease: None,
            leases: 0,
            pods: [pod; PODS],
            ledger: None,
            requests: Vec::new(),
            // The last digit counts the restarts.
            processes: (0..processes)
                .map(|at| Process::new(Holder((at + 1) << 4), 0))
                .collect(),
            phase: 0,
            spent: Spent::default(),
            history: History::default(),
        }
    }

    /// Puts a request on its way.
    pub(super) fn send(&mut self, request: Request) {
        let at = self.requests.partition_point(|other| *other <= request);
        self.requests.insert(at, request);
    }

    /// No answer reaches the process any more for what it has sent so far, of the kind that `of` picks.
    pub(super) fn stop_waiting(&mut self, process: usize, of: impl Fn(&Write) -> bool) {
        for request in &mut self.requests {
            if request.awaited_by == Some(process) && of(&request.write) {
                request.awaited_by = None;
            }
        }
        self.requests.sort_unstable();
    }

    /// A reign whose time has run out by the process's own clock is over: every permit is asked for by that clock.
    pub(super) fn expire(&mut self) {
        for at in 0..self.processes.len() {
            let process = &mut self.processes[at];
            if process
                .leadership()
                .reign()
                .is_some_and(|reign| !reign.stands_at(process.now()))
            {
                process.reign = None;
                self.forget_writes(at);
            }
        }
    }

    /// The reign's tasks are dropped, and with them what they waited for.
    pub(super) fn forget_writes(&mut self, process: usize) {
        self.stop_waiting(process, |write| matches!(write, Write::Object { .. }));
    }

    /// Whether a write of the process's reign is under way.
    pub(super) fn is_writing(&self, process: usize) -> bool {
        self.requests
            .iter()
            .any(|request| request.awaited_by == Some(process) && matches!(request.write, Write::Object { .. }))
    }
}
