//! The election: attempts of a process, step by step, through the shipped book, expiry and state.

use http::Method;
use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use shared::term::Term;

use super::{
    super::{
        cas::{Book, Intent},
        settings::TTL_MIN,
    },
    Planted,
    world::{Attempt, HeldLease, LeaseChange, Request, Stage, World, Write, identity_of, settings, tick},
};
use crate::clock::Tick;

/// Between these two lie all times that a test's Lease may carry; what `Expiry::shown` makes of them lies outside.
const LONG_AGO: Timestamp = Timestamp::constant(1_000_000_000, 0);

/// What the election library makes of the Lease that it is shown: the patch that it sends, if any. A copy of its decision, which a
/// test compares with the library itself.
pub(super) fn library(shown: &Lease, me: &str) -> Option<LeaseChange> {
    let spec = shown.spec.as_ref()?;
    if spec.holder_identity.as_deref() == Some(me) {
        Some(LeaseChange::Renew)
    } else {
        let renewed = spec.renew_time.as_ref()?.0;
        (renewed < LONG_AGO).then_some(LeaseChange::Hold)
    }
}

impl World {
    /// A process begins an attempt: the API server reads the Lease now, the answer comes later.
    pub(super) fn ask(&mut self, at: usize, planted: Option<Planted>) {
        let on_probation = self.probation(at, planted).is_some();
        let process = &self.processes[at];
        let reign = process.leadership().reign().cloned();
        let intent = if reign.is_some() || on_probation {
            Intent::Renew
        } else {
            Intent::Contend
        };
        self.begin_attempt(at, intent);
    }

    pub(super) fn begin_attempt(&mut self, at: usize, intent: Intent) {
        let read = self.lease;
        let process = &mut self.processes[at];
        process.noted.edit(|book| book.intend(intent));
        process.attempt = Some(Attempt {
            asked: process.clock,
            intent,
            reign: process.reign.map(|reign| (reign.number, reign.term)),
            stage: Stage::Read(read),
        });
    }

    fn probation(&self, at: usize, planted: Option<Planted>) -> Option<Tick> {
        let process = &self.processes[at];
        let until = process.noted.book().expiry().probation(process.now());
        until.filter(|_| planted != Some(Planted::NoProbation))
    }

    /// The answer to the GET has arrived: the library writes, or learns that the Lease is another's.
    pub(super) fn take(&mut self, at: usize) {
        let process = &mut self.processes[at];
        let (now, me) = (process.now(), identity_of(process.holder));
        let Some(Attempt {
            intent,
            stage: Stage::Read(read),
            ..
        }) = process.attempt
        else {
            return;
        };
        let write = process.noted.edit(|book| match read {
            None => {
                book.see(None, now);
                // The library makes the Lease, unless it only wants to release it.
                let term = (intent != Intent::Release).then(|| book.term(&Method::POST).ok());
                term.flatten().map(|term| (None, LeaseChange::Hold, term))
            }
            Some(lease) => {
                let shown = book.read(lease.object(), now);
                let change = match (intent, library(&shown, &me)?) {
                    (Intent::Release, LeaseChange::Renew) => LeaseChange::Release,
                    // Nothing of ours to release.
                    (Intent::Release, LeaseChange::Hold | LeaseChange::Release) => return None,
                    (Intent::Contend | Intent::Renew | Intent::Raise(_), change) => change,
                };
                Some((Some(expected(book)?), change, book.term(&Method::PATCH).ok()?))
            }
        });
        let Some((expected, change, term)) = write else {
            process.attempt = None;
            let holder = read.and_then(|lease| lease.holder).map(identity_of);
            if intent != Intent::Release {
                process.change(|state| state.follow(holder));
                self.after_election(at);
            }
            return;
        };
        if let Some(attempt) = &mut process.attempt {
            attempt.stage = Stage::Sent;
        }
        let seal = process.seal(term.unwrap_or(Term(0)));
        self.send(Request {
            awaited_by: Some(at),
            seal,
            write: Write::Lease { expected, change, term },
        });
    }

    /// The answer to the write has arrived.
    pub(super) fn conclude(&mut self, at: usize, planted: Option<Planted>) {
        let process = &mut self.processes[at];
        let Some(Attempt {
            asked,
            intent,
            reign,
            stage: Stage::Answered(answer),
        }) = process.attempt.take()
        else {
            return;
        };
        // A conflict: it looks again.
        let Some(lease) = answer else { return };
        let (now, span) = (process.now(), settings(process.holder).reign_span());
        process.noted.edit(|book| book.see(Some(&lease.object()), now));
        let counted_from = if planted == Some(Planted::UntilFromTheAnswer) {
            now
        } else {
            tick(asked)
        };
        let until = counted_from + span;
        self.judge(at, intent, reign, lease, until, planted);
        self.after_election(at);
    }

    /// As the elector judges an answer; see `attempt` and `elector`.
    fn judge(
        &mut self,
        at: usize,
        intent: Intent,
        reign: Option<(u64, Term)>,
        lease: HeldLease,
        until: Tick,
        planted: Option<Planted>,
    ) {
        let on_probation = self.probation(at, planted).is_some();
        let process = &mut self.processes[at];
        let (me, number) = (identity_of(process.holder), process.reigns + 1);
        let holder = lease.holder.map(identity_of);
        if intent == Intent::Release {
            return;
        }
        if holder.as_deref() != Some(me.as_str()) {
            process.change(|state| state.follow(holder));
            return;
        }
        match (intent, reign) {
            (Intent::Raise(_), Some((number, _))) => {
                process.change(|state| state.raise(number, lease.term, until));
            }
            (_, Some((number, term))) => {
                // The reign as it was when the attempt began, of which only term and number are looked at.
                if let Some(mut then) = process.leadership().reign().cloned() {
                    (then.number, then.term) = (number, term);
                    process.change(|state| state.prolong(&then, lease.term, until));
                }
            }
            (_, None) if on_probation => {
                process.change(|state| state.follow(Some(me)));
            }
            (Intent::Contend, None) => {
                if process.change(|state| state.begin(lease.term, &me, number, until)) {
                    process.reigns = number;
                }
            }
            // The probation has ended during this attempt, which did not raise the term.
            (_, None) => {}
        }
    }

    /// A reign that ended takes its writes' answers with it.
    pub(super) fn after_election(&mut self, at: usize) {
        if self.processes[at].reign.is_none() {
            self.forget_writes(at);
        }
    }

    /// The attempt has taken too long. What it has sent may arrive all the same.
    pub(super) fn give_up_attempt(&mut self, at: usize) {
        self.processes[at].attempt = None;
        self.stop_waiting(at, |write| matches!(write, Write::Lease { .. }));
    }

    /// The process stops leading and gives the Lease back, unless it only holds it on probation.
    pub(super) fn release(&mut self, at: usize, planted: Option<Planted>) {
        self.stop_leading(at);
        if self.probation(at, planted).is_none() {
            self.begin_attempt(at, Intent::Release);
        }
    }

    pub(super) fn stop_leading(&mut self, at: usize) {
        self.processes[at].change(|state| state.end_reign(std::time::Duration::ZERO));
        self.forget_writes(at);
    }

    /// A whole attempt in one step; its answer may get lost.
    pub(super) fn attempt(&mut self, at: usize, intent: Option<Intent>, answered: bool, planted: Option<Planted>) {
        match intent {
            Some(intent) => self.begin_attempt(at, intent),
            None => self.ask(at, planted),
        }
        self.take(at);
        let sent = self
            .requests
            .iter()
            .position(|request| request.awaited_by == Some(at) && matches!(request.write, Write::Lease { .. }));
        if let Some(sent) = sent {
            self.deliver(sent, super::api_server::Fate::Answered, planted);
            if answered {
                self.conclude(at, planted);
            } else {
                self.spent.losses += 1;
                self.give_up_attempt(at);
            }
        }
    }
}

/// uid and version, as the book says them.
fn expected(book: &mut Book) -> Option<(u8, u8)> {
    let (uid, version) = book.precondition().ok()?;
    Some((uid.parse().ok()?, version.parse().ok()?))
}

/// A ttl in steps of the clock, rounded up.
pub(super) fn ttl_steps() -> u8 {
    u8::try_from(TTL_MIN.as_millis().div_ceil(super::world::STEP.as_millis())).expect("a few steps")
}
