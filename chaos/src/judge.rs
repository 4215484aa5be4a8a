//! `chaos record`, `chaos judge`, `chaos report`: the judge at work on whatever a person does to a cluster, and on saved files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::cluster::{self, Progress};
use crate::ground::{Ground, Images};
use crate::history::{self, BadHistory, History};
use crate::oracle::{self, Verdict};
use crate::record::{Options, Recorder};
use crate::report;

/// What `chaos record` is asked to do.
#[derive(Debug, Clone, Args)]
pub struct RecordArgs {
    /// The file to write.
    #[arg(long, default_value = "history.jsonl")]
    pub file: PathBuf,
    /// How long after the last fault every role may take to be right.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub settle_within: Duration,
    /// Stop by itself after this long; else at SIGINT or SIGTERM.
    #[arg(long = "for", value_parser = humantime::parse_duration)]
    pub length: Option<Duration>,
    /// The node that the clients run on.
    #[arg(long)]
    pub clients_on: Option<String>,
}

/// A history and what was made of it.
#[derive(Debug)]
pub struct Judged {
    /// The history.
    pub history: History,
    /// What it shows.
    pub verdict: Verdict,
    /// Its file.
    pub file: PathBuf,
}

impl Judged {
    /// Reads a saved file and judges it.
    pub fn read(file: &Path) -> Result<Self, BadHistory> {
        Ok(Self::of(file.to_owned(), history::read(file)?))
    }

    pub(crate) fn of(file: PathBuf, history: History) -> Self {
        let verdict = oracle::check(&history);
        Self { history, verdict, file }
    }

    /// The summary for the terminal.
    pub fn lines(&self) -> Vec<String> {
        report::summary(&self.history, &self.verdict)
    }

    /// Writes the HTML report beside the history, or where it is asked for, and returns where.
    pub fn report(&self, to: Option<PathBuf>) -> std::io::Result<PathBuf> {
        let to = to.unwrap_or_else(|| self.file.with_extension("html"));
        report::write(&self.history, &self.verdict, &to)?;
        Ok(to)
    }
}

/// Records until the time is over or `asked_to_end`, whatever a person does to the cluster meanwhile, and judges it.
pub async fn record(
    ground: &Ground,
    images: &Images,
    args: RecordArgs,
    progress: Progress,
    asked_to_end: impl Future<Output = ()>,
) -> Result<Judged, cluster::Error> {
    let RecordArgs {
        file,
        settle_within,
        length,
        clients_on,
    } = args;
    let options = Options {
        scenario: "by hand".to_owned(),
        file,
        settle_within,
        clients_on,
    };
    let recorder = Recorder::start(ground, images, options).await?;
    progress.tell("recording; do what you like to the cluster, and end this with Ctrl-C");
    match length {
        Some(length) => drop(tokio::time::timeout(length, asked_to_end).await),
        None => asked_to_end.await,
    }
    let (file, history) = recorder.stop().await?;
    Ok(Judged::of(file, history))
}
