//! `pgsteer history ROUTE`: the last changes of the primary, from the ledger.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use shared::ledger::{SWITCHES_KEPT, Switch};

use super::{
    Exit, Failure, answer,
    routes::{ApiServer, RouteArgs},
    text,
};

/// Arguments of `pgsteer history`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Which route.
    #[command(flatten)]
    pub route: RouteArgs,
}

const HELP: &str = "\
The ledger outlives its route: the history of a route that was deleted can still be read.

Exit status: 0 printed; 2 wrong usage; 3 could not ask.

Example:
  pgsteer history shop/orders";

/// Asks, and prints.
pub async fn execute(args: Args) -> Result<Exit, Failure> {
    let Args { route } = args;
    let server = ApiServer::find().await?;
    let key = server.key(&route).map_err(super::usage)?;
    let switches = match server.ledger(&key).await? {
        Some(ledger) => ledger.spec.switches,
        // Without a ledger it has to be the route that exists.
        None => server.route(&key).await.map(|_exists| Vec::new())?,
    };
    answer(&print(&switches, text::now()))?;
    Ok(Exit::Yes)
}

/// The answer: the newest first, with how long each primary stayed.
pub fn print(switches: &[Switch], now: Timestamp) -> String {
    if switches.is_empty() {
        return "there has been no primary yet\n".to_owned();
    }
    let mut next: Option<&Time> = None;
    let mut rows = Vec::new();
    for switch in switches {
        let until = next.map_or(now, |next| next.0);
        rows.push(vec![
            text::moment(&switch.at),
            text::or_dash(switch.from.as_ref()),
            switch.to.clone(),
            switch.timeline.to_string(),
            text::age(&switch.at, until),
        ]);
        next = Some(&switch.at);
    }
    let mut text = text::table(&["AT", "FROM", "TO", "TL", "FOR"], &rows);
    if switches.len() >= SWITCHES_KEPT {
        text.push_str("older ones are not kept\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn switches_are_listed_with_how_long_each_primary_stayed() {
        let switches: Vec<Switch> = serde_json::from_value(json!([
            { "at": "2026-01-10T00:00:00Z", "from": "b", "to": "pg-node1-0", "timeline": 10 },
            { "at": "2026-01-09T23:59:00Z", "from": "pg-node1-0", "to": "b", "timeline": 9 },
            { "at": "2026-01-01T00:00:00.25Z", "to": "pg-node1-0", "timeline": 1 },
        ]))
        .unwrap();
        let expected = "\
AT                    FROM        TO          TL  FOR
2026-01-10T00:00:00Z  b           pg-node1-0  10  5m
2026-01-09T23:59:00Z  pg-node1-0  b           9   60s
2026-01-01T00:00:00Z  -           pg-node1-0  1   8d
";
        assert_eq!(print(&switches, "2026-01-10T00:05:00Z".parse().unwrap()), expected);
        assert_eq!(print(&[], Timestamp::UNIX_EPOCH), "there has been no primary yet\n");
    }

    #[test]
    fn a_full_ledger_says_that_older_ones_are_gone() {
        let one: Switch =
            serde_json::from_value(json!({ "at": "2026-01-01T00:00:00Z", "to": "a", "timeline": 1 })).unwrap();
        let print = |count| print(&vec![one.clone(); count], Timestamp::UNIX_EPOCH);
        assert!(print(SWITCHES_KEPT).ends_with("older ones are not kept\n"));
        assert!(!print(SWITCHES_KEPT - 1).contains("not kept"));
    }
}
