//! The observer: asks every server itself, past every Service, what it is. One thread inside the cluster's network, one connection a
//! server.
//!
//! ```text
//! connect ──> who are you (all of it) ──> are you in recovery? … are you in recovery? ──> Standing, when it changed
//!    ^                    ^ once a second, and when the short answer changed │
//!    └──────── ended, refused, no answer ────────────────────────────────────┘
//! ```
//!
//! Its stamps are as fine as it asks often: a change lies between `notBefore`, the last answer that said otherwise, and the event's
//! stamp. Nothing of it comes from the controller or from what the controller writes.

mod server;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;

use self::server::{Asked, Asker, Door, Subject};
use super::Journal;
use super::watch::Pods;
use crate::console::Keys;
use crate::ground::Ground;
use crate::history::{Happening, Heard};
use crate::host_time::HostTime;

/// How often a server is asked. A question costs a server and this host 50 µs each; two servers take a tenth of a core.
const ASKED_EVERY: Duration = Duration::from_millis(1);
/// The same through an API server and a kubelet of somebody else's.
const ASKED_FROM_AFAR_EVERY: Duration = Duration::from_millis(20);

/// How often a server is asked on this ground.
pub(super) fn asked_every(ground: &Ground) -> Duration {
    match ground {
        Ground::Embedded(_) => ASKED_EVERY,
        Ground::Yours(_) => ASKED_FROM_AFAR_EVERY,
    }
}

/// An observer at work; it ends when dropped.
#[derive(Debug)]
pub(super) struct Observer {
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Observer {
    /// Begins: inside the embedded cluster's network, elsewhere through the API server.
    pub(super) fn start(
        ground: &Ground,
        keys: &Keys,
        pods: Receiver<Pods>,
        journal: &Journal,
    ) -> std::io::Result<Self> {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (network, door) = match ground {
            Ground::Embedded(cluster) => (cluster.network(), Door::Address),
            Ground::Yours(guest) => (None, Door::Forward(guest.client())),
        };
        let namespace = network.map(File::open).transpose()?;
        let (how, journal) = (
            Asker {
                door,
                every: asked_every(ground),
                keys: keys.clone(),
                journal: journal.clone(),
            },
            journal.clone(),
        );
        let thread = std::thread::Builder::new().name("observer".to_owned()).spawn(move || {
            let ended = observe(namespace, &how, pods, &stopped);
            if let Err(error) = ended {
                journal.record(Happening::Gap {
                    of: Heard::Observer,
                    since: HostTime(0),
                    why: error.to_string(),
                });
            }
        })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends it; it has written what it had to say when this returns.
    pub(super) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic was told on standard error; the history says by itself that nothing more was observed.
            thread.join().ok();
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread: enters the network, for all sockets that it will make, and watches every pod that there is.
fn observe(
    namespace: Option<File>,
    how: &Asker,
    mut pods: Receiver<Pods>,
    stop: &CancellationToken,
) -> std::io::Result<()> {
    if let Some(namespace) = namespace {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut asked: BTreeMap<String, Asked> = BTreeMap::new();
        loop {
            let now: Vec<(String, Subject)> = pods.borrow_and_update().values().filter_map(Subject::of).collect();
            // A server whose pod is gone, or has another address, is another server.
            asked.retain(|uid, asked| {
                now.iter()
                    .any(|(other, subject)| uid == other && *subject == asked.subject)
            });
            for (uid, subject) in now {
                asked
                    .entry(uid)
                    .or_insert_with_key(|uid| Asked::begin(uid, subject, how.clone()));
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = pods.changed() => if changed.is_err() { return },
            }
        }
    });
    Ok(())
}
