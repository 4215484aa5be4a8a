//! What the loop makes of writes that have come to their end.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use shared::{ledger::PostgresLedger, term::Term};

use super::{
    Government,
    report::{self, Reported},
    stores::Scope,
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
    fn settle(&mut self, conflict: Option<String>, mut trouble: Option<String>, is_unsent: bool, now: Tick) -> bool {
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
        let (mut conflict, mut trouble) = (None, None);
        let mut outranked = None;
        for (action, effect) in done.effects {
            match effect {
                Effect::Pod { pod, label, written } => match written {
                    Written::Done(object) => {
                        tended.memory.set_unknown(&pod.uid, false);
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
                    Written::Conflict(reason) => conflict = Some(reason),
                    Written::Gone => conflict = Some(format!("pod {} is gone", pod.name)),
                    Written::Unknown(reason) => {
                        tended.memory.set_unknown(&pod.uid, true);
                        trouble = Some(reason);
                    }
                    Written::Refused(reason) => trouble = Some(reason),
                },
                Effect::Ledger { mark, written } => {
                    let (stale, bad) = ledger_written(tended, &scope, mark, written, now);
                    (conflict, trouble) = (stale.or(conflict), bad.or(trouble));
                }
                Effect::Slice { name, uid, written } => {
                    let (stale, bad) = slice_written(tended, &scope, &name, uid.as_deref(), written);
                    (conflict, trouble) = (stale.or(conflict), bad.or(trouble));
                }
                Effect::Route(written) => match written {
                    Written::Done(object) => scope.routes.show(*object),
                    Written::Conflict(reason) => conflict = Some(reason),
                    Written::Gone => conflict = Some("the route is gone".to_owned()),
                    Written::Unknown(reason) | Written::Refused(reason) => trouble = Some(reason),
                },
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
        if tended.settle(conflict, trouble, done.is_unsent, now) {
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

/// Takes in what became of a write to the ledger: a conflict, or trouble.
fn ledger_written(
    tended: &mut Tended,
    scope: &Scope,
    mark: bool,
    written: Written<PostgresLedger>,
    now: Tick,
) -> (Option<String>, Option<String>) {
    match written {
        Written::Done(object) => {
            tended.memory.ledger_unknown = false;
            if mark {
                tended.memory.mark_written = now;
            }
            scope.ledgers.show(*object);
            (None, None)
        }
        Written::Conflict(reason) => (Some(reason), None),
        Written::Gone => (Some("the route's PostgresLedger is gone".to_owned()), None),
        Written::Unknown(reason) => {
            tended.memory.ledger_unknown = true;
            (None, Some(reason))
        }
        Written::Refused(reason) => (None, Some(reason)),
    }
}

/// Takes in what became of a write to a slice: a conflict, or trouble.
fn slice_written(
    tended: &mut Tended,
    scope: &Scope,
    name: &str,
    uid: Option<&str>,
    written: Written<EndpointSlice>,
) -> (Option<String>, Option<String>) {
    // One that is yet to be made can only come to be without endpoints: it is never unknown.
    let unknown = matches!(written, Written::Unknown(_));
    if let (Some(uid), Written::Done(_) | Written::Unknown(_)) = (uid, &written) {
        tended.memory.set_slice_unknown(uid, unknown);
    }
    match written {
        Written::Done(object) => {
            scope.slices.show(*object);
            (None, None)
        }
        Written::Conflict(reason) => (Some(reason), None),
        Written::Gone => (Some(format!("EndpointSlice {name} is gone")), None),
        Written::Unknown(reason) | Written::Refused(reason) => (None, Some(reason)),
    }
}
