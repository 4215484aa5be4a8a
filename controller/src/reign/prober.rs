//! The probe task of one pod: one kept session, and a fresh connection at least once a second.
//!
//! ```text
//!            open ----> kept session: pulse every interval, its answer tells a promotion; in full every second
//!  fresh ---< ask  <---------+  ends, or fails: at once, a fresh connection decides
//!            knock           '- answers: then the door is enough
//! ```
//!
//! What is asked when is [`schedule`]'s word.
//!
//! At most one kept and one fresh connection are in use, and neither waits for the other's answer. What is seen is sent to the loop;
//! nothing is decided here.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use probe::{Evidence, News, ProbeError, Pulse, Report, Standing, classify};
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
use schedule::{Depth, KeptState, Question, Schedule};

mod schedule;

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
    /// None when it was to knock, and the door was as it should be.
    answer: Result<Option<Report>, Failure>,
    session: Option<Box<dyn Kept>>,
}

/// The session that is kept, and what it does.
enum Session {
    /// There is none.
    None,
    /// It asks nothing.
    Idle(Box<dyn Kept>),
    /// It asks, while fresh connections go on: it is given back with the answer.
    Asking(BoxFuture<'static, Asked>),
}

/// The answer on a kept session; without one the session is over, which says nothing by itself.
struct Asked {
    /// When.
    at: Tick,
    session: Box<dyn Kept>,
    answer: Option<Answer>,
}

enum Answer {
    Pulse(Pulse),
    Full(Report),
}

struct Prober {
    assignment: Assignment,
    surroundings: Surroundings,
    pace: watch::Receiver<Pace>,
    /// The last full answer while a session was kept; a pulse says that it still holds.
    last: Option<Report>,
    rejected: bool,
    schedule: Schedule,
}

/// Probes until it is dropped, or nobody listens any more.
pub(crate) async fn run(assignment: Assignment, surroundings: Surroundings, pace: watch::Receiver<Pace>) {
    let schedule = Schedule::new(assignment.interval, surroundings.host.clock.now());
    let mut prober = Prober {
        assignment,
        surroundings,
        pace,
        last: None,
        rejected: false,
        schedule,
    };
    prober.run().await;
}

/// What the task woke up for.
enum Woke {
    Fresh(Box<Opened>),
    Asked(Asked),
    News(News),
    Pause,
    Pace,
}

impl Session {
    const fn state(&self) -> KeptState {
        match self {
            Self::None => KeptState::None,
            Self::Idle(_) => KeptState::Idle,
            Self::Asking(_) => KeptState::Asking,
        }
    }
}

impl Prober {
    async fn run(&mut self) {
        let mut kept = Session::None;
        // A task of its own, so that a slow login never holds up the kept session.
        let mut fresh: Tasks<Opened> = Tasks::new(&self.surroundings.host.gate);
        while !self.surroundings.out.is_closed() {
            let now = self.surroundings.host.clock.now();
            let pace = *self.pace.borrow();
            if matches!(kept, Session::None) && self.last.take().is_some() {
                // The end of a session says nothing by itself: a fresh connection decides, now.
                self.schedule.session_ended(now);
            }
            if fresh.is_empty() && self.schedule.is_fresh_due(now) {
                let depth = self.schedule.depth(now, pace);
                let keep = matches!(kept, Session::None) && pace != Pace::Terminating;
                fresh.spawn(self.open(depth, keep));
            }
            let chance = self.surroundings.host.chance.as_ref();
            let pause = self.schedule.pause(now, pace, kept.state(), !fresh.is_empty(), chance);
            match wake(&mut fresh, &mut kept, &mut self.pace, pause).await {
                Woke::Fresh(opened) => self.opened(*opened, &mut kept).await,
                Woke::Asked(asked) => kept = self.asked(asked).await,
                Woke::News(News::Standing(_)) => kept = self.ask(kept, Question::Full),
                Woke::News(News::Ended(_)) => kept = Session::None,
                Woke::Pace if *self.pace.borrow() == Pace::Terminating => kept = Session::None,
                Woke::Pace => {}
                Woke::Pause => {
                    let question = self.schedule.question(self.surroundings.host.clock.now());
                    kept = self.ask(kept, question);
                }
            }
        }
    }

    /// A fresh connection has brought something.
    async fn opened(&mut self, opened: Opened, kept: &mut Session) {
        let Opened { asked, answer, session } = opened;
        let now = self.surroundings.host.clock.now();
        let chance = self.surroundings.host.chance.as_ref();
        let answer = match answer {
            // It says nothing of the standing: the kept session does.
            Ok(None) => {
                self.schedule.knocked(now, chance);
                return;
            }
            Ok(Some(report)) => Ok(report),
            Err(failure) => Err(failure),
        };
        let evidence = evidence(&answer);
        let pace = *self.pace.borrow();
        self.schedule.met(now, evidence, pace, chance);
        if evidence == Evidence::Starting {
            *kept = Session::None;
        } else if let Some(session) = session {
            *kept = Session::Idle(session);
            self.schedule.session_answered(now, Question::Full);
        } else if matches!(kept, Session::None) && answer.is_ok() && pace != Pace::Terminating {
            // The session ended while this one, which was not to be kept, was on its way.
            self.schedule.session_ended(now);
        }
        let keeps = !matches!(kept, Session::None);
        let answer = answer.map(|report| self.learn(report, keeps));
        self.see(Via::Fresh, asked, answer).await;
    }

    /// A fresh connection, with everything that it takes.
    fn open(&self, depth: Depth, keep: bool) -> impl Future<Output = Opened> + Send + 'static {
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
            let (answer, session) = match (target, depth) {
                (Err(reason), _) => (Err(Failure::NoLogin(reason)), None),
                (Ok(target), Depth::Knock) => (
                    host.servers
                        .knock(&target, timeout)
                        .await
                        .map(|()| None)
                        .map_err(Failure::Probe),
                    None,
                ),
                (Ok(target), Depth::Login) if keep => match host.servers.open(&target, timeout).await {
                    Ok((session, report)) => (Ok(Some(report)), Some(session)),
                    Err(error) => (Err(Failure::Probe(error)), None),
                },
                (Ok(target), Depth::Login) => {
                    let answer = host.servers.ask(&target, timeout).await;
                    (answer.map(Some).map_err(Failure::Probe), None)
                }
            };
            Opened { asked, answer, session }
        }
    }

    /// Asks on the kept session, if there is one that asks nothing yet: by a pulse, or in full.
    fn ask(&self, kept: Session, question: Question) -> Session {
        let Session::Idle(mut session) = kept else { return kept };
        let (asked, timeout) = (self.surroundings.host.clock.now(), self.assignment.timeout);
        let asking = async move {
            // A failure says nothing by itself.
            let answer = match question {
                Question::Pulse => session.pulse(timeout).await.ok().map(Answer::Pulse),
                Question::Full => session.ask(timeout).await.ok().map(Answer::Full),
            };
            Asked {
                at: asked,
                session,
                answer,
            }
        };
        Session::Asking(asking.boxed())
    }

    /// The kept session has been asked.
    async fn asked(&mut self, asked: Asked) -> Session {
        let Asked {
            at: asked,
            session,
            answer,
        } = asked;
        let known = match answer {
            None => return Session::None,
            Some(Answer::Full(report)) => {
                let now = self.surroundings.host.clock.now();
                self.schedule.session_answered(now, Question::Full);
                self.learn(report, true)
            }
            Some(Answer::Pulse(pulse)) => {
                let unchanged = self.last.clone().filter(|last| pulse.standing == Some(last.standing));
                let Some(unchanged) = unchanged else {
                    return self.ask(Session::Idle(session), Question::Full);
                };
                let now = self.surroundings.host.clock.now();
                self.schedule.session_answered(now, Question::Pulse);
                unchanged
            }
        };
        self.see(Via::Kept, asked, Ok(known)).await;
        Session::Idle(session)
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
        let now = self.surroundings.host.clock.now();
        let (route, pod) = (&self.assignment.route, &self.assignment.pod);
        let metrics = &self.surroundings.metrics;
        metrics.probed(&route.namespace, &route.name, &pod.name, evidence, now.since(asked));
        let refused = matches!(&answer, Err(Failure::Probe(ProbeError::Refused)));
        let (reply, detail) = match &answer {
            Ok(_) => (true, String::new()),
            Err(Failure::NoLogin(reason)) => (false, reason.clone()),
            Err(Failure::Probe(error)) => (error.is_reply(), error.to_string()),
        };
        if via == Via::Fresh {
            // A kept session goes on under the old password.
            self.rejected = matches!(&answer, Err(Failure::Probe(error)) if error.wants_new_credentials());
        }
        let sighting = Sighting {
            // It may be read long after it was given, when the process stood still meanwhile; it was not given before this.
            at: asked,
            took: now.since(asked),
            ip: self.assignment.ip,
            evidence,
            report: answer.ok(),
            reply,
            refused,
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

/// The answer, with the farthest position that the same server told on the same timeline. One that takes writes does so until it ends:
/// what says otherwise was said before.
fn newer(mut report: Report, last: Option<Report>) -> Report {
    if let Some(last) = last {
        let server = |one: &Report| (one.postmaster_started, one.system_identifier);
        if server(&report) == server(&last) && last.standing == Standing::Writable && report.standing != last.standing {
            return last;
        }
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
    kept: &mut Session,
    pace: &mut watch::Receiver<Pace>,
    pause: Duration,
) -> Woke {
    let kept = async {
        match kept {
            Session::None => std::future::pending().await,
            Session::Idle(session) => Woke::News(session.news().await),
            Session::Asking(asking) => Woke::Asked(asking.await),
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
        kept = kept => kept,
        () = paused => Woke::Pause,
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_kept;
