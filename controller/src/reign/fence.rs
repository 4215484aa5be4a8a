//! The first act of a reign: to outrank everything that was ever written. See docs/architecture.md, the fence.

use std::sync::Arc;

use kube::ResourceExt;
use shared::{names, term::Term};
use tracing::{error, info, warn};

use super::stores::Scope;
use crate::{
    chain::Chain,
    election::{Handle, RaiseError},
    stamp::StampState,
};

/// Attempts to raise the term within one reign; a reign that cannot is better ended.
const RAISES_MAX: u32 = 5;

/// What a reign has to do before it may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    /// Nothing: its term is above everything that was ever written.
    Above,
    /// To raise its term to this one first.
    Raise(Term),
    /// There is no higher term: a person has to help.
    Exhausted,
}

/// How a reign of term `own` ranks, where `floor` is the highest term on any object.
pub(crate) fn rank(own: Term, floor: Term) -> Rank {
    if own > floor {
        Rank::Above
    } else {
        floor.next().map_or(Rank::Exhausted, Rank::Raise)
    }
}

/// The highest term on any object.
fn floor(scopes: &[Arc<Scope>]) -> Option<Term> {
    let mut terms = Vec::new();
    for scope in scopes {
        let stamp = |annotations: &std::collections::BTreeMap<String, String>| {
            StampState::of(annotations.get(names::STAMP).map(String::as_str)).term()
        };
        terms.extend(scope.pods.all().iter().filter_map(|pod| stamp(pod.annotations())));
        let slices = scope.slices.all();
        let ours = slices.iter().filter(|slice| super::slices::is_managed(slice));
        terms.extend(ours.filter_map(|slice| stamp(slice.annotations())));
        for ledger in scope.ledgers.all() {
            terms.extend(stamp(ledger.annotations()));
            terms.push(ledger.spec.term_floor);
        }
    }
    terms.into_iter().max()
}

/// Makes sure that this reign's term is above every term that was ever written. Without that it must not write.
pub(crate) async fn outrank(election: &Handle, scopes: &[Arc<Scope>]) -> bool {
    let Some(floor) = floor(scopes) else { return true };
    for _attempt in 0..RAISES_MAX {
        let own = election.leadership.borrow().reign().map(|reign| reign.term);
        let Some(own) = own else { return false };
        let wanted = match rank(own, floor) {
            Rank::Above => return true,
            Rank::Raise(wanted) => wanted,
            Rank::Exhausted => {
                error!(%floor, "an object carries the highest possible term: remove its stamp annotation by hand");
                return false;
            }
        };
        match election.raise_term(wanted).await {
            Ok(term) => info!(%term, %floor, "the term was raised above everything that was written"),
            Err(error @ RaiseError::Unanswered(_)) => warn!(error = %Chain(&error), "trying again"),
            Err(error) => {
                warn!(error = %Chain(&error), "this replica does not lead");
                return false;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests;
