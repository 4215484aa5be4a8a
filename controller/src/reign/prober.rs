//! The probe task of one pod: one kept session, and a fresh connection at least once a second.
//!
//! ```text
//!            open ----> kept session: pulse every interval; its answer tells a promotion
//!  fresh ---<                |  ends, or fails
//!            ask  <----------'  at once: a fresh connection decides
//! ```
//!
//! At most one kept and one fresh connection are in use. What is seen is sent to the loop; nothing is decided here.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use probe::{Evidence, News, ProbeError, Report, Standing, classify};
use shared::route::Connection;
use tokio::sync::{mpsc, watch};

use super::{RouteKey, credentials::Credentials};
use crate::{
    clock::Tick,
    decide::PodKey,
    host::Host,
    metrics::Metrics,
    servers::Kept,
    sighting::{Sighting, Via},
    tasks::Tasks,
};

/// A kept session hides a hung postmaster, so a fresh connection is made at least this often.
const FRESH_EVERY: Duration = Duration::from_secs(1);

/// While a promotion may come any moment, a pulse, the cheapest message that the protocol has, is sent this often.
const HURRIED: Duration = Duration::from_millis(10);

/// Probes of many pods are spread by up to this part of the pause, so that they do not all go out in one instant.
const JITTER_PARTS: u32 = 10;

/// Whom to probe, and how. A change of any of it is a new task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assignment {
    pub(crate) route: RouteKey,
    pub(crate) pod: PodKey,
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
    pub(crate) connection: Connection,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

/// How a pod is to be probed at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// At the route's interval.
    Steady,
    /// More often: the route has just lost its primary.
    Hurried,
    /// By fresh connections alone: the pod is being deleted, and a kept session would hold up its smart shutdown.
    Terminating,
}

/// What a probe has seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) route: RouteKey,
    pub(crate) pod: PodKey,
    pub(crate) via: Via,
    pub(crate) sighting: Sighting,
}

/// What the task needs from outside.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) host: Host,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) out: mpsc::Sender<Seen>,
}

/// Why a question got no answer.
enum Failure {
    /// There is nothing to log in with: nothing was asked.
    NoLogin(String),
    /// It was asked.
    Probe(ProbeError),
}

/// The answer of a fresh connection, and the session when it is kept.
struct Opened {
    asked: Tick,
    answer: Result<Report, Failure>,
    session: Option<Box<dyn Kept>>,
}

struct Prober {
    assignment: Assignment,
    surroundings: Surroundings,
    pace: watch::Receiver<Pace>,
    /// The last full answer while a session was kept; a pulse says that it still holds.
    last: Option<Report>,
    rejected: bool,
    /// Fresh connections in a row that met something that is no answer of PostgreSQL.
    unclear: u32,
}

/// Probes until it is dropped, or nobody listens any more.
pub(crate) async fn run(assignment: Assignment, surroundings: Surroundings, pace: watch::Receiver<Pace>) {
    let mut prober = Prober {
        assignment,
        surroundings,
        pace,
        last: None,
        rejected: false,
        unclear: 0,
    };
    prober.run().await;
}

/// What the task woke up for.
enum Woke {
    Fresh(Box<Opened>),
    News(News),
    Pause,
    Pace,
}

impl Prober {
    async fn run(&mut self) {
        let mut kept: Option<Box<dyn Kept>> = None;
        // A task of its own, so that a slow login never holds up the kept session, nor the other way round.
        let mut fresh: Tasks<Opened> = Tasks::new(&self.surroundings.host.gate);
        let mut fresh_due = self.surroundings.host.clock.now();
        while !self.surroundings.out.is_closed() {
            let now = self.surroundings.host.clock.now();
            if kept.is_none() && self.last.take().is_some() {
                // The end of a session says nothing by itself: a fresh connection decides, now.
                fresh_due = now;
            }
            if fresh.is_empty() && now >= fresh_due {
                let keep = kept.is_none() && *self.pace.borrow() != Pace::Terminating;
                fresh.spawn(self.open(keep));
            }
            let fresh_in = if fresh.is_empty() {
                fresh_due.since(now)
            } else {
                FRESH_EVERY
            };
            let pause = self.pause(kept.is_some(), fresh_in);
            match wake(&mut fresh, &mut kept, &mut self.pace, pause).await {
                Woke::Fresh(opened) => {
                    let Opened { asked, answer, session } = *opened;
                    let evidence = evidence(&answer);
                    self.unclear = if evidence == Evidence::Unclear {
                        self.unclear.saturating_add(1)
                    } else {
                        0
                    };
                    fresh_due = self.surroundings.host.clock.now() + self.again(evidence);
                    if evidence == Evidence::Starting {
                        kept = None;
                    } else if session.is_some() {
                        kept = session;
                    }
                    let answer = answer.map(|report| self.learn(report, kept.is_some()));
                    self.see(Via::Fresh, asked, answer).await;
                }
                Woke::News(News::Standing(_)) => self.ask_kept(&mut kept).await,
                Woke::News(News::Ended(_)) => kept = None,
                Woke::Pace if *self.pace.borrow() == Pace::Terminating => kept = None,
                Woke::Pace => {}
                Woke::Pause => self.pulse(&mut kept).await,
            }
        }
    }

    /// How long nothing happens: until the next pulse, or until the next fresh connection is due.
    fn pause(&self, keeps: bool, fresh_in: Duration) -> Duration {
        let interval = match *self.pace.borrow() {
            Pace::Hurried => self.assignment.interval.min(HURRIED),
            Pace::Steady | Pace::Terminating => self.assignment.interval,
        };
        let jitter = self.surroundings.host.chance.up_to(interval / JITTER_PARTS);
        let fresh_in = fresh_in.max(Duration::from_millis(1));
        if keeps {
            interval.saturating_sub(jitter).min(fresh_in)
        } else {
            fresh_in
        }
    }

    /// When to make the next fresh connection. A server that bars us is not to be burdened with ten attempts a second; one
    /// that is down may be back any moment, and one that is being deleted may be gone.
    fn again(&self, evidence: Evidence) -> Duration {
        match evidence {
            Evidence::Writable | Evidence::InRecovery if *self.pace.borrow() == Pace::Terminating => {
                self.assignment.interval
            }
            Evidence::Writable | Evidence::InRecovery | Evidence::Barred => {
                FRESH_EVERY.saturating_sub(self.surroundings.host.chance.up_to(FRESH_EVERY / JITTER_PARTS))
            }
            // Once may be an accident of the moment. What goes on like that is asked less and less often: it may answer at once, and
            // a thousand of its kind would leave no time for the others.
            Evidence::Unclear => {
                let doublings = self.unclear.saturating_sub(1);
                let longest = FRESH_EVERY.max(self.assignment.interval);
                let pause = self.assignment.interval.saturating_mul(2_u32.saturating_pow(doublings));
                pause.min(longest)
            }
            Evidence::Down | Evidence::Starting | Evidence::Silent => self.assignment.interval,
        }
    }

    /// A fresh connection, with everything that it takes.
    fn open(&self, keep: bool) -> impl Future<Output = Opened> + Send + 'static {
        let Assignment {
            route,
            connection,
            ip,
            port,
            timeout,
            ..
        } = self.assignment.clone();
        let Surroundings { credentials, host, .. } = self.surroundings.clone();
        let rejected = self.rejected;
        async move {
            let login = credentials.login(&route, &connection, rejected).await;
            let target = login
                .map_err(|error| error.to_string())
                .and_then(|login| login.target(SocketAddr::new(ip, port)));
            let asked = host.clock.now();
            let (answer, session) = match target {
                Err(reason) => (Err(Failure::NoLogin(reason)), None),
                Ok(target) if keep => match host.servers.open(&target, timeout).await {
                    Ok((session, report)) => (Ok(report), Some(session)),
                    Err(error) => (Err(Failure::Probe(error)), None),
                },
                Ok(target) => (host.servers.ask(&target, timeout).await.map_err(Failure::Probe), None),
            };
            Opened { asked, answer, session }
        }
    }

    async fn pulse(&mut self, kept: &mut Option<Box<dyn Kept>>) {
        let Some(session) = kept else { return };
        let asked = self.surroundings.host.clock.now();
        let unchanged = match session.pulse(self.assignment.timeout).await {
            Ok(pulse) => self.last.clone().filter(|last| pulse.standing == Some(last.standing)),
            Err(_says_nothing_by_itself) => {
                *kept = None;
                return;
            }
        };
        match unchanged {
            Some(report) => self.see(Via::Kept, asked, Ok(report)).await,
            None => self.ask_kept(kept).await,
        }
    }

    async fn ask_kept(&mut self, kept: &mut Option<Box<dyn Kept>>) {
        let Some(session) = kept else { return };
        let asked = self.surroundings.host.clock.now();
        match session.ask(self.assignment.timeout).await {
            Ok(report) => {
                let report = self.learn(report, true);
                self.see(Via::Kept, asked, Ok(report)).await;
            }
            Err(_says_nothing_by_itself) => *kept = None,
        }
    }

    /// Remembers an answer for the pulses on a kept session, and gives back what is known now. The answers of the kept session and of a fresh
    /// connection may come in another order than they were given in: a server does not go back while it runs.
    fn learn(&mut self, report: Report, keeps: bool) -> Report {
        let known = newer(report, self.last.take());
        self.last = keeps.then(|| known.clone());
        known
    }

    /// Tells the loop.
    async fn see(&mut self, via: Via, asked: Tick, answer: Result<Report, Failure>) {
        let evidence = evidence(&answer);
        let at = self.surroundings.host.clock.now();
        let (route, pod) = (&self.assignment.route, &self.assignment.pod);
        let metrics = &self.surroundings.metrics;
        metrics.probed(&route.namespace, &route.name, &pod.name, evidence, at.since(asked));
        let (reply, detail) = match &answer {
            Ok(_) => (true, String::new()),
            Err(Failure::NoLogin(reason)) => (false, reason.clone()),
            Err(Failure::Probe(error)) => (error.is_reply(), error.to_string()),
        };
        self.rejected = matches!(&answer, Err(Failure::Probe(error)) if error.wants_new_credentials());
        let sighting = Sighting {
            at,
            took: at.since(asked),
            ip: self.assignment.ip,
            evidence,
            report: answer.ok(),
            reply,
            detail,
        };
        let (route, pod) = (self.assignment.route.clone(), self.assignment.pod.clone());
        // The loop has ended when nobody listens, and this task with it.
        self.surroundings
            .out
            .send(Seen {
                route,
                pod,
                via,
                sighting,
            })
            .await
            .ok();
    }
}

/// The answer, with the farthest position that the same server told on the same timeline.
fn newer(mut report: Report, last: Option<Report>) -> Report {
    if let Some(last) = last {
        let same = |one: &Report| {
            (
                one.postmaster_started,
                one.system_identifier,
                one.timeline,
                one.standing,
            )
        };
        if same(&report) == same(&last) {
            report.lsn = report.lsn.max(last.lsn);
        }
    }
    report
}

/// What an answer is worth. Without a login nothing is known against the server: a person has to act.
fn evidence(answer: &Result<Report, Failure>) -> Evidence {
    match answer {
        Ok(report) if report.standing == Standing::Writable => Evidence::Writable,
        Ok(_) => Evidence::InRecovery,
        Err(Failure::NoLogin(_)) => Evidence::Barred,
        Err(Failure::Probe(error)) => classify(&Err(error.clone())),
    }
}

/// Waits for whatever comes first.
async fn wake(
    fresh: &mut Tasks<Opened>,
    kept: &mut Option<Box<dyn Kept>>,
    pace: &mut watch::Receiver<Pace>,
    pause: Duration,
) -> Woke {
    let news = async {
        match kept {
            Some(session) => session.news().await,
            None => std::future::pending().await,
        }
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "the pace of the probes; the tick decides what is due"
    )]
    let paused = tokio::time::sleep(pause);
    tokio::select! {
        biased;
        // One that was cut off says nothing; the next is due at once.
        Some(Ok(opened)) = fresh.join_next() => Woke::Fresh(Box::new(opened)),
        Ok(()) = pace.changed() => Woke::Pace,
        news = news => Woke::News(news),
        () = paused => Woke::Pause,
    }
}

#[cfg(test)]
mod tests;
