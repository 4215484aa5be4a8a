//! The observer of one round: a thread in the cluster's network with a session on the standby, which asks every millisecond whether it is
//! in recovery, and stamps the first answer that says no. Beside it sleeps a thread that tells what the host adds to every stamp.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use crate::console::Keys;
use crate::host_time::HostTime;
use crate::workload::session::{Session, told};

/// How often the server is asked.
const ASKED_EVERY: Duration = Duration::from_millis(1);
/// Logging in takes milliseconds.
const LOGIN_LIMIT: Duration = Duration::from_secs(5);

/// What the observer has to say once.
pub(super) type Promoted = oneshot::Receiver<Result<HostTime, String>>;

/// An observer at work; it ends when dropped.
pub(super) struct Observer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Begins to ask the server at an address. Returns when it has been asked once.
    pub(super) async fn start(network: &Path, keys: &Keys, address: IpAddr) -> Result<(Self, Promoted), String> {
        let namespace = File::open(network).map_err(|error| error.to_string())?;
        let stop = Arc::new(AtomicBool::new(false));
        let (begun, has_begun) = oneshot::channel();
        let (promoted, is_promoted) = oneshot::channel();
        let (stopped, login) = (Arc::clone(&stop), keys.login(address));
        let thread = std::thread::Builder::new()
            .name("bench-observer".to_owned())
            .spawn(move || {
                let observed = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(std::io::Error::from)
                    .and_then(|()| tokio::runtime::Builder::new_current_thread().enable_all().build())
                    .map_err(|error| error.to_string())
                    .and_then(|runtime| runtime.block_on(observe(&login, &stopped, begun)));
                if let Some(told) = observed.transpose() {
                    // Whoever does not wait any more has given the round up.
                    promoted.send(told).ok();
                }
            });
        let observer = Self {
            stop,
            thread: Some(thread.map_err(|error| error.to_string())?),
        };
        match tokio::time::timeout(LOGIN_LIMIT, has_begun).await {
            Ok(Ok(())) => Ok((observer, is_promoted)),
            Ok(Err(_)) => Err(is_promoted
                .await
                .ok()
                .and_then(Result::err)
                .unwrap_or_else(|| "the observer ended".to_owned())),
            Err(_elapsed) => Err("the observer is not let in".to_owned()),
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic was told on standard error; the round has no promotion then.
            thread.join().ok();
        }
    }
}

/// `None`: it was stopped before.
async fn observe(
    login: &crate::workload::session::Login,
    stop: &AtomicBool,
    begun: oneshot::Sender<()>,
) -> Result<Option<HostTime>, String> {
    let session = Session::open(login, LOGIN_LIMIT).await.map_err(|error| told(&error))?;
    let mut begun = Some(begun);
    let mut pace = tokio::time::interval(ASKED_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let rows = session
            .query("SELECT pg_is_in_recovery()")
            .await
            .map_err(|error| told(&error))?;
        if rows.first().and_then(|row| row.get(0)) == Some("f") {
            return Ok(Some(HostTime::now()));
        }
        if let Some(begun) = begun.take() {
            begun.send(()).ok();
        }
    }
    Ok(None)
}

/// Sleeps a millisecond again and again, and remembers by how much it woke up too late at worst.
pub(super) struct Noise {
    stop: Arc<AtomicBool>,
    worst: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

const NAP: Duration = Duration::from_millis(1);

impl Noise {
    pub(super) fn start() -> std::io::Result<Self> {
        let (stop, worst) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, seen) = (Arc::clone(&stop), Arc::clone(&worst));
        let thread = std::thread::Builder::new()
            .name("bench-noise".to_owned())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    let before = HostTime::now();
                    std::thread::sleep(NAP);
                    let late = HostTime::now().since(before).saturating_sub(NAP);
                    seen.fetch_max(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
                }
            })?;
        Ok(Self {
            stop,
            worst,
            thread: Some(thread),
        })
    }

    /// The worst so far: microseconds.
    pub(super) fn so_far(&self) -> u64 {
        self.worst.load(Ordering::Relaxed)
    }

    /// Ends it: microseconds.
    pub(super) fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
        self.worst.load(Ordering::Relaxed)
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The load average of one minute.
pub(super) fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0)
}
