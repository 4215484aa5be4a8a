//! The pairs of servers that are measured, a namespace each: who labels them, what stands beside them, and whether one is sound.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use shared::names::SLICE_SERVICE;
use shared::route::Routing;

use super::cell::Pair;
use super::client::TABLE;
use super::{audit, manifest};
use crate::cluster::Error;
use crate::console::{Keys, Server, certificate_name, servers_in};
use crate::fault::PodRef;
use crate::ground::{Ground, Images};
use crate::install::example::{PATRONI, TWO_DEPLOYMENTS};
use crate::install::{self, Example, Installation, PRIMARY, REPLICA, ROLE, WRITES};
use crate::wait::{TimedOut, wait_for};

/// initdb, a clone, the first labels: fifteen idle seconds; several pairs at once share two cores.
const SOUND_LIMIT: Duration = Duration::from_mins(5);
/// A server that was killed streams again within four seconds, one that has to be cloned within ten.
pub(super) const MENDED_LIMIT: Duration = Duration::from_mins(2);

impl Pair {
    /// Its namespace.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Labels => install::NAMESPACE,
            Self::Slices => "pg-slices",
            Self::Textbook => "pg-textbook",
            Self::Polling => "pg-polling",
            Self::Patroni => "patroni",
            Self::PatroniTuned => "patroni-tuned",
        }
    }

    /// What is installed there.
    pub(super) fn example(self) -> Example {
        let plain = TWO_DEPLOYMENTS.within(self.namespace());
        match self {
            Self::Labels | Self::Textbook | Self::Polling => plain,
            Self::Slices => plain.routed(Routing::EndpointSlices),
            Self::Patroni | Self::PatroniTuned => PATRONI.within(self.namespace()),
        }
    }

    /// Whether pgsteer looks after it.
    fn is_routed(self) -> bool {
        matches!(self, Self::Labels | Self::Slices)
    }

    /// The rival of ours that labels it.
    fn rival(self) -> Option<&'static str> {
        match self {
            Self::Textbook => Some("textbook"),
            Self::Polling => Some("polling"),
            Self::Labels | Self::Slices | Self::Patroni | Self::PatroniTuned => None,
        }
    }

    /// A file of its example, as it is measured: Patroni labels what its Services select, which is its own default.
    fn change(self, manifest: String) -> String {
        let labelling = |manifest: String| manifest.replace("role_label: patroni-role", &format!("role_label: {ROLE}"));
        match self {
            Self::Labels | Self::Slices | Self::Textbook | Self::Polling => manifest,
            Self::Patroni => labelling(manifest),
            Self::PatroniTuned => labelling(manifest)
                .replace("ttl: 30\n", "ttl: 20\n")
                .replace("loop_wait: 10\n", "loop_wait: 1\n")
                .replace("retry_timeout: 10\n", "retry_timeout: 3\n"),
        }
    }
}

/// A pair that is there.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) pair: Pair,
    pub(super) keys: Keys,
    /// Where its client waits.
    pub(super) client: SocketAddr,
}

/// Who is what on a pair that is sound.
#[derive(Debug, Clone)]
pub(super) struct Sides {
    pub(super) primary: (Server, PodRef),
    pub(super) standby: (Server, PodRef),
    /// The write Service's slices.
    pub(super) slices: BTreeMap<String, BTreeSet<String>>,
}

/// What installs pairs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Yard<'a> {
    pub(super) ground: &'a Ground,
    pub(super) cache: &'a crate::cluster::Cache,
    pub(super) project: &'a Path,
    pub(super) images: &'a Images,
}

impl Yard<'_> {
    /// Installs a pair with its client and its rival, and waits until it is sound.
    pub(super) async fn install(&self, pair: Pair) -> Result<Ready, install::Error> {
        let installation = Installation {
            ground: self.ground,
            example: pair.example(),
            cache: self.cache,
            project: self.project,
            progress: crate::cluster::Progress::Silent,
        };
        installation
            .install_beside(self.images, pair.is_routed(), |manifest| pair.change(manifest))
            .await?;
        self.apply(&manifest::client(pair.namespace(), self.images.name("client")))
            .await?;
        if let Some(rival) = pair.rival() {
            self.apply(&manifest::rival(pair.namespace(), self.images.name("client"), rival))
                .await?;
        }
        let kube = self.ground.client();
        let ready = Ready {
            pair,
            keys: Keys::read_in(&kube, pair.namespace()).await?,
            client: self.client_address(pair).await?,
        };
        let sides = self.sound(&ready, SOUND_LIMIT).await.map_err(environment)?;
        self.prepare_table(&ready, &sides).await?;
        Ok(ready)
    }

    pub(super) async fn apply(&self, manifests: &[Value]) -> Result<(), Error> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests});
        let input = Some(list.to_string().into_bytes());
        self.ground.kubectl().run(&["apply", "-f", "-"], input).await.map(drop)
    }

    async fn client_address(&self, pair: Pair) -> Result<SocketAddr, install::Error> {
        let pods: Api<Pod> = Api::namespaced(self.ground.client(), pair.namespace());
        let address = wait_for("the client's pod", SOUND_LIMIT, || async {
            let pod = pods.get(manifest::CLIENT).await.map_err(|error| error.to_string())?;
            let status = pod.status.unwrap_or_default();
            if status.phase.as_deref() != Some("Running") {
                return Err(format!("it is {}", status.phase.unwrap_or_default()));
            }
            let address: Option<IpAddr> = status.pod_ip.and_then(|address| address.parse().ok());
            address.ok_or_else(|| "it has no address".to_owned())
        });
        let address = address.await.map_err(environment)?;
        Ok(SocketAddr::new(address, manifest::CLIENT_PORT))
    }

    async fn prepare_table(&self, ready: &Ready, sides: &Sides) -> Result<(), Error> {
        let console = ready.keys.open(self.ground, &sides.primary.0, "app").await?;
        let statement = format!(
            "CREATE TABLE IF NOT EXISTS {TABLE} (at timestamptz NOT NULL DEFAULT clock_timestamp()); ALTER TABLE {TABLE} OWNER TO app"
        );
        console.ask(&statement).await.map(drop)
    }

    /// Waits until one server is primary by its own word, its label and the slices, and the other one a replica that streams from it.
    pub(super) async fn sound(&self, ready: &Ready, limit: Duration) -> Result<Sides, TimedOut> {
        let what = format!("the pair of {} to be sound", ready.pair.namespace());
        wait_for(&what, limit, || self.look(ready)).await
    }

    async fn look(&self, ready: &Ready) -> Result<Sides, String> {
        let (kube, namespace) = (self.ground.client(), ready.pair.namespace());
        let told = |error: Error| error.to_string();
        let (mut primary, mut standby) = (None, None);
        for (server, pod) in servers_in(&kube, namespace).await.map_err(told)? {
            let side = PodRef::of(&pod).map(|pod| (server, pod));
            match pod.labels().get(ROLE).map(String::as_str) {
                Some(PRIMARY) if primary.is_some() => return Err("two pods are labelled primary".to_owned()),
                Some(PRIMARY) => primary = side,
                Some(REPLICA) => standby = side,
                _ => return Err(format!("{} has no role", server_name(&pod))),
            }
        }
        let (primary, standby) = primary
            .zip(standby)
            .ok_or("a primary and a replica are not both labelled")?;
        let slices = slices(&kube, namespace).await?;
        let listed: BTreeSet<&String> = slices.values().flatten().collect();
        if listed.len() != 1 || !listed.contains(&primary.0.address) {
            return Err(format!("{WRITES} leads to {listed:?}"));
        }
        let console = ready
            .keys
            .open(self.ground, &primary.0, "postgres")
            .await
            .map_err(told)?;
        match console.ask(STREAMS).await.map_err(told)?.as_str() {
            "streaming" => Ok(Sides {
                primary,
                standby,
                slices,
            }),
            other => Err(format!("{}: {other}", primary.0.pod)),
        }
    }
}

const STREAMS: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN 'in recovery' ELSE \
    coalesce((SELECT state FROM pg_stat_replication WHERE application_name !~ 'basebackup' AND replay_lsn >= pg_current_wal_flush_lsn() LIMIT 1), \
    'nobody follows closely') END";

fn server_name(pod: &Pod) -> String {
    pod.name_any()
}

async fn slices(kube: &kube::Client, namespace: &str) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let api: Api<EndpointSlice> = Api::namespaced(kube.clone(), namespace);
    let of_writes = ListParams::default().labels(&format!("{SLICE_SERVICE}={WRITES}"));
    let listed = api.list(&of_writes).await.map_err(|error| error.to_string())?;
    let ready = |slice: &EndpointSlice| audit::ready(&json!(slice)).unwrap_or_default();
    Ok(listed.iter().map(|slice| (slice.name_any(), ready(slice))).collect())
}

fn environment(timed_out: TimedOut) -> Error {
    Error::timed_out(timed_out, &[])
}

/// The name in the certificate of a pair's servers.
pub(super) fn certificate(pair: Pair) -> String {
    certificate_name(pair.namespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(PATRONI.file(Path::new("."), name));
        std::fs::read_to_string(path).expect("the example is there")
    }

    #[test]
    fn patroni_is_measured_with_its_own_label_and_the_settings_that_are_said() {
        let settings = |pair: Pair| pair.change(file("3-config.yaml"));
        let (plain, tuned) = (settings(Pair::Patroni), settings(Pair::PatroniTuned));
        for manifest in [&plain, &tuned] {
            assert!(manifest.contains("role_label: role\n"));
        }
        for (setting, in_plain, in_tuned) in [("ttl", 30, 20), ("loop_wait", 10, 1), ("retry_timeout", 10, 3)] {
            assert!(plain.contains(&format!(" {setting}: {in_plain}\n")), "{setting}");
            assert!(tuned.contains(&format!(" {setting}: {in_tuned}\n")), "{setting}");
        }
        assert!(
            file("4-services.yaml").contains("role: primary\n"),
            "its Service selects that label"
        );
    }
}
