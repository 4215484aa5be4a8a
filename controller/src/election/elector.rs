//! Contends for the Lease, keeps it, and gives it back: the effects of an election, one attempt at a time.
//!
//! An attempt that begins while a reign stands can only prolong that reign; an attempt that begins without one can only begin
//! the next. So an answer that comes after the time has run out never brings a reign back to life.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, Config,
    client::{Body, ClientBuilder},
};
use kube_leader_election::{LeaseLock, LeaseLockParams};
use shared::term::Term;
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service};
use tracing::{debug, info, warn};

use super::{
    attempt::{Contender, Failure, Outcome},
    cas::{Intent, LeaseCas},
    handle::{COMMANDS_MAX, Command, Handle, RaiseError},
    leadership::{Extension, Reign, permit},
    lease_watch,
    settings::Settings,
    state::State,
};
use crate::{
    chain::Chain,
    clock::{Clock, Tick},
};

/// No two attempts follow each other more closely. After a lost race it is long enough: who won has written already.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(10);

/// Tries to give the Lease back, or to raise its term, before a race lost each time counts as a refusal. Only somebody who edits the
/// Lease by hand, or takes it, can win one.
const TRIES_MAX: usize = 3;

/// Of the attempts that fail in a row, the first and then one in so many is a warning: at the default ttl one in ten seconds.
const FAILURES_PER_WARNING: u32 = 40;

/// A watch is read for this much longer than the API server is asked to keep it.
const WATCH_GRACE: Duration = Duration::from_secs(10);

/// Contends for one Lease. Make it with [`Elector::new`], then [`Elector::run`] it for as long as the process lives.
pub struct Elector {
    settings: Settings,
    clock: Arc<dyn Clock>,
    contender: Contender,
    leases: Api<Lease>,
    state: Arc<State>,
    commands: mpsc::Receiver<Command>,
    /// Reigns so far.
    reigns: u64,
    /// Attempts that came to nothing, in a row.
    failures: u32,
    /// The next attempt, if nothing happens.
    due: Tick,
    /// No attempt before this, whatever happens: the pause after one that came to nothing.
    earliest: Tick,
}

/// Why an elector could not be made. The operator mends the configuration of the client and starts again.
#[derive(Debug, thiserror::Error)]
#[error("no client for the Lease could be made from the configuration for {server}")]
pub struct ClientError {
    /// The API server's address.
    pub server: String,
    source: Box<kube::Error>,
}

/// Ends the reign when the elector goes, however it goes.
struct EndOnDrop(Arc<State>);

// === impl Elector ===

impl Elector {
    /// An elector that speaks to the API server of `config`, by two clients of its own. Neither of them repeats a request by
    /// itself: a repeated request could arrive after the reign that it was sent in.
    pub fn new(config: Config, settings: Settings, clock: Arc<dyn Clock>) -> Result<(Self, Handle), ClientError> {
        let server = config.cluster_url.to_string();
        let failed = |source| ClientError {
            server: server.clone(),
            source: Box::new(source),
        };
        let deadline = settings.attempt_deadline();
        let silence = Duration::from_secs(lease_watch::WATCH_SECONDS.into()) + WATCH_GRACE;
        // A connection rests between two attempts, for as long as one may take: one that is given up at that very moment fails the
        // next attempt. A dead one is given up after the first attempt that it failed.
        let lease = bounded(config.clone(), deadline, deadline * 2);
        let watch = bounded(config, deadline, silence);
        let lease = ClientBuilder::try_from(lease).map_err(failed)?;
        let watch = ClientBuilder::try_from(watch).map_err(failed)?.build();
        Ok(Self::over(|cas| lease.with_layer(cas).build(), watch, settings, clock))
    }

    /// As [`Elector::new`], over a transport that stands in for the API server.
    pub fn with_transport<S, B>(
        transport: S,
        watch: Client,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> (Self, Handle)
    where
        S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let lease = ClientBuilder::new(transport, settings.namespace());
        Self::over(|cas| lease.with_layer(cas).build(), watch, settings, clock)
    }

    fn over(
        lease: impl FnOnce(&LeaseCas) -> Client,
        watch: Client,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> (Self, Handle) {
        let cas = LeaseCas::new(settings.identity().to_owned(), settings.ttl(), Arc::clone(&clock));
        let params = LeaseLockParams {
            lease_name: settings.lease_name().to_owned(),
            holder_id: settings.identity().to_owned(),
            lease_ttl: settings.ttl(),
        };
        let lock = LeaseLock::new(lease(&cas), settings.namespace(), params);
        let contender = Contender {
            lock,
            cas,
            identity: settings.identity().to_owned(),
            deadline: settings.attempt_deadline(),
        };
        let state = Arc::new(State::new(Arc::clone(&clock)));
        let (asker, commands) = mpsc::channel(COMMANDS_MAX);
        let handle = Handle {
            leadership: state.subscribe(),
            state: Arc::clone(&state),
            commands: asker,
        };
        let leases = Api::namespaced(watch, settings.namespace());
        let due = clock.now();
        let elector = Self {
            settings,
            clock,
            contender,
            leases,
            state,
            commands,
            reigns: 0,
            failures: 0,
            due,
            earliest: due,
        };
        (elector, handle)
    }

    /// Contends until `stop` fires; then ends the reign and gives the Lease back, so that the next one need not wait. Let the last
    /// write end before `stop`: its permit dies with the reign. An API server that is away is waited for, without end.
    pub async fn run(mut self, stop: CancellationToken) {
        let state = Arc::clone(&self.state);
        let _end = EndOnDrop(Arc::clone(&state));
        let (leases, name) = (self.leases.clone(), self.settings.lease_name().to_owned());
        let (cas, pause) = (self.contender.cas.clone(), self.settings.renew_every());
        tokio::select! {
            // The end of a reign before whatever else is due.
            biased;
            never = state.keep_time() => match never {},
            never = lease_watch::follow(leases, &name, pause, &cas) => match never {},
            () = self.contend(&stop) => (),
        }
        state.end_reign(Duration::ZERO);
        if cas.holder().as_deref() == Some(self.settings.identity()) {
            self.release().await;
        }
    }

    async fn contend(&mut self, stop: &CancellationToken) {
        loop {
            let left = self.next_attempt().since(self.clock.now());
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(command) = self.commands.recv() => self.obey(command).await,
                () = self.contender.cas.changed() => self.heed(),
                () = pause(left) => {
                    // The timer only wakes; whether it is time is the clock's word.
                    if self.next_attempt() <= self.clock.now() {
                        self.attempt().await;
                    }
                }
            }
        }
    }

    /// A leader renews when it is due. A candidate looks when it is due, or as soon as the Lease may be taken.
    fn next_attempt(&self) -> Tick {
        if self.state.reign().is_some() {
            return self.due.max(self.earliest);
        }
        let takeable = self.contender.cas.takeable_at().unwrap_or(self.due);
        self.due.min(takeable).max(self.earliest).max(self.state.not_before())
    }

    /// The watch has shown something: a candidate may have another holder to name.
    fn heed(&self) {
        if self.state.reign().is_none() {
            self.state.follow(self.contender.cas.holder());
        }
    }

    async fn attempt(&mut self) {
        // Read before the first request is sent: whoever sees the renewal sees it later.
        let asked = self.clock.now();
        let until = asked + self.settings.reign_span();
        let reign = self.state.reign();
        let keep = reign.is_some() || self.contender.cas.probation().is_some();
        let intent = if keep { Intent::Renew } else { Intent::Contend };
        let outcome = self.contender.attempt(intent).await;
        debug!(?intent, ?outcome, "election attempt");
        let now = self.clock.now();
        self.due = (asked + self.settings.renew_every()).max(now);
        self.earliest = now + ATTEMPT_PAUSE;
        if !matches!(outcome, Outcome::Failed(_)) {
            self.failures = 0;
        }
        match (outcome, reign) {
            (Outcome::Ours(term), Some(reign)) => self.prolong(&reign, term, until),
            (Outcome::Ours(term), None) => self.begin(intent, term, until),
            (Outcome::Theirs(holder), _) => self.state.follow(holder),
            (Outcome::Conflict, _) => self.due = now,
            (Outcome::Failed(error), reign) => self.failed(&error, reign.is_some(), now),
        }
    }

    /// Nothing is known. While the API server is away this comes four times a second or so: one line in forty will do.
    fn failed(&mut self, error: &Failure, leading: bool, now: Tick) {
        self.earliest = now + self.settings.retry_after();
        self.due = self.earliest;
        let (error, lease, failures) = (Chain(error), self.settings.lease_name(), self.failures);
        if failures.is_multiple_of(FAILURES_PER_WARNING) {
            warn!(%error, leading, lease, failures, "election attempt failed");
        } else {
            debug!(%error, leading, lease, failures, "election attempt failed");
        }
        self.failures = failures.saturating_add(1);
    }

    /// The Lease is still ours. Where that prolongs no reign, the next attempt begins another.
    fn prolong(&mut self, reign: &Reign, term: Term, until: Tick) {
        if !self.state.prolong(reign, term, until) {
            self.due = self.clock.now();
        }
    }

    /// The Lease is ours. Whether a reign begins, or what is still to be waited for.
    fn begin(&mut self, intent: Intent, term: Term, until: Tick) {
        let number = self.reigns + 1;
        match (self.contender.cas.probation(), intent) {
            (Some(end), _) => {
                self.state.follow(Some(self.settings.identity().to_owned()));
                self.due = self.due.min(end);
            }
            (None, Intent::Contend) => {
                if self.state.begin(term, self.settings.identity(), number, until) {
                    self.reigns = number;
                }
            }
            // The probation has ended during this attempt, which did not raise the term.
            (None, Intent::Renew | Intent::Raise(_) | Intent::Release) => self.due = self.clock.now(),
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Release { done } => {
                self.release().await;
                // Whoever asked may have stopped waiting; the Lease is released all the same.
                done.send(()).ok();
            }
            Command::Raise { at_least, done } => {
                let raised = self.raise(at_least).await;
                // Whoever asked may have stopped waiting; the term is published all the same.
                done.send(raised).ok();
            }
        }
    }

    async fn raise(&mut self, at_least: Term) -> Result<Term, RaiseError> {
        let reign = {
            let leadership = self.state.published();
            permit(&leadership, self.clock.now()).map_err(RaiseError::NotLeader)?;
            leadership.reign().cloned()
        };
        let Some(Reign { term, number, .. }) = reign else {
            return Err(RaiseError::Refused(at_least));
        };
        if term >= at_least {
            return Ok(term);
        }
        if i32::try_from(at_least.0).is_err() {
            return Err(RaiseError::TooHigh(at_least));
        }
        for _try in 0..TRIES_MAX {
            let asked = self.clock.now();
            match self.contender.attempt(Intent::Raise(at_least)).await {
                Outcome::Ours(term) => {
                    self.due = asked + self.settings.renew_every();
                    return match self.state.raise(number, term, asked + self.settings.reign_span()) {
                        Extension::Extended => Ok(term),
                        Extension::TooLate => Err(RaiseError::Refused(at_least)),
                    };
                }
                Outcome::Conflict => pause(ATTEMPT_PAUSE).await,
                Outcome::Theirs(holder) => {
                    self.state.follow(holder);
                    return Err(RaiseError::Refused(at_least));
                }
                Outcome::Failed(error) => {
                    warn!(error = %Chain(&error), %at_least, "the term was not raised");
                    return Err(RaiseError::Unanswered(at_least));
                }
            }
        }
        self.state.follow(None);
        Err(RaiseError::Refused(at_least))
    }

    /// Gives the Lease back. Leadership has ended before. One that is on probation is left to expire: its next holder would reign at
    /// once, and the holder of the deleted one may not know yet.
    async fn release(&self) {
        if self.contender.cas.probation().is_some() {
            return;
        }
        for _try in 0..TRIES_MAX {
            match self.contender.release().await {
                Outcome::Theirs(None) | Outcome::Ours(_) => {
                    info!(lease = self.settings.lease_name(), "lease released");
                    return;
                }
                Outcome::Theirs(Some(holder)) => {
                    debug!(holder, "there was no lease to release");
                    return;
                }
                Outcome::Conflict => pause(ATTEMPT_PAUSE).await,
                Outcome::Failed(error) => {
                    let error = Chain(&error);
                    warn!(%error, lease = self.settings.lease_name(),
                        "lease not released: the next leader waits out the ttl"
                    );
                    return;
                }
            }
        }
        warn!(
            lease = self.settings.lease_name(),
            "lease not released: somebody else keeps changing it"
        );
    }
}

/// A client that waits no longer than this, and repeats nothing by itself.
fn bounded(mut config: Config, deadline: Duration, silence: Duration) -> Config {
    config.default_retry = false;
    config.connect_timeout = Some(deadline);
    config.write_timeout = Some(deadline);
    config.read_timeout = Some(silence);
    config
}

#[expect(
    clippy::disallowed_methods,
    reason = "paces the attempts; whether it is time is decided by the clock"
)]
async fn pause(span: Duration) {
    sleep(span).await;
}

impl fmt::Debug for Elector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            settings,
            state,
            reigns,
            due,
            earliest,
            ..
        } = self;
        f.debug_struct("Elector")
            .field("settings", settings)
            .field("state", state)
            .field("reigns", reigns)
            .field("due", due)
            .field("earliest", earliest)
            .finish_non_exhaustive()
    }
}

// === impl EndOnDrop ===

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end_reign(Duration::ZERO);
    }
}

#[cfg(test)]
mod tests;
