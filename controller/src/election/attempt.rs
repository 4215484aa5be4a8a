//! One attempt to take, keep or give back the Lease, and what came of it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube_leader_election::{LeaseLock, LeaseLockResult};
use shared::term::Term;
use tokio::time::timeout;

use super::cas::{CasError, Intent, LeaseCas};

/// What came of an attempt.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The Lease names us, under this term.
    Ours(Term),
    /// The Lease names somebody else, or nobody.
    Theirs(Option<String>),
    /// Somebody else changed the Lease between our read and our write. Look again soon.
    Conflict,
    /// No answer, or one of no use. Nothing is known; whatever was proven before still counts.
    Failed(Failure),
}

/// Why an attempt came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The API server is away, or too slow.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// The API server refused, or the answer could not be read.
    #[error("the election library failed")]
    Library(#[source] kube_leader_election::Error),
    /// A term that is below zero is not one.
    #[error("the Lease carries leaseTransitions {0:?}, which is not a term")]
    NotATerm(Option<i32>),
}

/// The election library with our layer beneath it.
pub(super) struct Contender {
    pub(super) lock: LeaseLock,
    pub(super) cas: LeaseCas,
    pub(super) identity: String,
    pub(super) deadline: Duration,
}

// === impl Contender ===

impl Contender {
    /// Takes, keeps or raises the Lease, as `intent` says.
    pub(super) async fn attempt(&self, intent: Intent) -> Outcome {
        self.cas.intend(intent);
        match timeout(self.deadline, self.lock.try_acquire_or_renew()).await {
            Err(_elapsed) => Outcome::Failed(Failure::NoAnswer(self.deadline)),
            Ok(Ok(LeaseLockResult::Acquired(lease))) => self.judge(lease),
            Ok(Ok(LeaseLockResult::NotAcquired(lease))) => Outcome::Theirs(holder(lease)),
            Ok(Err(error)) => classify(error),
        }
    }

    /// Gives the Lease back, if it is ours.
    pub(super) async fn release(&self) -> Outcome {
        self.cas.intend(Intent::Release);
        match timeout(self.deadline, self.lock.step_down()).await {
            Err(_elapsed) => Outcome::Failed(Failure::NoAnswer(self.deadline)),
            Ok(Ok(())) => Outcome::Theirs(None),
            Ok(Err(error)) => classify(error),
        }
    }

    /// "Acquired" is what the library concludes from a patch that was accepted. What counts is whom the answer names.
    fn judge(&self, lease: Lease) -> Outcome {
        let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
        let holder = holder(lease);
        if holder.as_deref() != Some(&self.identity) {
            return Outcome::Theirs(holder);
        }
        match transitions.and_then(|transitions| u32::try_from(transitions).ok()) {
            Some(term) => Outcome::Ours(Term(term)),
            None => Outcome::Failed(Failure::NotATerm(transitions)),
        }
    }
}

fn holder(lease: Lease) -> Option<String> {
    lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
}

/// Tells a Lease that is not ours, and a lost race, from a failure.
fn classify(error: kube_leader_election::Error) -> Outcome {
    use kube_leader_election::Error::{
        AcquireLease, ApiError, CreateLease, GetLease, JiffError, Kube, ReleaseLease, ReleaseLockWhenNotLeading,
        RenewLease, SerdeError, TraverseLease,
    };
    match error {
        ReleaseLockWhenNotLeading { leader } => Outcome::Theirs(Some(leader).filter(|leader| !leader.is_empty())),
        CreateLease(kube::Error::Service(error)) if matches!(error.downcast_ref(), Some(CasError::Gone)) => {
            Outcome::Theirs(None)
        }
        // A Lease that was deleted after it was read (404) has changed hands as well, in its way.
        AcquireLease(kube::Error::Api(status))
        | RenewLease(kube::Error::Api(status))
        | ReleaseLease(kube::Error::Api(status))
            if status.is_conflict() || status.is_invalid() || status.is_not_found() =>
        {
            Outcome::Conflict
        }
        CreateLease(kube::Error::Api(status)) if status.is_already_exists() => Outcome::Conflict,
        GetLease(_)
        | CreateLease(_)
        | AcquireLease(_)
        | RenewLease(_)
        | ReleaseLease(_)
        | TraverseLease { .. }
        | ApiError { .. }
        | SerdeError(_)
        | Kube(_)
        | JiffError(_) => Outcome::Failed(Failure::Library(error)),
    }
}
