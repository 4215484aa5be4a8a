//! `chaos bench`: pgsteer and what people use today, side by side in one run on the embedded cluster: how long after a change of the primary
//! the name leads to the right server, phase by phase, and who leads by what ratio. docs/benchmarks.md tells how to read it.
//!
//! ```text
//! cells (data) ─> a round of each, by turns ─> rounds.jsonl ─> summaries, bars, ratios (pure) ─> table, plots, report
//!                  Stage: cut, observer, client, audit log
//! ```
//!
//! t0 is the moment at which an observer of its own hears from the promoted server that it is not in recovery. Labels and slices are stamped by
//! the API server's audit log, writes by a client in a pod; all on the one clock of the host. Nobody measured is asked anything.

mod attempt;
mod audit;
mod cell;
mod client;
mod manifest;
mod measure;
mod observer;
mod pair;
mod phases;
mod plot;
mod raw;
mod report;
mod rival;
mod round;
mod run;
mod succession;
mod summary;
mod verdict;

use std::path::PathBuf;

use clap::Args;

pub use attempt::{Ask, Attempt};
pub use cell::{CELLS, Cell};
pub use client::{BenchClientArgs, run as run_client};
pub use phases::{Phase, Phases};
pub use rival::{BenchRivalArgs, Kind as RivalKind, run as run_rival};
pub use run::run;

/// What `chaos bench` is asked to do.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Two rounds of four cells, to see that everything works; no time fails it.
    #[arg(long)]
    pub quick: bool,
    /// Only these cells; several times for several.
    #[arg(long, value_parser = Cell::parse)]
    pub cell: Vec<&'static Cell>,
    /// Where the raw data and the report go. What is there is not played again. Default: `bench` beside the cluster's state.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// This project's folder.
    #[arg(long, default_value = ".")]
    pub project: PathBuf,
}
