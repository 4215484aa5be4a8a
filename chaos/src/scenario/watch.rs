//! Whether the example's own promoter has the pair in view. A server that streams is not enough: repmgrd ends when its primary does not
//! answer while it starts, and `pg_auto_failover`'s monitor fails over at once from a primary that has no secondary yet.

use crate::console::{Keys, servers};
use crate::install::{Installation, NAMESPACE};

/// Met when the promoter would do now what it is there for; why not, in words.
pub(super) async fn watched(installation: &Installation<'_>) -> Result<(), String> {
    match installation.example.directory {
        "repmgr" => by_repmgrd(installation).await,
        "pg-auto-failover" => by_the_monitor(installation).await,
        // Patroni's members take part from their start, and the other pair is promoted by the scenario itself.
        _ => Ok(()),
    }
}

/// The longest that repmgrd leaves its primary unasked, twice: in seconds, of `monitor_interval_secs` in the example.
const REPMGRD_SAW_WITHIN: i64 = 4;

const REPMGRD_SAW: &str =
    "SELECT CASE WHEN pg_is_in_recovery() THEN repmgr.get_upstream_last_seen()::text ELSE 'not a standby' END";

/// The standby's repmgrd has heard of its primary a moment ago.
async fn by_repmgrd(installation: &Installation<'_>) -> Result<(), String> {
    let ground = installation.ground;
    let keys = Keys::read(&ground.client()).await.map_err(|error| error.to_string())?;
    let mut told = Vec::new();
    for (server, _) in servers(&ground.client()).await.map_err(|error| error.to_string())? {
        let asked = async {
            let console = keys.open(ground, &server, "repmgr").await?;
            console.ask(REPMGRD_SAW).await
        };
        match asked.await {
            Ok(answer) => match answer.parse::<i64>() {
                // It is -1 until it has seen it once.
                Ok(seconds) if (0..=REPMGRD_SAW_WITHIN).contains(&seconds) => return Ok(()),
                _ => told.push(format!("{}: repmgrd saw its primary {answer} s ago", server.pod)),
            },
            Err(error) => told.push(format!("{}: {error}", server.pod)),
        }
    }
    Err(told.join("; "))
}

const MONITOR: &str = "pg-monitor-0";

const REPORTED: &str =
    "SELECT string_agg(reportedstate || '>' || goalstate, ' ' ORDER BY reportedstate) FROM pgautofailover.node";

/// The monitor has a primary and a secondary, and wants them to be nothing else.
async fn by_the_monitor(installation: &Installation<'_>) -> Result<(), String> {
    #[rustfmt::skip]
    let words = [
        "-n", NAMESPACE, "exec", MONITOR, "-c", "postgres", "--", "psql", "-XAtq", "-d", "pg_auto_failover", "-c", REPORTED,
    ];
    let answered = installation.ground.kubectl().run(&words, None).await;
    let answer = answered.map_err(|error| error.to_string())?;
    match String::from_utf8_lossy(&answer).trim() {
        "primary>primary secondary>secondary" => Ok(()),
        other => Err(format!("pg_auto_failover's monitor has {other:?}")),
    }
}
