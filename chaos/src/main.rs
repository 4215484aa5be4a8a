//! `chaos`: the embedded cluster and what is done to it. Exit statuses: 0 held, 1 a rule was broken or a bar missed, 2 usage,
//! 3 the environment failed.

use std::path::PathBuf;
use std::process::ExitCode;

use chaos::cluster::{self, Cache, Part, Progress, State};
use clap::{Parser, Subcommand};

/// An embedded Kubernetes cluster for pgsteer, and the faults that it can suffer.
#[derive(Debug, Parser)]
#[command(name = "chaos", version)]
struct Arguments {
    /// Where built things are kept. Default: pgsteer in the user's cache directory.
    #[arg(long, global = true, env = "PGSTEER_CACHE")]
    cache: Option<PathBuf>,
    /// Where the running cluster lives. Default: state in the cache.
    #[arg(long, global = true, env = "PGSTEER_STATE")]
    state: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the pinned Kubernetes programs (about 9 minutes the first time, nothing to do after that).
    Build {
        /// Only etcd, the API server, kubectl and helm: enough for `--nodes 0` and `make check`.
        #[arg(long)]
        control_plane: bool,
    },
}

/// The environment failed; nothing is known of pgsteer.
const ENVIRONMENT_FAILED: u8 = 3;

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { cache, state, command } = Arguments::parse();
    let (default_cache, default_state) = cluster::from_environment();
    let cache = cache.map_or(default_cache, |given| Cache::choose(Some(given), None, None));
    let _state = state.map_or(default_state, |given| State::choose(Some(given), &cache));
    let outcome = match command {
        Command::Build { control_plane } => {
            let part = if control_plane { Part::ControlPlane } else { Part::All };
            cluster::build(&cache, part, Progress::Told).await.map(drop)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chaos: {:#}", anyhow::Error::from(error));
            ExitCode::from(ENVIRONMENT_FAILED)
        }
    }
}
