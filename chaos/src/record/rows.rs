//! The clients' table: emptied before a recording, read after it; and the one setting of the route that the judge needs.

use std::ops::RangeInclusive;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use shared::route::PostgresRoute;

use crate::cluster::{self, Error};
use crate::console::Server;
use crate::console::{Console, Keys, servers};
use crate::ground::Ground;
use crate::history::Rows;
use crate::host_time::HostTime;
use crate::install::{NAMESPACE, PRIMARY, ROLE, ROUTE};
use crate::wait::wait_for;

/// The database of the clients.
const DATABASE: &str = "app";

/// A controller that has just been put back labels within seconds; a server that has just been promoted, too.
const PRIMARY_LIMIT: Duration = Duration::from_mins(1);

/// Makes the table where there is none, empty.
pub(super) async fn prepare(ground: &Ground, keys: &Keys) -> Result<(), Error> {
    let opened = wait_for("one pod labelled primary that takes writes", PRIMARY_LIMIT, || async {
        let primary = primary(ground).await?;
        let opened = keys.open(ground, &primary, DATABASE).await;
        let console = opened.map_err(|error| error.to_string())?;
        // Where the controllers were away the labels are those that they left.
        match console.ask("SELECT pg_is_in_recovery()").await {
            Ok(answer) if answer == "f" => Ok(console),
            Ok(_) => Err(format!("{} is in recovery", primary.pod)),
            Err(error) => Err(error.to_string()),
        }
    });
    let console = opened.await.map_err(|timed_out| Error::timed_out(timed_out, &[]))?;
    // Dropped, not emptied: a table of an earlier version of this program may have other columns.
    console
        .ask(
            "DROP TABLE IF EXISTS writes; \
             CREATE TABLE writes (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp()); \
             ALTER TABLE writes OWNER TO app",
        )
        .await
        .map(drop)
}

/// The one server whose pod is labelled primary; why there is none, in words.
async fn primary(ground: &Ground) -> Result<Server, String> {
    let is_primary = |pod: &Pod| {
        let labels = pod.metadata.labels.as_ref();
        labels
            .and_then(|labels| labels.get(ROLE))
            .is_some_and(|role| role == PRIMARY)
    };
    let servers = servers(&ground.client()).await.map_err(|error| error.to_string())?;
    let labelled = servers.into_iter().filter(|(_, pod)| is_primary(pod));
    let mut labelled: Vec<Server> = labelled.map(|(server, _)| server).collect();
    match (labelled.pop(), labelled.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err("no pod is labelled primary".to_owned()),
        (Some(_), others) => Err(format!("{} pods are labelled primary", others + 1)),
    }
}

/// The rows that a server holds.
pub(super) async fn read(ground: &Ground, keys: &Keys, server: &Server) -> Result<Rows, Error> {
    let console = keys.open(ground, server, DATABASE).await?;
    let ask = async |sql: &'static str| console.ask(sql).await;
    Ok(Rows {
        pod: server.pod.clone(),
        system: ask("SELECT system_identifier FROM pg_control_system()").await?,
        timeline: ask("SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int")
            .await?
            .parse()
            .unwrap_or_default(),
        asked: Some(HostTime::now()),
        ids: ranges(&console).await?,
    })
}

async fn ranges(console: &Console) -> Result<Vec<RangeInclusive<u64>>, Error> {
    let rows = console
        .rows(
            "SELECT min(id), max(id) FROM (SELECT id, id - row_number() OVER (ORDER BY id) AS island FROM writes) AS rows \
             GROUP BY island ORDER BY 1",
        )
        .await?;
    let range = |row: &tokio_postgres::SimpleQueryRow| Some(row.get(0)?.parse().ok()?..=row.get(1)?.parse().ok()?);
    Ok(rows.iter().filter_map(range).collect())
}

/// The route's `probe.silentAfter`.
pub(super) async fn silent_after(client: &Client) -> Result<Duration, Error> {
    let routes: Api<PostgresRoute> = Api::namespaced(client.clone(), NAMESPACE);
    let route = routes.get(ROUTE).await;
    let route = route.map_err(cluster::Error::api(format!("show PostgresRoute {ROUTE}")))?;
    Ok(route.spec.probe.silent_after.0)
}
