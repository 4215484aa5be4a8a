//! The clients' pods: one writes, one reads, each through the DNS name of its Service. Their logs are followed.

use std::time::Duration;

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, LogParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Journal;
use crate::cluster;
use crate::history::{Event, Happening, Heard};
use crate::host_time::{Clock, HostTime};
use crate::install::{NAMESPACE, READS, WRITES};
use crate::wait::wait_for;
use crate::workload::{Kind, Line};

/// The Services' port.
const PORT: &str = "6432";

/// Every client's pod has it.
const LABEL: &str = "app=chaos-client";

/// A pod whose image is on the node starts within two seconds; a busy host was seen to take ten times that.
const START_LIMIT: Duration = Duration::from_mins(1);

/// How long a log that broke off is left alone before it is followed anew.
const FOLLOWED_EVERY: Duration = Duration::from_millis(250);

/// A client's pod.
#[derive(Debug, Clone)]
pub(super) struct ClientPod {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Where it runs.
    pub(super) node: Option<String>,
}

impl Kind {
    fn verb(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
        }
    }

    fn service_name(self) -> &'static str {
        match self {
            Self::Write => WRITES,
            Self::Read => READS,
        }
    }
}

/// Starts a client and waits until it runs.
pub(super) async fn start(
    client: &Client,
    image: &str,
    kind: Kind,
    node: Option<&str>,
) -> Result<ClientPod, cluster::Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let pod: Pod = serde_json::from_value(pod(kind, image, node)).expect("a pod");
    #[expect(
        clippy::disallowed_methods,
        reason = "a client's pod is none of the controller's objects"
    )]
    let created = pods.create(&PostParams::default(), &pod).await;
    let created = created.map_err(cluster::Error::api(format!("take a pod that {}s", kind.verb())))?;
    let name = created.name_any();
    let what = format!("pod {name} to run");
    let started = wait_for(&what, START_LIMIT, || async {
        let pod = pods.get(&name).await.map_err(|error| error.to_string())?;
        let phase = pod.status.and_then(|status| status.phase).unwrap_or_default();
        let node = pod.spec.and_then(|spec| spec.node_name);
        if phase == "Running" { Ok(node) } else { Err(phase) }
    });
    match started.await {
        Ok(node) => Ok(ClientPod { name, kind, node }),
        Err(timed_out) => {
            remove(client, &name).await;
            Err(cluster::Error::timed_out(timed_out, &[]))
        }
    }
}

/// Ends a client. One that is gone already is no failure.
pub(super) async fn remove(client: &Client, name: &str) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    #[expect(
        clippy::disallowed_methods,
        reason = "a client's pod is none of the controller's objects"
    )]
    let deleted = pods.delete(name, &DeleteParams::default()).await;
    if let Err(error) = deleted {
        tracing::debug!(%error, name, "client's pod not deleted");
    }
}

/// Ends every client, also those of a recording that did not come to its end.
pub async fn remove_all(client: &Client) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let clients = ListParams::default().labels(LABEL);
    let deleted = pods.delete_collection(&DeleteParams::default(), &clients).await;
    if let Err(error) = deleted {
        tracing::debug!(%error, "clients' pods not deleted");
    }
}

/// Whether everything that a client said up to this moment has been heard: a client says something many times a second.
pub(super) fn is_heard(events: &[Event], name: &str, up_to: HostTime) -> bool {
    let mut last = events.iter().rev().filter_map(|event| match &event.what {
        Happening::Client { client, line, .. } if client == name => Some(line.at),
        _ => None,
    });
    last.next().is_some_and(|at| at >= up_to)
}

/// Follows what the clients say, until the set is dropped.
pub(super) fn follow_all(
    tasks: &mut JoinSet<()>,
    client: &Client,
    clock: Clock,
    journal: &Journal,
    clients: &[ClientPod],
) {
    for one in clients {
        let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        tasks.spawn(follow(pods, one.clone(), clock, journal.clone()));
    }
}

/// Follows one client's log. One that breaks off is read again from its beginning, and what is known already is passed over.
async fn follow(pods: Api<Pod>, client: ClientPod, clock: Clock, journal: Journal) {
    let mut last = Last {
        n: 0,
        at: HostTime::now(),
        clock,
    };
    let mut pace = tokio::time::interval(FOLLOWED_EVERY);
    loop {
        pace.tick().await;
        if let Err(error) = follow_once(&pods, &client, &journal, &mut last).await {
            tracing::debug!(%error, pod = client.name, "log broken off");
        }
    }
}

/// The last line that was heard, and what is known of the clock that its stamps are of.
struct Last {
    n: u64,
    at: HostTime,
    clock: Clock,
}

async fn follow_once(pods: &Api<Pod>, client: &ClientPod, journal: &Journal, last: &mut Last) -> Result<(), String> {
    let parameters = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let stream = pods.log_stream(&client.name, &parameters).await;
    let mut lines = stream.map_err(|error| error.to_string())?.lines();
    while let Some(text) = lines.try_next().await.map_err(|error| error.to_string())? {
        match serde_json::from_str::<Line>(&text) {
            Ok(line) if line.n > last.n => hear(client, line, journal, last),
            Ok(_) => {}
            // Not a line of the client's: what it says when it cannot begin.
            Err(_) => journal.record(Happening::Note {
                text: format!("pod {}: {text}", client.name),
            }),
        }
    }
    Ok(())
}

fn hear(client: &ClientPod, line: Line, journal: &Journal, last: &mut Last) {
    if line.n > last.n + 1 {
        journal.record(Happening::Gap {
            of: Heard::Client,
            since: last.at,
            why: format!(
                "lines {} to {} of pod {} were lost",
                last.n + 1,
                line.n - 1,
                client.name
            ),
        });
    }
    last.n = line.n;
    let line = line.in_clock_of(&mut last.clock, HostTime::now());
    last.at = line.at;
    journal.record_at(
        line.at,
        Happening::Client {
            client: client.name.clone(),
            kind: client.kind,
            line,
        },
    );
}

fn pod(kind: Kind, image: &str, node: Option<&str>) -> Value {
    let host = format!("{}.{NAMESPACE}.svc", kind.service_name());
    let args = [
        "workload",
        kind.verb(),
        "--host",
        &host,
        "--port",
        PORT,
        "--user",
        "app",
        "--database",
        "app",
        "--password-file",
        "/secrets/password",
        "--ca-file",
        "/secrets/ca.crt",
    ];
    json!({
        "metadata": {"generateName": format!("chaos-{}-", kind.verb()), "labels": {"app": "chaos-client"}},
        "spec": {
            "restartPolicy": "Never",
            "nodeSelector": node.map(|node| json!({"kubernetes.io/hostname": node})),
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 2,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "client",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": args,
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "secrets", "mountPath": "/secrets", "readOnly": true}],
            }],
            "volumes": [{"name": "secrets", "projected": {"sources": [
                {"secret": {"name": "pg-app", "items": [{"key": "password", "path": "password"}]}},
                {"secret": {"name": "pg-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            ]}}],
        },
    })
}
