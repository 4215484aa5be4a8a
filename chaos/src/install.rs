//! Puts pgsteer and one of the examples into a running cluster, from the very files that users install: into the embedded one with
//! `kubectl apply` and for every namespace, into one of the user's own with the chart and for the namespace of the pair of two Deployments alone.
//!
//! ```text
//! images -> deploy/install.yaml or the chart -> replicas ready -> deploy/examples: secrets.sh, one folder -> Settled
//! ```

pub mod example;
mod kubectl;

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::Api;
use kube::api::ListParams;
use shared::route::PostgresRoute;
use shared::status::ConditionType;

pub use example::Example;
pub use kubectl::Kubectl;

use crate::cluster::{self, Cache, Cluster, OwnImage, Progress};
use crate::ground::{Ground, Images};
use crate::wait::{TimedOut, wait_for};

/// Where `deploy/install.yaml` puts the controller.
pub const SYSTEM: &str = "pgsteer-system";
/// The controller's Deployment.
pub const CONTROLLER: &str = "pgsteer";
/// Where the example of two Deployments lives.
pub const NAMESPACE: &str = "pg";
/// The route of every example.
pub const ROUTE: &str = "pg-ha";
/// The label that the examples' routes use for the role.
pub const ROLE: &str = "role";
/// The value of the role label of the pod that takes writes.
pub const PRIMARY: &str = "primary";
/// The value of the role label of a pod that serves reads.
pub const REPLICA: &str = "replica";
/// The value of the role label of a pod that takes writes and is in neither Service.
pub const ORPHAN: &str = "orphan";
/// What an example's pods have in common.
pub const PODS: &str = "deployment_name=pg_ha";
/// An example's Service for writes.
pub const WRITES: &str = "pg-service-primary";
/// An example's Service for reads.
pub const READS: &str = "pg-service-replica";

/// Prints an example's Secrets.
const SECRETS: &str = "deploy/examples/secrets.sh";

/// An example's files: its namespace comes first, so that its Secrets can be made before its pods look for them.
const EXAMPLE_NAMESPACE: &str = "1-namespace.yaml";
const EXAMPLE_FILES: &[&str] = &[
    "2-access.yaml",
    "3-config.yaml",
    "4-services.yaml",
    "5-nodes.yaml",
    ROUTE_FILE,
];
/// What makes pgsteer look after an example.
const ROUTE_FILE: &str = "6-route.yaml";

/// What two idle cores take; for the progress lines only.
const READY_ESTIMATE: Duration = Duration::from_secs(5);
const SETTLED_ESTIMATE: Duration = Duration::from_secs(15);

/// A replica is ready within seconds; images are on the nodes already.
const READY_LIMIT: Duration = Duration::from_mins(2);
/// `initdb`, a clone and the first grants take 15 s on an idle host; a busy one was seen to take four times that.
const SETTLED_LIMIT: Duration = Duration::from_mins(3);

/// The installation did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster or the host failed; nothing is known of pgsteer.
    #[error(transparent)]
    Environment(#[from] cluster::Error),
    /// What was installed does not do what it should. Holds what the cluster says about it.
    #[error("what was installed does not work\n{diagnosis}")]
    NotWorking {
        /// What was waited for.
        #[source]
        missing: TimedOut,
        /// The route, the pods, and the last lines of the controllers' logs.
        diagnosis: String,
    },
}

/// What installs, and where to.
#[derive(Debug)]
pub struct Installation<'a> {
    /// The running cluster.
    pub ground: &'a Ground,
    /// What is installed beside pgsteer.
    pub example: Example,
    /// Holds the images.
    pub cache: &'a Cache,
    /// This project's folder.
    pub project: &'a Path,
    /// Who hears of the steps.
    pub progress: Progress,
}

impl Installation<'_> {
    /// Installs all, and waits until the route is Settled with a primary and a replica. Doing it twice changes nothing. Returns the names
    /// under which the nodes have this project's images.
    pub async fn run(&self) -> Result<Images, Error> {
        if let Ground::Yours(guest) = self.ground {
            guest.check_may_install().await?;
        }
        let needed = ["controller", "client", self.example.image];
        let needed: Vec<OwnImage> = needed.into_iter().filter_map(OwnImage::find).collect();
        let delivery = self.ground.deliver(&needed, self.cache, self.project, self.progress);
        let images = delivery.await?;
        let step = self
            .progress
            .step("install pgsteer, wait for its replicas", READY_ESTIMATE);
        match self.ground {
            Ground::Embedded(_) => self.apply("deploy/install.yaml", &images).await?,
            Ground::Yours(guest) => guest.install(self.ground.kubectl(), self.project, &images).await?,
        }
        self.wait_for_replicas().await?;
        step.done();
        self.install_example(&images).await?;
        Ok(images)
    }

    /// Whether another example is where this one is to be.
    async fn is_taken(&self) -> Result<bool, Error> {
        let kinds = "deployments,statefulsets";
        let words = ["-n", self.example.namespace, "get", kinds, "-o", "name"];
        let found = self.ground.kubectl().run(&words, None).await?;
        let found = String::from_utf8_lossy(&found).into_owned();
        let others = example::EXAMPLES
            .iter()
            .filter(|other| other.directory != self.example.directory);
        Ok(others
            .map(|other| other.known_by)
            .any(|known| found.lines().any(|line| line == known)))
    }

    /// Installs the example beside what is there, and waits until its route is Settled.
    async fn install_example(&self, images: &Images) -> Result<(), Error> {
        let Example { directory, .. } = self.example;
        let step = format!("install {directory}, wait until Settled");
        let step = self.progress.step(step, SETTLED_ESTIMATE);
        self.apply(&self.example.file(self.project, EXAMPLE_NAMESPACE), images)
            .await?;
        self.secrets().await?;
        match self.ground {
            Ground::Embedded(cluster) if self.is_taken().await? => self.remake(cluster, images).await?,
            Ground::Embedded(_) | Ground::Yours(_) => self.apply_example(images).await?,
        }
        self.wait_until_settled(SETTLED_LIMIT).await?;
        step.done();
        Ok(())
    }

    /// Installs the example beside what is there, with what is changed in its files; its route only where pgsteer is to look after it. Waits
    /// for nothing.
    pub async fn install_beside(
        &self,
        images: &Images,
        is_routed: bool,
        change: impl Fn(String) -> String,
    ) -> Result<(), Error> {
        self.apply(&self.example.file(self.project, EXAMPLE_NAMESPACE), images)
            .await?;
        self.secrets().await?;
        for file in EXAMPLE_FILES.iter().filter(|file| is_routed || **file != ROUTE_FILE) {
            let manifest = self.manifest(&self.example.file(self.project, file), images)?;
            let manifest = change(manifest).into_bytes();
            self.ground.kubectl().run(&["apply", "-f", "-"], Some(manifest)).await?;
        }
        Ok(())
    }

    /// A file of the project as it is applied. Where it names an image of ours, it is given the name that the nodes know.
    pub fn manifest(&self, path: &str, images: &Images) -> Result<String, Error> {
        let path = self.project.join(path);
        let manifest = std::fs::read_to_string(&path).map_err(cluster::Error::io("read", &path))?;
        Ok(images.put_into(&self.example.put_into(&manifest)))
    }

    /// Applies a file of the project.
    async fn apply(&self, path: &str, images: &Images) -> Result<(), Error> {
        let manifest = self.manifest(path, images)?.into_bytes();
        self.ground.kubectl().run(&["apply", "-f", "-"], Some(manifest)).await?;
        Ok(())
    }

    /// Makes the example's Secrets once: they are immutable, and the servers are born with them.
    async fn secrets(&self) -> Result<(), Error> {
        let secrets: Api<Secret> = Api::namespaced(self.ground.client(), self.example.namespace);
        let found = secrets.get_opt("pg-tls").await;
        if found
            .map_err(cluster::Error::api("look for the Secret pg-tls"))?
            .is_some()
        {
            return Ok(());
        }
        let mut script = std::process::Command::new(self.project.join(SECRETS));
        script.arg(self.example.namespace);
        let printed = kubectl::run(script, None).await?;
        self.ground.kubectl().run(&["apply", "-f", "-"], Some(printed)).await?;
        Ok(())
    }

    async fn wait_for_replicas(&self) -> Result<(), Error> {
        let deployments: Api<Deployment> = Api::namespaced(self.ground.client(), SYSTEM);
        let waited = wait_for("the controller's replicas", READY_LIMIT, || async {
            let found = deployments.get(CONTROLLER).await.map_err(|error| error.to_string())?;
            let wanted = found.spec.and_then(|spec| spec.replicas).unwrap_or(1);
            let ready = found.status.and_then(|status| status.ready_replicas).unwrap_or(0);
            if ready >= wanted {
                Ok(())
            } else {
                Err(format!("{ready} of {wanted} replicas are ready"))
            }
        });
        self.or_diagnosis(waited.await).await
    }

    /// Waits until the route is Settled and has a primary and a replica.
    pub async fn wait_until_settled(&self, limit: Duration) -> Result<(), Error> {
        let waited = wait_for("the route to be Settled", limit, || self.settled());
        self.or_diagnosis(waited.await).await
    }

    /// One look whether the route is Settled and has a primary and a replica; what it lacks, in words.
    pub async fn settled(&self) -> Result<(), String> {
        let routes: Api<PostgresRoute> = Api::namespaced(self.ground.client(), self.example.namespace);
        let route = routes.get(ROUTE).await.map_err(|error| error.to_string())?;
        unsettled(&route).map_or(Ok(()), Err)
    }

    async fn apply_example(&self, images: &Images) -> Result<(), Error> {
        for file in EXAMPLE_FILES {
            self.apply(&self.example.file(self.project, file), images).await?;
        }
        Ok(())
    }

    /// Makes the example anew, on empty volumes and with an empty ledger: what a scenario has left of it goes, and so does another example in
    /// its place. Its Secrets stay.
    pub async fn remake(&self, cluster: &Cluster, images: &Images) -> Result<(), Error> {
        let kubectl = self.ground.kubectl();
        let namespace = self.example.namespace;
        let all = "deployments,statefulsets,postgresroutes,persistentvolumeclaims";
        for words in [
            &["-n", namespace, "delete", all, "--all", "--wait=false"][..],
            &[
                "-n",
                namespace,
                "delete",
                "pods",
                "--all",
                "--grace-period=1",
                "--wait=false",
            ],
        ] {
            kubectl.run(words, None).await?;
        }
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.ground.client(), namespace);
        let emptied = wait_for("the volumes to be empty", SETTLED_LIMIT, || async {
            let left = claims
                .list(&ListParams::default())
                .await
                .map_err(|error| error.to_string())?;
            if left.items.is_empty() {
                // A claim's end reaches its volume a moment later: until then a volume is offered by nobody, and is not taken.
                cluster.recycle_volumes().await.map_err(|error| error.to_string())?;
                cluster.volumes_are_free(namespace).await
            } else {
                Err(format!("{} claims are there", left.items.len()))
            }
        });
        self.or_diagnosis(emptied.await).await?;
        // What is remembered goes last: whoever was at work while its pods were ended may have written it once more. Patroni keeps who leads,
        // and of which system, in ConfigMaps.
        for memory in [
            &["-n", namespace, "delete", "postgresledgers", "--all"][..],
            &["-n", namespace, "delete", "configmaps", "-l", PODS],
        ] {
            kubectl.run(memory, None).await?;
        }
        self.apply_example(images).await
    }

    async fn or_diagnosis<T>(&self, waited: Result<T, TimedOut>) -> Result<T, Error> {
        match waited {
            Ok(found) => Ok(found),
            Err(missing) => Err(Error::NotWorking {
                missing,
                diagnosis: self.ground.kubectl().diagnosis(self.example.namespace).await,
            }),
        }
    }
}

/// What a route lacks of being Settled with a primary and a replica. `None`: nothing.
fn unsettled(route: &PostgresRoute) -> Option<String> {
    let Some(status) = &route.status else {
        return Some("no status yet: no controller has looked at the route".to_owned());
    };
    let settled = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == ConditionType::Settled.to_string());
    match settled {
        None => Some("no condition Settled yet".to_owned()),
        Some(condition) if condition.status != "True" => Some(format!(
            "Settled is {}: {} ({})",
            condition.status, condition.reason, condition.message
        )),
        Some(_) if status.primary.is_none() => Some("there is no primary".to_owned()),
        Some(_) if status.replicas == 0 => Some("there is no replica".to_owned()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn route(status: &Value) -> PostgresRoute {
        let spec = json!({
            "podSelector": {"matchLabels": {"app": "db"}},
            "services": {"primary": "rw", "replica": "ro"},
            "connection": {"user": "pgsteer", "passwordSecret": {"name": "probe", "key": "password"}},
        });
        let route = json!({"apiVersion": "pgsteer.io/v1alpha1", "kind": "PostgresRoute", "metadata": {"name": "db"}, "spec": spec, "status": status});
        serde_json::from_value(route).expect("a route")
    }

    fn settled(status: &str) -> Value {
        json!([{"type": "Settled", "status": status, "reason": "Because", "message": "of this", "lastTransitionTime": "2026-01-01T00:00:00Z"}])
    }

    #[test]
    fn every_file_of_every_example_is_applied() {
        for example in example::EXAMPLES {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(example.path());
            let entries = std::fs::read_dir(folder).expect("the example is there").flatten();
            let manifests = entries
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|kind| kind == "yaml"));
            let mut found: Vec<String> = manifests
                .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
                .collect();
            found.sort();
            assert_eq!(
                found,
                [&[EXAMPLE_NAMESPACE], EXAMPLE_FILES].concat(),
                "{}",
                example.directory
            );
        }
    }

    #[test]
    fn a_variant_takes_the_place_of_what_differs_and_of_nothing_else() {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let pair = example::TWO_DEPLOYMENTS;
        let variant = pair.routed(shared::route::Routing::EndpointSlices);
        let other: Vec<&str> = EXAMPLE_FILES
            .iter()
            .copied()
            .filter(|file| variant.file(&project, file) != pair.file(&project, file))
            .collect();
        assert_eq!(other, ["4-services.yaml", "6-route.yaml"]);
    }

    #[test]
    fn a_route_counts_as_settled_only_with_a_primary_and_a_replica() {
        let cases = [
            (json!({}), Some("no condition Settled")),
            (json!({"conditions": settled("False")}), Some("Because (of this)")),
            (
                json!({"conditions": settled("True"), "replicas": 1}),
                Some("no primary"),
            ),
            (
                json!({"conditions": settled("True"), "primary": "db-0", "replicas": 0}),
                Some("no replica"),
            ),
            (
                json!({"conditions": settled("True"), "primary": "db-0", "replicas": 1}),
                None,
            ),
        ];
        for (status, expected) in cases {
            let missing = unsettled(&route(&status));
            match expected {
                Some(expected) => assert!(
                    missing.as_ref().is_some_and(|missing| missing.contains(expected)),
                    "{status}: {missing:?}"
                ),
                None => assert_eq!(missing, None, "{status}"),
            }
        }
    }
}
