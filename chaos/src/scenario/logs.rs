//! What the programs have said, kept beside the report of a scenario that failed: the pods are gone by the next one.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt as _};
use tokio::time::timeout;

use crate::cluster::Error;
use crate::install::{NAMESPACE, SYSTEM};

/// So much of each container's log is kept, from its end.
const LINES_MAX: i64 = 2_000;
/// A log that has not come by then stays out: its node may be the victim.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// Not the recording's own clients: their lines are in the recording.
const OF_OTHERS: &str = "app!=chaos-client";

/// Writes the logs of the servers' and the controllers' containers into one file. What cannot be had is said there.
pub(super) async fn keep(client: &Client, file: &Path) -> Result<(), Error> {
    let mut text = String::new();
    for namespace in [NAMESPACE, SYSTEM] {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let listed = pods.list(&ListParams::default().labels(OF_OTHERS)).await;
        let listed = listed.map_err(Error::api(format!("list the pods of {namespace}")))?;
        for pod in listed {
            let name = pod.name_any();
            for previous in [true, false] {
                if previous && !has_restarted(&pod) {
                    continue;
                }
                let which = if previous { ", the container before" } else { "" };
                let said = said(&pods, &name, previous).await;
                // Writing to a String cannot fail.
                writeln!(text, "===== {namespace}/{name}{which}\n{said}").ok();
            }
        }
    }
    std::fs::write(file, text).map_err(Error::io("write", file))
}

fn has_restarted(pod: &Pod) -> bool {
    let statuses = pod.status.iter().flat_map(|status| &status.container_statuses);
    statuses.flatten().any(|container| container.restart_count > 0)
}

async fn said(pods: &Api<Pod>, name: &str, previous: bool) -> String {
    let parameters = LogParams {
        previous,
        tail_lines: Some(LINES_MAX),
        timestamps: true,
        ..LogParams::default()
    };
    match timeout(ANSWERED_WITHIN, pods.logs(name, &parameters)).await {
        Ok(Ok(lines)) => lines,
        Ok(Err(error)) => format!("(its log cannot be had: {error})"),
        Err(_elapsed) => format!("(no log came within {ANSWERED_WITHIN:?})"),
    }
}
