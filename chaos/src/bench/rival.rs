//! `chaos bench-rival`: the two controllers that everybody writes first, as a program in a pod of their own. They keep no session, hold no Lease,
//! know of no order between two writes, and have no fence.
//!
//! ```text
//! textbook: onAdd, onUpdate, resync ─┐
//! polling:  every second ────────────┴─> ask each server anew ─> patch the label that is not as it should be
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::MissedTickBehavior;

use super::client::Credentials;
use crate::console::{POSTGRES_PORT, certificate_name};
use crate::install::{PODS, PRIMARY, REPLICA, ROLE};
use crate::interrupt::interrupted;
use crate::textbook::inform;
use crate::workload::BadStart;
use crate::workload::session::Session;

/// An informer gives its handler every object again this often. Informers of client-go do so every ten hours or never; without it the textbook
/// would not hear of a promotion at all.
const RESYNC: Duration = Duration::from_millis(500);
/// The polling loop's pause.
const POLL: Duration = Duration::from_secs(1);
/// A server that has not answered by then gives no answer.
const ASK_LIMIT: Duration = Duration::from_millis(500);

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// An informer whose handlers ask and patch.
    Textbook,
    /// A loop that asks every second.
    Polling,
}

/// What it looks after.
#[derive(Debug, Clone, Args)]
pub struct BenchRivalArgs {
    /// Which.
    #[arg(value_enum)]
    pub kind: Kind,
    /// The namespace of its pair.
    #[arg(long)]
    pub namespace: String,
    /// File with the probe's password.
    #[arg(long)]
    pub password_file: PathBuf,
    /// File with the certificate authority of the servers.
    #[arg(long)]
    pub ca_file: PathBuf,
}

struct Rival {
    pods: Api<Pod>,
    credentials: Credentials,
    certificate: String,
}

/// Works until SIGTERM.
pub async fn run(args: BenchRivalArgs) -> Result<(), BadStart> {
    let BenchRivalArgs {
        kind,
        namespace,
        password_file,
        ca_file,
    } = args;
    let client = Client::try_default().await.map_err(BadStart::Client)?;
    let rival = Rival {
        pods: Api::namespaced(client, &namespace),
        credentials: Credentials::read("pgsteer".to_owned(), "postgres".to_owned(), &password_file, &ca_file)?,
        certificate: certificate_name(&namespace),
    };
    let working = async {
        match kind {
            Kind::Textbook => rival.inform().await,
            Kind::Polling => rival.poll().await,
        }
    };
    tokio::select! {
        () = working => {}
        () = interrupted() => {}
    }
    Ok(())
}

impl Rival {
    async fn inform(&self) {
        let mut resync = tokio::time::interval(RESYNC);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        inform(self.pods.clone(), resync, async |pod: &Pod| self.handle(pod).await).await;
    }

    async fn poll(&self) {
        let mut pace = tokio::time::interval(POLL);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            match self.pods.list(&ListParams::default().labels(PODS)).await {
                Ok(pods) => {
                    for pod in pods {
                        self.handle(&pod).await;
                    }
                }
                Err(error) => tracing::warn!(%error, "pods not listed"),
            }
        }
    }

    async fn handle(&self, pod: &Pod) {
        let label = pod.labels().get(ROLE).map(String::as_str);
        let role = self.ask(pod).await;
        if role != label {
            let patch = Patch::Merge(json!({"metadata": {"labels": {ROLE: role}}}));
            #[expect(
                clippy::disallowed_methods,
                reason = "these have no writer, no permit and no precondition"
            )]
            let patched = self.pods.patch(&pod.name_any(), &PatchParams::default(), &patch).await;
            if let Err(error) = patched {
                tracing::warn!(%error, pod = pod.name_any(), "label not patched");
            }
        }
    }

    /// The label that the server's answer asks for; none without an answer.
    async fn ask(&self, pod: &Pod) -> Option<&'static str> {
        let address = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
        let login = self
            .credentials
            .login(&self.certificate, SocketAddr::new(address, POSTGRES_PORT));
        let asked = async {
            let session = Session::open(&login, ASK_LIMIT).await.ok()?;
            let rows = session.query("SELECT pg_is_in_recovery()").await.ok()?;
            let in_recovery = rows.first()?.get(0)? == "t";
            session.close().await;
            Some(if in_recovery { REPLICA } else { PRIMARY })
        };
        tokio::time::timeout(ASK_LIMIT, asked).await.ok().flatten()
    }
}
