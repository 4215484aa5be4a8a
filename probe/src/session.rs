//! Sessions: one for one question, or one that is kept.
//!
//! A kept session drives its own connection, inside whichever of its methods is being awaited; between two of them nothing
//! moves. A prober therefore sits in [`Session::news`] whenever it asks nothing: that the session ended is known within
//! a millisecond. A promotion is known with the next [`Session::pulse`].

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::FutureExt as _;
use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_postgres::{Connection, SimpleQueryMessage};

use crate::{
    Phase, ProbeError, Report, Standing, Target,
    connect::{Live, connect},
    question::{self, Answer},
    wire::Gauge,
};

/// What the answer to one question may take: a row of ours has about 1 KiB, notices come on top.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;

/// A promotion can fall between the question and the end of its answer once: it is final. So the second answer is in one
/// piece, or the server contradicts itself.
const ASKED_MAX: usize = 2;

/// A farewell is a courtesy; it may take this long.
const FAREWELL_MAX: Duration = Duration::from_millis(100);

/// A question whose future was dropped is still answered, and its answer thrown away. A server that never answers must not
/// let these pile up: with so many outstanding the session is given up. A prober drops one or two in a row at most.
const UNANSWERED_MAX: u8 = 8;

/// PostgreSQL 14 and later report this parameter behind every answer when it has changed.
const IN_HOT_STANDBY: &str = "in_hot_standby";

/// Asks on a fresh connection, which is closed afterwards. The deadline covers everything: connecting, TLS, login, query.
pub async fn ask(target: &Target, deadline: Duration) -> Result<Report, ProbeError> {
    let (session, report) = Session::open(target, deadline).await?;
    session.part();
    Ok(report)
}

/// A connection that is kept.
///
/// Any error of [`Session::ask`] or [`Session::pulse`] other than an [`ProbeError::Sqlstate`] of the statement alone ends it
/// ([`Session::is_open`]); whatever is asked afterwards is answered [`ProbeError::Lost`].
pub struct Session {
    live: Option<Live>,
    gauge: Arc<Gauge>,
    /// What the server has reported unasked, as far as the caller knows.
    known: Option<Standing>,
    /// Questions sent since the last answer.
    unanswered: u8,
}

/// The answer to a pulse: the server's process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pulse {
    /// What the server reported by itself (`in_hot_standby`); none before PostgreSQL 14: there only the full question tells.
    pub standing: Option<Standing>,
}

/// What can happen to a session that asks nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It ended. That says nothing about the server: ask on a fresh connection at once.
    Ended(ProbeError),
    /// The server reported another standing. Ask in full. PostgreSQL reports a change only together with an answer, never to a
    /// session that asks nothing: it is the pulses that find out, and this is for one that was given up half-way.
    Standing(Standing),
}

impl Session {
    /// A fresh connection that is kept, and the answer to its first question; one deadline covers both.
    pub async fn open(target: &Target, deadline: Duration) -> Result<(Self, Report), ProbeError> {
        let gauge = Arc::new(Gauge::default());
        let mut phase = Phase::Connect;
        let opened = timeout(deadline, async {
            let live = connect(target, deadline, &gauge, &mut phase).await?;
            phase = Phase::Query;
            let mut session = Self {
                live: Some(live),
                gauge: Arc::clone(&gauge),
                known: None,
                unanswered: 0,
            };
            let report = session.question().await?;
            Ok((session, report))
        })
        .await;
        opened.unwrap_or(Err(ProbeError::TimedOut { phase }))
    }

    /// Asks in full.
    pub async fn ask(&mut self, deadline: Duration) -> Result<Report, ProbeError> {
        let answer = timeout(deadline, self.question()).await;
        self.settle(answer.unwrap_or(Err(ProbeError::TimedOut { phase: Phase::Query })))
    }

    /// The cheapest round trip there is (a bare `Sync`): shows that the server's process answers, and lets it report a
    /// changed `in_hot_standby`.
    pub async fn pulse(&mut self, deadline: Duration) -> Result<Pulse, ProbeError> {
        let answer = timeout(deadline, self.sync()).await;
        let standing = self.settle(answer.unwrap_or(Err(ProbeError::TimedOut { phase: Phase::Query })))?;
        Ok(Pulse { standing })
    }

    /// Resolves when the session ended, or the server reported another standing than was last handed out. Loses nothing
    /// when it is dropped and called again. On a session that is over it resolves at once.
    pub async fn news(&mut self) -> News {
        let news = poll_fn(|cx| self.poll_news(cx)).await;
        match &news {
            News::Ended(_) => self.live = None,
            News::Standing(standing) => self.known = Some(*standing),
        }
        news
    }

    /// Whether it can still be asked, as far as is known.
    pub fn is_open(&self) -> bool {
        self.live.is_some()
    }

    /// Says good-bye, so that the server frees its slot at once. Dropping the session does, a moment later, the same.
    pub async fn close(mut self) {
        let Some(Live { client, mut connection }) = self.live.take() else {
            return;
        };
        drop(client);
        let farewell = async { while let Some(Ok(_)) = poll_fn(|cx| connection.poll_message(cx)).await {} };
        // A server that does not take it in time learns from the closed socket.
        timeout(FAREWELL_MAX, farewell).await.unwrap_or_default();
    }

    /// As [`Session::close`], without waiting for anything: what the socket takes at once is sent.
    fn part(mut self) {
        let Some(Live { client, mut connection }) = self.live.take() else {
            return;
        };
        drop(client);
        // Whether it went out or not, the socket is closed next.
        drop(poll_fn(|cx| connection.poll_message(cx)).now_or_never());
    }

    /// Ends the session unless the error leaves it usable.
    fn settle<T>(&mut self, answer: Result<T, ProbeError>) -> Result<T, ProbeError> {
        if answer.as_ref().is_err_and(|error| error.sqlstate().is_none()) {
            self.live = None;
        }
        answer
    }

    async fn question(&mut self) -> Result<Report, ProbeError> {
        for _ in 0..ASKED_MAX {
            if let Some(report) = self.question_once().await? {
                return Ok(report);
            }
            tracing::debug!("a promotion fell into the answer, asking again");
        }
        Err(ProbeError::Answer {
            reason: format!("in_hot_standby and pg_is_in_recovery() differ {ASKED_MAX} times"),
        })
    }

    /// None when a promotion fell into the answer.
    async fn question_once(&mut self) -> Result<Option<Report>, ProbeError> {
        let messages = self.query(question::STANDING).await?;
        let row = question::one_row(&messages)?;
        let known = self.known;
        let Some(Answer {
            mut report,
            files_may_tell,
        }) = question::read(|name| row.try_get(name).ok()?, known)?
        else {
            return Ok(None);
        };
        if files_may_tell {
            let messages = self.query(question::WAL_FILES).await?;
            let row = question::one_row(&messages)?;
            match question::read_files(|name| row.try_get(name).ok()?, report.timeline)? {
                Some(timeline) => report.timeline = timeline,
                None => return Ok(None),
            }
        }
        Ok(Some(report))
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<SimpleQueryMessage>, ProbeError> {
        let Live { client, connection } = self.begin()?;
        let driven = drive(connection, client.simple_query(sql)).await;
        self.take(driven)
    }

    async fn sync(&mut self) -> Result<Option<Standing>, ProbeError> {
        let Live { client, connection } = self.begin()?;
        let driven = drive(connection, client.check_connection()).await;
        self.take(driven)?;
        Ok(self.known)
    }

    /// Makes room for one more question.
    fn begin(&mut self) -> Result<&mut Live, ProbeError> {
        if self.unanswered >= UNANSWERED_MAX {
            self.live = None;
        }
        let live = self.live.as_mut().ok_or_else(over)?;
        self.unanswered += 1;
        self.gauge.allow(ANSWER_BYTES_MAX);
        Ok(live)
    }

    /// Notes what the server reported behind an answer, and whether it ended the session with it.
    fn take<A>(&mut self, driven: Driven<A>) -> Result<A, ProbeError> {
        let reported = self
            .live
            .as_ref()
            .and_then(|live| question::reported(live.connection.parameter(IN_HOT_STANDBY)));
        self.known = reported.or(self.known);
        // Answers come in the order of the questions: those to earlier ones have come, too.
        self.unanswered = 0;
        if driven.ended {
            self.live = None;
        }
        match driven.answer {
            Some(answer) => answer.map_err(|error| ProbeError::from_postgres(&error, &self.gauge)),
            None => Err(over()),
        }
    }

    fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<News> {
        let Some(Live { connection, .. }) = &mut self.live else {
            return Poll::Ready(News::Ended(over()));
        };
        let ended = loop {
            match connection.poll_message(cx) {
                Poll::Ready(Some(Ok(_notice))) => {}
                Poll::Ready(Some(Err(error))) => break Some(ProbeError::from_postgres(&error, &self.gauge)),
                Poll::Ready(None) => break Some(ProbeError::ended("the server closed it", &self.gauge)),
                Poll::Pending => break None,
            }
        };
        if let Some(error) = ended {
            return Poll::Ready(News::Ended(error));
        }
        match question::reported(connection.parameter(IN_HOT_STANDBY)) {
            Some(standing) if self.known != Some(standing) => Poll::Ready(News::Standing(standing)),
            _ => Poll::Pending,
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("is_open", &self.is_open())
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

fn over() -> ProbeError {
    ProbeError::Lost {
        reason: "the session is over".to_owned(),
    }
}

/// What came of a question.
struct Driven<A> {
    /// None when the session ended without a word.
    answer: Option<Result<A, tokio_postgres::Error>>,
    /// The session ended with it, and must not be used again.
    ended: bool,
}

/// Awaits an answer while moving the connection that brings it. Notices on the way are dropped.
async fn drive<S, T, A>(
    connection: &mut Connection<S, T>,
    answer: impl Future<Output = Result<A, tokio_postgres::Error>>,
) -> Driven<A>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut answer = pin!(answer);
    poll_fn(|cx| {
        // Puts the question into the connection's queue.
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(Driven {
                answer: Some(answer),
                ended: false,
            });
        }
        let end = loop {
            match connection.poll_message(cx) {
                Poll::Ready(Some(Ok(_notice))) => {}
                Poll::Ready(Some(Err(error))) => break Some(Some(error)),
                Poll::Ready(None) => break Some(None),
                Poll::Pending => break None,
            }
        };
        // The server's last words may have come with the end: they count before it.
        match (answer.as_mut().poll(cx), end) {
            (Poll::Ready(answer), end) => Poll::Ready(Driven {
                answer: Some(answer),
                ended: end.is_some(),
            }),
            (Poll::Pending, Some(error)) => Poll::Ready(Driven {
                answer: error.map(Err),
                ended: true,
            }),
            (Poll::Pending, None) => Poll::Pending,
        }
    })
    .await
}
