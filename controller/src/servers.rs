//! The way to the PostgreSQL servers, as the probes use it.
//!
//! It is nothing but the probe's own functions; a simulation answers in their place.

use std::{fmt, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use probe::{News, ProbeError, Pulse, Report, Session, Target};

/// A connection that is kept, and the answer to its first question.
pub type Opened = (Box<dyn Kept>, Report);

/// Asks servers.
pub trait Servers: Send + Sync + fmt::Debug + 'static {
    /// Asks on a fresh connection, which is closed afterwards; see [`probe::ask`].
    fn ask<'a>(&'a self, target: &'a Target, deadline: Duration) -> BoxFuture<'a, Result<Report, ProbeError>>;

    /// Goes as far as the server's door on a fresh connection; see [`probe::knock`].
    fn knock<'a>(&'a self, target: &'a Target, deadline: Duration) -> BoxFuture<'a, Result<(), ProbeError>>;

    /// Asks on a fresh connection, and keeps it; see [`Session::open`].
    fn open<'a>(&'a self, target: &'a Target, deadline: Duration) -> BoxFuture<'a, Result<Opened, ProbeError>>;
}

/// A connection that is kept; see [`Session`].
pub trait Kept: Send + 'static {
    /// Asks in full; see [`Session::ask`].
    fn ask(&mut self, deadline: Duration) -> BoxFuture<'_, Result<Report, ProbeError>>;

    /// The cheapest round trip; see [`Session::pulse`].
    fn pulse(&mut self, deadline: Duration) -> BoxFuture<'_, Result<Pulse, ProbeError>>;

    /// What happens on a session that asks nothing; see [`Session::news`].
    fn news(&mut self) -> BoxFuture<'_, News>;
}

/// The network that the servers are really in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Network;

// === impl Network ===

impl Servers for Network {
    fn ask<'a>(&'a self, target: &'a Target, deadline: Duration) -> BoxFuture<'a, Result<Report, ProbeError>> {
        probe::ask(target, deadline).boxed()
    }

    fn knock<'a>(&'a self, target: &'a Target, deadline: Duration) -> BoxFuture<'a, Result<(), ProbeError>> {
        probe::knock(target, deadline).boxed()
    }

    fn open<'a>(&'a self, target: &'a Target, deadline: Duration) -> BoxFuture<'a, Result<Opened, ProbeError>> {
        async move {
            let (session, report) = Session::open(target, deadline).await?;
            let session: Box<dyn Kept> = Box::new(session);
            Ok((session, report))
        }
        .boxed()
    }
}

impl Kept for Session {
    fn ask(&mut self, deadline: Duration) -> BoxFuture<'_, Result<Report, ProbeError>> {
        self.ask(deadline).boxed()
    }

    fn pulse(&mut self, deadline: Duration) -> BoxFuture<'_, Result<Pulse, ProbeError>> {
        self.pulse(deadline).boxed()
    }

    fn news(&mut self) -> BoxFuture<'_, News> {
        self.news().boxed()
    }
}
