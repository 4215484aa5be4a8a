//! The clients' pods: one writes, one reads, each through the DNS name of its Service. Their logs are followed.

use std::time::Duration;

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, LogParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::history::History;
use crate::cluster;
use crate::ground::Ground;
use crate::host_time::{Clock, HostTime};
use crate::install::{NAMESPACE, READS, WRITES};
use crate::timeline::Happening;
use crate::wait::wait_for;
use crate::workload::{Kind, Line};

/// The Services' port.
const PORT: &str = "6432";

/// A pod whose image is on the node starts within two seconds; a busy host was seen to take ten times that.
const START_LIMIT: Duration = Duration::from_mins(1);

/// How often a log that broke off is followed anew: more often than the API server or a kubelet restarts in a run.
const FOLLOWS_MAX: usize = 20;

impl Kind {
    fn pod(self) -> &'static str {
        match self {
            Self::Write => "writer",
            Self::Read => "reader",
        }
    }

    fn service(self) -> &'static str {
        match self {
            Self::Write => WRITES,
            Self::Read => READS,
        }
    }
}

/// Starts a client and follows what it says until the set is dropped.
pub(super) async fn start(
    tasks: &mut JoinSet<()>,
    ground: &Ground,
    image: &str,
    history: &History,
    kind: Kind,
) -> Result<(), cluster::Error> {
    let pods: Api<Pod> = Api::namespaced(ground.client(), NAMESPACE);
    let pod: Pod = serde_json::from_value(pod(kind, image)).expect("a pod");
    #[expect(
        clippy::disallowed_methods,
        reason = "a client's pod is none of the controller's objects"
    )]
    let created = pods.create(&PostParams::default(), &pod).await;
    created.map_err(cluster::Error::api(format!("take the pod {}", kind.pod())))?;
    let what = format!("pod {} to run", kind.pod());
    let started = wait_for(&what, START_LIMIT, || async {
        let pod = pods.get(kind.pod()).await.map_err(|error| error.to_string())?;
        let phase = pod.status.and_then(|status| status.phase).unwrap_or_default();
        if phase == "Running" { Ok(()) } else { Err(phase) }
    });
    started
        .await
        .map_err(|timed_out| cluster::Error::timed_out(timed_out, &[]))?;
    let clock = if ground.has_clocks_of_its_own() {
        Clock::foreign()
    } else {
        Clock::Ours
    };
    tasks.spawn(follow(pods, kind, clock, history.clone()));
    Ok(())
}

/// Ends the clients of a cluster that is left running.
pub(super) async fn remove(client: &Client) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    for kind in [Kind::Write, Kind::Read] {
        #[expect(
            clippy::disallowed_methods,
            reason = "a client's pod is none of the controller's objects"
        )]
        let deleted = pods.delete(kind.pod(), &DeleteParams::default()).await;
        // One that was never made is gone as well.
        drop(deleted);
    }
}

fn pod(kind: Kind, image: &str) -> Value {
    let host = format!("{}.{NAMESPACE}.svc", kind.service());
    let word = match kind {
        Kind::Write => "write",
        Kind::Read => "read",
    };
    let args = [
        "workload",
        word,
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
        "metadata": {"name": kind.pod(), "labels": {"app": "chaos-client"}},
        "spec": {
            "restartPolicy": "Never",
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

/// Follows a client's log. One that breaks off is read again from its beginning, and what is known already is passed over.
async fn follow(pods: Api<Pod>, kind: Kind, mut clock: Clock, history: History) {
    let mut last = 0;
    for _ in 0..FOLLOWS_MAX {
        if let Err(error) = follow_once(&pods, kind, &mut clock, &history, &mut last).await {
            tracing::debug!(%error, pod = kind.pod(), "log broken off");
        }
    }
    history.did(format!(
        "the log of pod {} has ended; nothing more is known of it",
        kind.pod()
    ));
}

async fn follow_once(
    pods: &Api<Pod>,
    kind: Kind,
    clock: &mut Clock,
    history: &History,
    last: &mut u64,
) -> Result<(), String> {
    let parameters = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let stream = pods.log_stream(kind.pod(), &parameters).await;
    let mut lines = stream.map_err(|error| error.to_string())?.lines();
    while let Some(text) = lines.try_next().await.map_err(|error| error.to_string())? {
        match serde_json::from_str::<Line>(&text) {
            Ok(line) if line.n > *last => {
                *last = line.n;
                let line = line.in_clock_of(clock, HostTime::now());
                history.record(Happening::Client { kind, line });
            }
            Ok(_) => {}
            // Not a line of the client's: what it says when it cannot begin.
            Err(_) => history.did(format!("pod {}: {text}", kind.pod())),
        }
    }
    Ok(())
}
