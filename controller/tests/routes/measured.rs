//! What a real Prometheus makes of the leader's metrics after a switch: every documented one is there, the exemplar leads to the trace,
//! and no query of the dashboard is empty.

use std::{collections::BTreeMap, path::Path, time::Duration};

use chaos::{prometheus::Prometheus, wait::wait_for};
use controller::clock::{BootClock, Clock as _};
use serde_json::Value;

use crate::{process::Process, world::LIMIT};

/// A rate needs two scrapes, and the dashboard's step is the scrape interval's.
const RATE: &str = "10s";

/// Seconds since 1970.
fn now() -> f64 {
    BootClock.wall().as_duration().as_secs_f64()
}

fn project(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// Name and type of every metric in the tables of docs/metrics.md.
fn documented() -> BTreeMap<String, String> {
    let text = project("docs/metrics.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `pgsteer_"));
    let metrics = rows.filter_map(|row| {
        let mut cells = row.split('|').map(str::trim);
        let name = format!("pgsteer_{}", cells.next()?.trim_end_matches('`'));
        Some((name, cells.next()?.to_owned()))
    });
    metrics.collect()
}

/// The same, as the controller itself shows them.
fn shown(text: &str) -> BTreeMap<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let metrics = types.filter_map(|line| {
        let (name, kind) = line.split_once(' ')?;
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        Some((format!("{name}{suffix}"), kind.to_owned()))
    });
    metrics.collect()
}

/// Every query of the dashboard, with its variables set to everything.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&project("deploy/grafana/pgsteer.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let annotations = dashboard["annotations"]["list"].as_array().unwrap().iter();
    let expressions = targets.chain(annotations).map(|query| query["expr"].as_str().unwrap());
    expressions
        .map(|expression| {
            let filled = ["$namespace", "$route"]
                .iter()
                .fold(expression.to_owned(), |text, name| text.replace(name, ".*"));
            filled.replace("$__rate_interval", RATE).replace("$__range", "5m")
        })
        .collect()
}

/// Checks everything, once `process` has been scraped by `prometheus` through a switch that the trace `trace` tells of.
pub(crate) async fn check(process: &Process, prometheus: &Prometheus, since: f64, trace: &str) {
    let shown = shown(&process.metrics().await.unwrap());
    assert_eq!(
        shown,
        documented(),
        "the first is what the controller shows, the second is docs/metrics.md"
    );

    // Prometheus has a sample of each of them.
    for (name, kind) in documented() {
        let series = if kind == "histogram" {
            format!("{name}_bucket")
        } else {
            name
        };
        has_data(prometheus, &series, since).await;
    }
    for expression in queries() {
        has_data(prometheus, &expression, since).await;
    }
    for histogram in ["pgsteer_switch_seconds_bucket", "pgsteer_write_outage_seconds_bucket"] {
        wait_for("an exemplar that leads to the trace", LIMIT, || async {
            let exemplars = prometheus.exemplars(histogram, since, now() + 1.0).await?;
            let leads = exemplars.iter().any(|exemplar| exemplar["labels"]["trace_id"] == trace);
            if leads {
                Ok(())
            } else {
                Err(format!("{histogram}: {exemplars:?}, not {trace}"))
            }
        })
        .await
        .unwrap();
    }
}

/// Waits until what is only there before a failover has been scraped.
pub(crate) async fn scraped(prometheus: &Prometheus, since: f64) {
    has_data(prometheus, "pgsteer_pod_lag_bytes", since).await;
}

async fn has_data(prometheus: &Prometheus, expression: &str, since: f64) {
    let what = format!("data for {expression}");
    wait_for(&what, LIMIT, || async {
        let series = prometheus
            .range(expression, since, now(), Duration::from_secs(1))
            .await?;
        if series.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
}

/// Seconds since 1970, for [`check`].
pub(crate) fn begin() -> f64 {
    now()
}
