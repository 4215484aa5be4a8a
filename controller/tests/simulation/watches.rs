//! Watches: each reader has its own queue, and its own troubles on the way.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame as BodyFrame;

use super::api_server::Kind;

/// Something that reaches the reader of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A line of JSON.
    Line(Bytes),
    /// The API server ends the watch.
    End,
    /// The connection breaks.
    Broken,
}

/// The API server says that the watch began too long ago.
pub(crate) const EXPIRED: &str = concat!(
    r#"{"type":"ERROR","object":{"apiVersion":"v1","kind":"Status","metadata":{},"status":"Failure","#,
    r#""reason":"Expired","message":"too old resource version","code":410}}"#,
    "\n"
);

/// What is on its way to one reader.
#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frame>,
    reader: Option<Waker>,
}

/// One reader's watch.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) host: usize,
    pub(crate) kind: Kind,
    /// Empty for all.
    pub(crate) name: String,
    /// The frame that was sent last arrives then; the next one not before.
    pub(crate) last_due: Duration,
    queue: Arc<Mutex<Queue>>,
}

/// Who reads: a host, and what it watches.
type Reader = (usize, Kind, String);

/// All watches.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    pub(crate) open: BTreeMap<u64, Watch>,
    /// From whom something was withheld: its later watches do not bring it either, so it has to list anew some day.
    gaps: BTreeSet<Reader>,
    begun: u64,
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Body {
    Whole(Option<Bytes>),
    Watch(WatchBody),
}

/// The reader's end of a watch.
#[derive(Debug)]
pub(crate) struct WatchBody {
    queue: Arc<Mutex<Queue>>,
}

// === impl Watches ===

impl Watches {
    /// Begins a watch.
    pub(crate) fn begin(&mut self, host: usize, kind: Kind, name: &str, now: Duration) -> (u64, WatchBody) {
        self.begun += 1;
        let queue = Arc::new(Mutex::new(Queue::default()));
        let watch = Watch {
            host,
            kind,
            name: name.to_owned(),
            last_due: now,
            queue: Arc::clone(&queue),
        };
        self.open.insert(self.begun, watch);
        (self.begun, WatchBody { queue })
    }

    /// Something was withheld from the reader of a watch.
    pub(crate) fn withheld(&mut self, id: u64) {
        if let Some(watch) = self.open.get(&id) {
            self.gaps.insert(watch.reader());
        }
    }

    /// Whether something was withheld from a reader since it last listed.
    pub(crate) fn has_gap(&self, host: usize, kind: Kind, name: &str) -> bool {
        self.gaps.contains(&(host, kind, name.to_owned()))
    }

    /// The open watches that do not bring their reader everything.
    pub(crate) fn with_gaps(&self) -> Vec<u64> {
        let open = self.open.iter();
        open.filter(|(_, watch)| self.gaps.contains(&watch.reader()))
            .map(|(id, _)| *id)
            .collect()
    }

    /// A reader is shown everything that there is.
    pub(crate) fn listed(&mut self, host: usize, kind: Kind, name: &str) {
        self.gaps.remove(&(host, kind, name.to_owned()));
    }

    /// A frame reaches its reader, unless there is none any more.
    pub(crate) fn deliver(&mut self, id: u64, frame: Frame) {
        let Some(watch) = self.open.get(&id) else { return };
        let ends = matches!(frame, Frame::End | Frame::Broken);
        let abandoned = Arc::strong_count(&watch.queue) == 1;
        if !abandoned {
            watch.push(frame);
        }
        if ends || abandoned {
            self.open.remove(&id);
        }
    }
}

impl Watch {
    fn reader(&self) -> Reader {
        (self.host, self.kind, self.name.clone())
    }

    fn push(&self, frame: Frame) {
        let mut queue = lock(&self.queue);
        queue.frames.push_back(frame);
        let reader = queue.reader.take();
        drop(queue);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

fn lock(queue: &Arc<Mutex<Queue>>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Body ===

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<BodyFrame<Bytes>, io::Error>>> {
        let watch = match &mut *self {
            Self::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(BodyFrame::data(bytes)))),
            Self::Watch(watch) => watch,
        };
        let mut queue = lock(&watch.queue);
        match queue.frames.pop_front() {
            Some(Frame::Line(line)) => Poll::Ready(Some(Ok(BodyFrame::data(line)))),
            Some(Frame::End) => Poll::Ready(None),
            Some(Frame::Broken) => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
            None => {
                queue.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
