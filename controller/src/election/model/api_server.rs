//! The API server: it carries requests out one by one, each under its precondition.

use super::{
    Planted,
    world::{
        Change, HeldLease, LEDGER, LeaseChange, LedgerObject, Office, PodObject, Request, Seal, Stage, World, Write,
    },
};
use shared::{role::Role, term::Term};

/// What becomes of a request that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is carried out or refused, and the answer arrives.
    Answered,
    /// The same, and it will arrive once more.
    Repeated,
}

impl World {
    /// A request arrives.
    pub(super) fn deliver(&mut self, at: usize, fate: Fate, planted: Option<Planted>) {
        let request = self.requests.remove(at);
        match fate {
            Fate::Answered => {}
            Fate::Repeated => {
                self.spent.repeats += 1;
                self.send(Request {
                    awaited_by: None,
                    ..request
                });
            }
        }
        match request.write {
            Write::Lease { expected, change, term } => {
                let done = self.write_lease(request.seal, expected, change, term, planted);
                let attempt = request
                    .awaited_by
                    .and_then(|process| self.processes[process].attempt.as_mut());
                if let Some(attempt) = attempt {
                    attempt.stage = Stage::Answered(self.lease.filter(|_| done));
                }
            }
            Write::Object {
                object,
                expected,
                change,
            } => {
                let done = self.write_object(request.seal, object, expected, change, planted);
                if let Some(process) = request.awaited_by {
                    self.learn(process, object, Some(done));
                }
            }
        }
    }

    /// What a leader makes of an answer: carried out, refused for the precondition, or none at all.
    pub(super) fn learn(&mut self, process: usize, object: usize, done: Option<bool>) {
        let Some(reign) = self.processes[process].reign.as_mut() else {
            return;
        };
        if let Office::Governs { unknown } = &mut reign.office {
            match done {
                Some(true) => unknown[object] = false,
                None => unknown[object] = true,
                // It looks again, as it does before every turn.
                Some(false) => {}
            }
        }
    }

    fn write_lease(
        &mut self,
        seal: Seal,
        expected: Option<(u8, u8)>,
        change: LeaseChange,
        term: Option<Term>,
        planted: Option<Planted>,
    ) -> bool {
        let held = self.lease.map(|lease| (lease.uid, lease.version));
        let bare = planted == Some(Planted::NoCompareAndSwap) && expected.is_some() && held.is_some();
        if held != expected && !bare {
            return false;
        }
        let lease = self.lease.unwrap_or_else(|| {
            self.leases += 1;
            HeldLease {
                uid: self.leases,
                version: 0,
                holder: None,
                term: Term(0),
            }
        });
        let holder = match change {
            LeaseChange::Hold => Some(seal.holder),
            LeaseChange::Renew => lease.holder,
            LeaseChange::Release => None,
        };
        self.spent.lease_writes += 1;
        self.lease = Some(HeldLease {
            version: lease.version + 1,
            holder,
            term: term.unwrap_or(lease.term),
            ..lease
        });
        true
    }

    fn version(&self, object: usize) -> Option<u8> {
        if object == LEDGER {
            self.ledger.map(|ledger| ledger.version)
        } else {
            Some(self.pods[object].version)
        }
    }

    fn seal(&self, object: usize) -> Option<Seal> {
        if object == LEDGER {
            self.ledger.map(|ledger| ledger.seal)
        } else {
            self.pods[object].seal
        }
    }

    /// Whether the API server would carry the write out.
    pub(super) fn fits(&self, object: usize, expected: Option<u8>, planted: Option<Planted>) -> bool {
        let there = self.version(object);
        let unconditional = planted == Some(Planted::NoPrecondition) && expected.is_some() && there.is_some();
        there == expected || unconditional
    }

    fn write_object(
        &mut self,
        seal: Seal,
        object: usize,
        expected: Option<u8>,
        change: Change,
        planted: Option<Planted>,
    ) -> bool {
        let late = self.history.granted.is_some_and(|granted| is_over(seal, granted));
        if !self.fits(object, expected, planted) {
            self.history.late_write_refused |= late;
            return false;
        }
        self.history.late_write_carried_out |= late;
        self.history.term_fell |= self.seal(object).is_some_and(|before| seal.term < before.term);
        let numbered = planted != Some(Planted::StampsWithoutNumber);
        if object == LEDGER {
            let before = self.ledger;
            let mark = match change {
                Change::Mark(mark) => Some(mark),
                Change::Stamp | Change::Label(_) => before.and_then(|ledger| ledger.mark),
            };
            let after = LedgerObject {
                version: before.map_or(0, |ledger| ledger.version),
                seal,
                floor: seal.term,
                mark,
            };
            let version = after.version + u8::from(numbered || before != Some(after));
            self.ledger = Some(LedgerObject { version, ..after });
        } else {
            let before = self.pods[object];
            let label = match change {
                Change::Label(label) => label,
                Change::Stamp | Change::Mark(_) => before.label,
            };
            let after = PodObject {
                version: before.version,
                seal: Some(seal),
                label,
            };
            // A patch that changes nothing leaves the resourceVersion as it is.
            let version = before.version + u8::from(numbered || before != after);
            self.pods[object] = PodObject { version, ..after };
            if label == Some(Role::Primary) && matches!(change, Change::Label(_)) {
                self.history.taken_over |= self.history.granted.is_some_and(|granted| granted != seal);
                self.history.granted = Some(seal);
            }
        }
        true
    }
}

/// Whether the reign of `seal` was over when the reign of `granted` granted: it has a lower term, or the same by another holder.
pub(super) fn is_over(seal: Seal, granted: Seal) -> bool {
    seal.term < granted.term || (seal.term == granted.term && seal.holder != granted.holder)
}
