//! `pgsteer pause ROUTE` and `pgsteer resume ROUTE`: the leader keeps its hands off a route, and takes it up again.

use std::time::Duration;

use shared::names;

use super::{
    Exit, Failure, accept, answer,
    routes::{ApiServer, AskError, Known, RouteArgs},
};
use crate::reign::RouteKey;

/// Tries to annotate a route that somebody else keeps changing.
const TRIES: usize = 5;

/// Arguments of `pgsteer pause` and `pgsteer resume`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Which route.
    #[command(flatten)]
    pub route: RouteArgs,
    /// How long the leader may take to say that it has seen it
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub wait: Duration,
}

const HELP: &str = "\
While a route is paused its labels and its mark stay as they are, whatever becomes of the servers.

Exit status: 0 the leader has seen it; 1 it has not, in time; 2 wrong usage; 3 could not ask.

Examples:
  pgsteer pause shop/orders
  pgsteer resume shop/orders";

/// Pauses, or takes up again.
pub async fn execute(args: Args, paused: bool) -> Result<Exit, Failure> {
    let Args { route, wait } = args;
    let server = ApiServer::find().await?;
    let key = server.key(&route).map_err(super::usage)?;
    let seen = set(&server, &key, paused, wait).await?;
    answer(&tell(&key, paused, seen, wait))?;
    Ok(if seen { Exit::Yes } else { Exit::No })
}

/// Sets or removes the annotation, and waits until the leader has seen it, at most `wait`; whether it has.
pub async fn set(server: &ApiServer, key: &RouteKey, paused: bool, wait: Duration) -> Result<bool, AskError> {
    let mut done = false;
    for _ in 0..TRIES {
        let known = server.route(key).await?;
        done = known.paused() == paused || {
            let value = paused.then_some("true");
            server.annotate(&known.route, names::PAUSED, value).await?.is_some()
        };
        if done {
            break;
        }
    }
    if !done {
        return Err(AskError::Contended {
            key: key.clone(),
            annotation: names::PAUSED,
        });
    }
    let watch = async {
        while !seen(&server.route(key).await?, paused) {
            accept::pause().await;
        }
        Ok(())
    };
    tokio::time::timeout(wait, watch)
        .await
        .map_or(Ok(false), |seen| seen.map(|()| true))
}

/// Whether a leader says so. A route that is refused, or that no leader has looked at, is not touched anyway.
fn seen(known: &Known, paused: bool) -> bool {
    match known.state() {
        "Paused" => paused,
        "Refused" | "Unknown" => true,
        _ => !paused,
    }
}

fn tell(key: &RouteKey, paused: bool, seen: bool, wait: Duration) -> String {
    match (paused, seen) {
        (true, true) => format!("{key} is paused: its labels stay as they are until `pgsteer resume {key}`\n"),
        (false, true) => format!("{key} is looked after again\n"),
        (_, false) => format!(
            "{key} is annotated, but the leader has not said within {} that it has seen it. See: pgsteer why {key}\n",
            humantime::format_duration(wait)
        ),
    }
}
