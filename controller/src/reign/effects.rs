//! What the loop makes of writes that have come to their end.

use std::{sync::Arc, time::Duration};

use shared::term::Term;

use super::{
    Government,
    report::{self, Reported},
    tending::Tended,
    turn::Done,
};
use crate::{
    apply::Effect,
    clock::Tick,
    decide::Action,
    writer::{LabelWrite, Written},
};

/// After this many conflicts in a row a route waits for its next regular turn.
const CONFLICTS_AT_ONCE: u32 = 5;

/// The first pause after a write that was refused or not answered; it doubles up to [`BACKOFF_MAX`].
pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(200);

/// See [`BACKOFF_MIN`].
const BACKOFF_MAX: Duration = Duration::from_secs(5);

impl Tended {
    /// A write was refused, or had no answer: the next one has to wait.
    fn back_off(&mut self, now: Tick) {
        self.not_before = now + self.backoff;
        self.wake(self.not_before);
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }

    /// What a turn's writes mean for the next turn: the last conflict and the last trouble among them. Whether to look again soon.
    fn settle(&mut self, setbacks: Setbacks, is_unsent: bool, now: Tick) -> bool {
        let Setbacks { conflict, mut trouble } = setbacks;
        self.conflicts = if conflict.is_some() { self.conflicts + 1 } else { 0 };
        if self.conflicts > CONFLICTS_AT_ONCE {
            // What was read again a moment ago cannot be in conflict again and again: somebody says no.
            trouble = trouble.or(conflict);
        }
        self.refused.clone_from(&trouble);
        // Without a permit there is nothing to do but to wait: the reign is over, or its renewal is under way.
        if trouble.is_some() || is_unsent {
            self.back_off(now);
        } else {
            self.backoff = BACKOFF_MIN;
        }
        self.conflicts <= CONFLICTS_AT_ONCE
    }
}

impl Government {
    /// A turn's writes have come to their end. Returns the term of somebody with a higher claim, if one was met.
    pub(super) fn turned(&mut self, done: Done) -> Option<Term> {
        let now = self.context.clock.now();
        self.context.metrics.turned(now.since(done.began));
        let scope = self.stores.scope(&done.route.namespace).map(Arc::clone)?;
        let tended = self.routes.get_mut(&done.route)?;
        tended.writing = false;
        let mut setbacks = Setbacks::default();
        let mut outranked = None;
        for (action, effect) in done.effects {
            match effect {
                Effect::Pod { pod, label, written } => {
                    if let Some(unknown) = written.leaves_unknown() {
                        tended.memory.set_unknown(&pod.uid, unknown);
                    }
                    if let Some(object) = setbacks.sort(written, || format!("pod {}", pod.name)) {
                        match label {
                            LabelWrite::Keep => {}
                            LabelWrite::Remove => tended.memory.wrote(&pod.uid, None),
                            LabelWrite::Set(role) => tended.memory.wrote(&pod.uid, Some(role)),
                        }
                        scope.pods.show(*object);
                        tended.course.wrote(&action, now);
                        if let (Action::Grant { .. }, Some(cause)) = (&action, tended.course.cause()) {
                            let metrics = &self.context.metrics;
                            metrics.switched(&done.route.namespace, &done.route.name, cause);
                        }
                        report::role_moved(&self.context, &mut self.reports, &scope, &done.route, &action);
                    }
                }
                Effect::Ledger { mark, written } => {
                    if let Some(unknown) = written.leaves_unknown() {
                        tended.memory.ledger_unknown = unknown;
                    }
                    if let Some(object) = setbacks.sort(written, || "the route's PostgresLedger".to_owned()) {
                        if mark {
                            tended.memory.mark_written = now;
                        }
                        scope.ledgers.show(*object);
                    }
                }
                Effect::Slice { name, uid, written } => {
                    // One that is yet to be made can only come to be without endpoints: it is never unknown.
                    if let (Some(uid), Some(unknown)) = (uid, written.leaves_unknown()) {
                        tended.memory.set_slice_unknown(&uid, unknown);
                    }
                    if let Some(object) = setbacks.sort(written, || format!("EndpointSlice {name}")) {
                        scope.slices.show(*object);
                    }
                }
                Effect::Route(written) => {
                    if let Some(object) = setbacks.sort(written, || "the route".to_owned()) {
                        scope.routes.show(*object);
                    }
                }
                Effect::Outranked(met) => outranked = Some(met),
            }
        }
        for pod in done.pods.into_values().flatten() {
            scope.pods.show(pod);
        }
        done.slices.into_iter().for_each(|slice| scope.slices.show(slice));
        if let Some(ledger) = done.ledger {
            scope.ledgers.show(ledger);
        }
        if tended.settle(setbacks, done.is_unsent, now) {
            self.due.add(done.route);
        }
        outranked
    }

    /// A report has come to its end.
    pub(super) fn reported(&mut self, reported: Reported) {
        let Reported { route, written, status } = reported;
        if let (Some(object), Some(scope)) = (written, self.stores.scope(&route.namespace)) {
            scope.routes.show(*object);
        }
        if let Some(tended) = self.routes.get_mut(&route).filter(|_| status) {
            tended.reporting = false;
        }
    }
}

/// The last conflict among a turn's writes, and the last trouble.
#[derive(Default)]
struct Setbacks {
    /// An object is not what was expected: look again.
    conflict: Option<String>,
    /// A write was refused, or not answered.
    trouble: Option<String>,
}

impl Setbacks {
    /// The object as a write has left it. If there is none, why is kept; `what` names the object.
    fn sort<T>(&mut self, written: Written<T>, what: impl FnOnce() -> String) -> Option<Box<T>> {
        match written {
            Written::Done(object) => return Some(object),
            Written::Conflict(reason) => self.conflict = Some(reason),
            Written::Gone => self.conflict = Some(format!("{} is gone", what())),
            Written::Unknown(reason) | Written::Refused(reason) => self.trouble = Some(reason),
        }
        None
    }
}
