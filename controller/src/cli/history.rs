//! `pgsteer history ROUTE`: the last changes of the primary, from the ledger.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use shared::ledger::{SWITCHES_KEPT, Switch};

use super::{
    Exit, Failure, answer,
    routes::{ApiServer, RouteArgs, complete},
    status::Output,
    text::{self, Cell},
};

/// Arguments of `pgsteer history`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Which route.
    #[command(flatten)]
    pub route: RouteArgs,
    /// How the answer is printed
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

const HELP: &str = "\
Times with a + count from the first sighting that differed: until the old primary's role was off, the new one's was on, and the write
Service's endpoints had followed. OUTAGE is how long nobody could write through the Service, as the leader saw it; TRACE is the trace that
tells more, where traces are exported. A dash: not known, because the leader changed meanwhile, or it is not over.

The ledger outlives its route: the history of a route that was deleted can still be read.

Exit status: 0 printed; 2 wrong usage; 3 could not ask.

Example:
  pgsteer history shop/orders
  pgsteer history shop/orders -o json";

/// Asks, and prints.
pub async fn execute(args: Args) -> Result<Exit, Failure> {
    let Args { route, output } = args;
    let server = ApiServer::find().await?;
    let key = server.key(&route).map_err(super::usage)?;
    let (ledger, known) = tokio::join!(server.ledger(&key), server.route(&key));
    let switches = match (ledger?, known) {
        (Some(ledger), known) => {
            let status = known.ok().and_then(|known| known.route.status);
            complete(status.as_ref(), ledger.spec.switches)
        }
        // Without a ledger it has to be the route that exists.
        (None, known) => known.map(|_exists| Vec::new())?,
    };
    answer(&match output {
        Output::Table | Output::Wide => print(&switches, text::now()),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&told(&switches))?),
        Output::Yaml => serde_norway::to_string(&told(&switches))?,
    })?;
    Ok(Exit::Yes)
}

fn told(switches: &[Switch]) -> serde_json::Value {
    serde_json::json!({ "switches": switches })
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
        let phases = switch.phases.unwrap_or_default();
        let after = |millis: Option<u32>| text::or_dash(millis.map(|millis| format!("+{}", span(millis))));
        let row = [
            text::moment(&switch.at),
            text::or_dash(switch.from.as_ref()),
            switch.to.clone(),
            switch.timeline.to_string(),
            text::or_dash(switch.cause.as_ref()),
            after(phases.withdrawn_millis),
            after(phases.granted_millis),
            after(phases.followed_millis),
            text::or_dash(phases.write_outage_millis.map(span)),
            text::age(&switch.at, until),
            text::or_dash(switch.trace.as_ref()),
        ];
        rows.push(row.map(Cell::from).to_vec());
        next = Some(&switch.at);
    }
    let headings = [
        "AT",
        "FROM",
        "TO",
        "TL",
        "CAUSE",
        "WITHDRAWN",
        "GRANTED",
        "FOLLOWED",
        "OUTAGE",
        "FOR",
        "TRACE",
    ];
    let mut text = text::table(&headings, &rows);
    if switches.len() >= SWITCHES_KEPT {
        text.push_str("older ones are not kept\n");
    }
    text
}

/// Why a switch was and how long its parts took, to follow what it was; nothing where nothing is known.
pub(super) fn in_words(switch: &Switch) -> String {
    let cause = switch.cause.as_ref().map(|cause| format!(", because of {cause:?}"));
    let phases = switch.phases.map(|phases| {
        let part = |name: &str, millis: Option<u32>| millis.map(|millis| format!("{name} after {}", span(millis)));
        let parts = [
            part("withdrawn", phases.withdrawn_millis),
            part("granted", phases.granted_millis),
            part("followed by the endpoints", phases.followed_millis),
            phases
                .write_outage_millis
                .map(|millis| format!("nobody could write for {}", span(millis))),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        format!("\n  {}", parts.join(", "))
    });
    let trace = switch.trace.as_ref().map(|trace| format!("\n  trace {trace}"));
    [cause, phases, trace].into_iter().flatten().collect()
}

fn span(millis: u32) -> String {
    text::short(Duration::from_millis(millis.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn switches_are_listed_with_how_long_each_primary_stayed() {
        let switches: Vec<Switch> = serde_json::from_value(json!([
            {
                "at": "2026-01-10T00:00:00Z", "from": "b", "to": "pg-node1-0", "timeline": 10, "cause": "down",
                "trace": "0af7651916cd43dd8448eb211c80319c",
                "phases": {
                    "withdrawnMillis": 4, "grantedMillis": 1500, "followedMillis": 1530, "settledMillis": 1531,
                    "writeOutageMillis": 1530,
                },
            },
            { "at": "2026-01-09T23:59:00Z", "from": "pg-node1-0", "to": "b", "timeline": 9 },
            { "at": "2026-01-01T00:00:00.25Z", "to": "pg-node1-0", "timeline": 1 },
        ]))
        .unwrap();
        let expected = "\
AT                    FROM        TO          TL  CAUSE  WITHDRAWN  GRANTED  FOLLOWED  OUTAGE  FOR  TRACE
2026-01-10T00:00:00Z  b           pg-node1-0  10  down   +4.0ms     +1.50s   +1.53s    1.53s   5m   0af7651916cd43dd8448eb211c80319c
2026-01-09T23:59:00Z  pg-node1-0  b           9   -      -          -        -         -       60s  -
2026-01-01T00:00:00Z  -           pg-node1-0  1   -      -          -        -         -       8d   -
";
        assert_eq!(print(&switches, "2026-01-10T00:05:00Z".parse().unwrap()), expected);
        assert_eq!(
            in_words(&switches[0]),
            ", because of \"down\"\n  withdrawn after 4.0ms, granted after 1.50s, followed by the endpoints after 1.53s, \
             nobody could write for 1.53s\n  trace 0af7651916cd43dd8448eb211c80319c"
        );
        assert_eq!(in_words(&switches[1]), "");
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
