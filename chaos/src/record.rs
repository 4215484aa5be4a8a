//! The recorder: hears everything that the judge needs, from outside, and writes it into one history.
//!
//! ```text
//! watches on the API server: pods, EndpointSlices, Lease, ledger ─┐
//! audit log, as it grows ─────────────────────────────────────────┤
//! observer: asks every server itself, past every Service ─────────┼──> Journal ──> FILE.jsonl
//! clients' pods: a writer and a reader, their logs ───────────────┤       └──> whoever waits for something
//! scenario: faults, promotions, notes ────────────────────────────┘
//! ```
//!
//! It asks no controller anything.

mod journal;

use std::path::PathBuf;
use std::time::Duration;

pub use journal::Journal;

use crate::cluster::{self, Cluster};
use crate::history::{Event, FORMAT, Happening, Header, History, Phase, Target};
use crate::host_time::HostTime;
use crate::install::{NAMESPACE, ROUTE};
use crate::wait::{TimedOut, wait_for};

/// What to record, and by which settings it is to be judged.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is played, such as `primary-killed`.
    pub scenario: String,
    /// The file; its directory is made where there is none.
    pub file: PathBuf,
    /// How long after the last heal every role may take to be right.
    pub settle_within: Duration,
    /// The node that the clients run on; the scheduler's choice where it does not matter.
    pub clients_on: Option<String>,
}

/// A recording under way. Dropping it ends it without its `end`: the file then counts as cut off.
#[derive(Debug)]
pub struct Recorder {
    journal: Journal,
    file: PathBuf,
}

impl Recorder {
    /// Begins: the watches have heard of every object, the observer of every server, and the clients are answered at full pace
    /// when it returns.
    pub async fn start(_cluster: &Cluster, options: Options) -> Result<Self, cluster::Error> {
        let Options {
            scenario,
            file,
            settle_within,
            clients_on,
        } = options;
        let header = Header {
            format: FORMAT,
            scenario,
            began: HostTime::now(),
            began_unix: 0,
            route: format!("{NAMESPACE}/{ROUTE}"),
            silent_after_millis: 3000,
            settle_within_millis: u64::try_from(settle_within.as_millis()).unwrap_or(u64::MAX),
            observed_every_micros: 0,
            client_node: clients_on,
        };
        let journal = Journal::create(&file, header).map_err(cluster::Error::io("write", &file))?;
        Ok(Self { journal, file })
    }

    /// What has been heard so far, for whoever waits for something.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// A fault begins or ends at this very moment. Say `Injected` right before it is brought about and `Healed` right after it has
    /// been taken back; of one that is over at once say both, one after the other.
    pub fn fault(&self, name: &str, target: Target, phase: Phase) {
        self.journal.record(Happening::Fault {
            name: name.to_owned(),
            target,
            phase,
        });
    }

    /// A standby is asked to promote itself, right now.
    pub fn promotion(&self, pod: &str) {
        self.journal.record(Happening::Promotion { pod: pod.to_owned() });
    }

    /// Something else was done, at this very moment.
    pub fn note(&self, text: impl Into<String>) {
        self.journal.record(Happening::Note { text: text.into() });
    }

    /// Waits until `look` finds what it looks for among the events, in the order in which they were heard of.
    pub async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        look: impl Fn(&[Event]) -> Result<T, String>,
    ) -> Result<T, TimedOut> {
        wait_for(what, limit, || async { self.journal.read(&look) }).await
    }

    /// Ends: ends the clients, hears what is still on its way, reads the rows that the primary holds, and closes the file.
    pub async fn stop(self) -> Result<(PathBuf, History), cluster::Error> {
        self.journal.record(Happening::End);
        let history = self.journal.finish().map_err(cluster::Error::io("write", &self.file))?;
        Ok((self.file, history))
    }
}
