//! One server, asked again and again.

use std::net::IpAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::console::{Keys, POSTGRES_PORT};
use crate::ground::Forward;
use crate::history::{Happening, PodSeen, Standing, State};
use crate::host_time::HostTime;
use crate::install::NAMESPACE;
use crate::record::Journal;
use crate::workload::session::{Login, Session, told};

/// How often it is asked for everything: a standby that changes over to another timeline is told by nothing shorter.
const ALL_ASKED_EVERY: Duration = Duration::from_secs(1);
/// A server that has not answered for this long is silent.
const SILENT_AFTER: Duration = Duration::from_millis(250);
/// A question or a new connection without an answer is given up after this long and a new connection begun. Not sooner: a frozen server
/// finds all of them waiting when it goes on, and it has a hundred places.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(3);
/// A server that is down is tried again this often.
const TRIED_EVERY: Duration = Duration::from_millis(20);

const SHORT: &str = "SELECT pg_is_in_recovery()";
/// A server in recovery says its timeline in several places, and each may lag behind.
const ALL: &str = "SELECT pg_is_in_recovery(), (SELECT system_identifier FROM pg_control_system()), \
    CASE WHEN pg_is_in_recovery() THEN greatest((SELECT received_tli FROM pg_stat_wal_receiver), \
      (SELECT min_recovery_end_timeline FROM pg_control_recovery()), (SELECT timeline_id FROM pg_control_checkpoint())) \
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END";

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    pod: String,
    address: IpAddr,
}

impl Subject {
    pub(super) fn of(pod: &PodSeen) -> Option<(String, Self)> {
        let address = pod.address.as_deref()?.parse().ok()?;
        let subject = Self {
            pod: pod.pod.clone(),
            address,
        };
        Some((pod.uid.clone(), subject))
    }
}

/// A server that is being asked; no more when dropped.
pub(super) struct Asked {
    pub(super) subject: Subject,
    _task: JoinSet<()>,
}

/// How servers are asked.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) door: Door,
    pub(super) every: Duration,
    pub(super) keys: Keys,
    pub(super) journal: Journal,
}

/// The way to a server.
#[derive(Clone)]
pub(super) enum Door {
    /// At its pod's address.
    Address,
    /// Through the API server and its kubelet.
    Forward(kube::Client),
}

impl Asked {
    pub(super) fn begin(uid: &str, subject: Subject, asker: Asker) -> Self {
        let log = Log {
            journal: asker.journal.clone(),
            pod: subject.pod.clone(),
            uid: uid.to_owned(),
            address: subject.address.to_string(),
            last: None,
            asked: HostTime::now(),
            answered: None,
            questions: 0,
            longest: Duration::ZERO,
        };
        let watcher = Watcher {
            subject: subject.clone(),
            asker,
            log,
        };
        let mut task = JoinSet::new();
        task.spawn(watcher.run());
        Self { subject, _task: task }
    }
}

/// Why there is nobody to ask any more.
enum Lost {
    /// The server refused, or ended the session.
    Ended(String),
    /// It gave no answer.
    Silent,
}

struct Watcher {
    subject: Subject,
    asker: Asker,
    log: Log,
}

impl Watcher {
    async fn run(mut self) {
        let mut pace = tokio::time::interval(TRIED_EVERY);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            let lost = self.connect_and_ask().await;
            let state = match lost {
                Lost::Ended(why) => State::Down { why },
                Lost::Silent => State::Silent,
            };
            self.log.say(HostTime::now(), state);
        }
    }

    async fn connect_and_ask(&mut self) -> Lost {
        let Asker { door, keys, .. } = &self.asker;
        // Held for as long as the session.
        let (login, _forward) = match door {
            Door::Address => (keys.login(self.subject.address), None),
            Door::Forward(client) => match Forward::open(client, NAMESPACE, &self.subject.pod, POSTGRES_PORT) {
                Ok(forward) => {
                    let login = Login {
                        port: forward.address().port(),
                        ..keys.login(forward.address().ip())
                    };
                    (login, Some(forward))
                }
                Err(error) => return Lost::Ended(told(&error)),
            },
        };
        match self.patiently(Session::open(&login, GIVEN_UP_AFTER)).await {
            Ok(Ok(session)) => self.ask(&session).await,
            Ok(Err(error)) => Lost::Ended(told(&error)),
            Err(lost) => lost,
        }
    }

    /// Asks over one session until it is lost.
    async fn ask(&mut self, session: &Session) -> Lost {
        let mut pace = tokio::time::interval(self.asker.every);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Since when the short answer has been another one than the last long one.
        let mut changed: Option<HostTime> = None;
        let mut all_due = HostTime::now();
        let mut known = None;
        loop {
            pace.tick().await;
            let asked = HostTime::now();
            let is_all = asked >= all_due;
            let rows = match self.patiently(session.query(if is_all { ALL } else { SHORT })).await {
                Ok(Ok(rows)) => rows,
                // It was promoted between two parts of the question.
                Ok(Err(error)) if is_all && !error.is_closed() && error.as_db_error().is_some() => continue,
                Ok(Err(error)) => return Lost::Ended(told(&error)),
                Err(lost) => return lost,
            };
            let answered = HostTime::now();
            self.log.answered(answered);
            let text = |column| rows.first()?.get(column);
            let in_recovery = text(0) == Some("t");
            if is_all {
                let Some(state) = state(in_recovery, text(1), text(2)) else {
                    return Lost::Ended("the answer is not what was asked for".to_owned());
                };
                self.log.say(changed.take().unwrap_or(answered), state);
                known = Some(in_recovery);
                all_due = asked.after(ALL_ASKED_EVERY);
            } else if known != Some(in_recovery) {
                changed.get_or_insert(answered);
                all_due = answered;
            }
            if changed.is_none() {
                self.log.asked = asked;
            }
        }
    }

    /// Waits for an answer; says that there is none when it takes too long, and gives up when it takes much too long.
    async fn patiently<T>(&mut self, answer: impl Future<Output = T>) -> Result<T, Lost> {
        let mut answer = std::pin::pin!(answer);
        if let Ok(answer) = tokio::time::timeout(SILENT_AFTER, answer.as_mut()).await {
            return Ok(answer);
        }
        self.log.say(HostTime::now(), State::Silent);
        let rest = tokio::time::timeout(GIVEN_UP_AFTER.saturating_sub(SILENT_AFTER), answer);
        rest.await.map_err(|_elapsed| Lost::Silent)
    }
}

fn state(in_recovery: bool, system: Option<&str>, timeline: Option<&str>) -> Option<State> {
    let system = system?.to_owned();
    let timeline = timeline?.parse().ok()?;
    Some(if in_recovery {
        State::InRecovery { system, timeline }
    } else {
        State::Writable { system, timeline }
    })
}

/// What one server has said; writes what is new.
struct Log {
    journal: Journal,
    pod: String,
    uid: String,
    address: String,
    last: Option<State>,
    /// When the last question was asked whose answer was `last`: a change is not older.
    asked: HostTime,
    answered: Option<HostTime>,
    questions: u64,
    longest: Duration,
}

impl Log {
    fn answered(&mut self, at: HostTime) {
        if let Some(before) = self.answered.replace(at) {
            self.longest = self.longest.max(at.since(before));
        }
        self.questions += 1;
    }

    fn say(&mut self, at: HostTime, state: State) {
        if !matches!(state, State::Writable { .. } | State::InRecovery { .. }) {
            // What follows is no gap between two answers.
            self.answered = None;
        }
        if self.last.as_ref().is_some_and(|last| is_same(last, &state)) {
            if matches!(state, State::Down { .. }) {
                // Refused once more: what comes next has not been before this.
                self.asked = at;
            }
            return;
        }
        self.last = Some(state.clone());
        let standing = Standing {
            pod: self.pod.clone(),
            uid: self.uid.clone(),
            address: self.address.clone(),
            state,
            not_before: self.asked,
        };
        self.asked = at;
        self.journal.record_at(at, Happening::Standing(standing));
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.journal.record(Happening::Observed {
            pod: self.pod.clone(),
            uid: self.uid.clone(),
            questions: self.questions,
            longest_micros: u64::try_from(self.longest.as_micros()).unwrap_or(u64::MAX),
        });
    }
}

/// Whether a server says the same as before; why it is down may change while it is.
fn is_same(one: &State, other: &State) -> bool {
    one == other || matches!((one, other), (State::Down { .. }, State::Down { .. }))
}
