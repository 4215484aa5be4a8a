//! Chaos Mesh brings a fault about: an experiment of `deploy/chaos-mesh` is applied, and its status followed.
//!
//! ```text
//! create -> Selected -> AllInjected ---its duration---> AllRecovered -> delete
//!                            `------ one that is over at once (a kill) --^
//! ```
//!
//! Chaos Mesh runs on clusters of the user's own. It is told from a cluster without it by its custom resource definitions.

mod judged;
mod progress;

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};

pub use judged::ChaosMesh;

use self::progress::{Condition, is, missing};
use crate::cluster;
use crate::history::{Part, Target};
use crate::install::SYSTEM;
use crate::wait::{TimedOut, wait_for};

/// The experiments of this project, relative to its folder.
pub const EXPERIMENTS: &str = "deploy/chaos-mesh/experiments";
/// Chaos Mesh's own group of kinds.
const GROUP: &str = "chaos-mesh.org";

/// Chaos Mesh finds the pods and its daemons strike them within seconds; a busy host was given a minute.
const INJECT_LIMIT: Duration = Duration::from_mins(1);
/// After its duration an experiment is taken back within seconds; a pod that was struck may have to be made anew.
const RECOVER_LIMIT: Duration = Duration::from_mins(2);

/// An experiment could not be carried out. Nothing is known of pgsteer by it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster has no Chaos Mesh.
    #[error(
        "Chaos Mesh is not on this cluster: it has no custom resource {resource}; install Chaos Mesh, or play without `--driver chaos-mesh` on the embedded cluster"
    )]
    NotInstalled {
        /// The definition that is missing.
        resource: String,
    },
    /// There is no such experiment, or its file is not one.
    #[error("{} is no experiment: {wrong}", path.display())]
    NoExperiment {
        /// The file.
        path: PathBuf,
        /// Why not.
        wrong: String,
    },
    /// The selector matches no pod: is everything installed, and Settled?
    #[error("no pod in {namespace} has the labels {labels}; is everything installed, and Settled?")]
    NobodySelected {
        /// Where was looked.
        namespace: String,
        /// What was looked for.
        labels: String,
    },
    /// Chaos Mesh did not bring it so far in time. Look at the experiment's events, and whether its controllers and daemons run.
    #[error("Chaos Mesh did not carry {experiment} out; `kubectl describe` it, and look at the pods of Chaos Mesh")]
    Stuck {
        /// Its name.
        experiment: String,
        /// What was waited for.
        #[source]
        missing: TimedOut,
    },
    /// The API server refused or did not answer.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
}

/// One experiment, as its file describes it.
#[derive(Debug, Clone)]
pub struct Experiment {
    object: DynamicObject,
    resource: ApiResource,
    lasts: Option<Duration>,
}

/// How far an experiment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Every selected pod has been struck.
    Injected,
    /// Chaos Mesh has taken everything back, or it was over at once.
    Recovered,
}

impl Experiment {
    /// The experiment called `name` in [`EXPERIMENTS`].
    pub fn find(project: &Path, name: &str) -> Result<Self, Error> {
        let path = project.join(EXPERIMENTS).join(format!("{name}.yaml"));
        let no = |wrong: String| Error::NoExperiment {
            path: path.clone(),
            wrong,
        };
        let text = std::fs::read_to_string(&path).map_err(|error| no(error.to_string()))?;
        Self::parse(&text).map_err(no)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let object: DynamicObject = serde_norway::from_str(text).map_err(|error| error.to_string())?;
        let types = object.types.as_ref().ok_or("it has no kind")?;
        let gvk = types.try_into().map_err(|error| format!("{error}"))?;
        // Chaos Mesh's plurals are its kinds in lower case.
        let resource = ApiResource::from_gvk_with_plural(&gvk, &types.kind.to_lowercase());
        if gvk.group != GROUP {
            return Err(format!("its kind is not of {GROUP}"));
        }
        let lasts = object.data["spec"]["duration"].as_str();
        let lasts = lasts.map(humantime::parse_duration).transpose();
        let lasts = lasts.map_err(|error| format!("its duration: {error}"))?;
        Ok(Self {
            object,
            resource,
            lasts,
        })
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.object.name_any()
    }

    /// The pods that it may strike, as the judge counts them.
    pub async fn targets(&self, client: &Client) -> Result<Vec<Target>, Error> {
        let selector = &self.object.data["spec"]["selector"];
        let namespace = selector["namespaces"][0].as_str().unwrap_or_default();
        let labels: Vec<String> = selector["labelSelectors"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        let labels = labels.join(",");
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let listed = pods.list(&ListParams::default().labels(&labels)).await;
        let listed = listed.map_err(cluster::Error::api("list the pods"))?;
        if listed.items.is_empty() {
            return Err(Error::NobodySelected {
                namespace: namespace.to_owned(),
                labels,
            });
        }
        let part = part(&self.resource.kind, namespace);
        Ok(listed.iter().map(|pod| Target::new(part, pod.name_any())).collect())
    }

    /// Carries it out and hears of its stages, in their order. What it made in the cluster is removed again, also when it got stuck: that
    /// makes Chaos Mesh take back what it has done.
    pub async fn run(&self, client: &Client, came_to: impl FnMut(Stage)) -> Result<(), Error> {
        check_installed(client, &self.resource.plural).await?;
        let api = self.api(client);
        #[expect(
            clippy::disallowed_methods,
            reason = "an experiment is none of the controller's objects"
        )]
        let created = api.create(&PostParams::default(), &self.object).await;
        created.map_err(cluster::Error::api(format!("take {}", self.name())))?;
        let followed = self.follow(&api, came_to).await;
        let removed = self.remove(client).await;
        followed?;
        removed
    }

    /// Removes it from the cluster; for whoever gave up following it.
    pub async fn remove(&self, client: &Client) -> Result<(), Error> {
        #[expect(
            clippy::disallowed_methods,
            reason = "an experiment is none of the controller's objects"
        )]
        let deleted = self.api(client).delete(&self.name(), &DeleteParams::default()).await;
        match deleted {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Ok(_) => Ok(()),
            Err(error) => Err(cluster::Error::api(format!("delete {}", self.name()))(error).into()),
        }
    }

    async fn follow(&self, api: &Api<DynamicObject>, mut came_to: impl FnMut(Stage)) -> Result<(), Error> {
        self.until(api, "pods to be selected", Condition::Selected, INJECT_LIMIT)
            .await?;
        self.until(api, "the fault to be injected", Condition::AllInjected, INJECT_LIMIT)
            .await?;
        came_to(Stage::Injected);
        if let Some(lasts) = self.lasts {
            let limit = lasts + RECOVER_LIMIT;
            self.until(api, "the fault to be taken back", Condition::AllRecovered, limit)
                .await?;
        }
        came_to(Stage::Recovered);
        Ok(())
    }

    async fn until(
        &self,
        api: &Api<DynamicObject>,
        what: &str,
        condition: Condition,
        limit: Duration,
    ) -> Result<(), Error> {
        let name = self.name();
        let waited = wait_for(what, limit, || async {
            let object = api.get(&name).await.map_err(|error| error.to_string())?;
            if is(&object.data["status"], condition) {
                Ok(())
            } else {
                Err(missing(&object.data["status"]))
            }
        });
        waited.await.map_err(|missing| Error::Stuck {
            experiment: name.clone(),
            missing,
        })
    }

    fn api(&self, client: &Client) -> Api<DynamicObject> {
        let namespace = self.object.namespace().unwrap_or_default();
        Api::namespaced_with(client.clone(), &namespace, &self.resource)
    }
}

/// The kind that every installation of Chaos Mesh has.
const PODS_ARE_STRUCK: &str = "podchaos";

/// Fails where the cluster does not know this kind of experiment.
async fn check_installed(client: &Client, plural: &str) -> Result<(), Error> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = format!("{plural}.{GROUP}");
    let found = definitions.get_opt(&name).await;
    match found.map_err(cluster::Error::api(format!("show {name}")))? {
        Some(_) => Ok(()),
        None => Err(Error::NotInstalled { resource: name }),
    }
}

/// The names of all experiments of this project, in order.
pub fn experiments(project: &Path) -> Result<Vec<String>, Error> {
    let folder = project.join(EXPERIMENTS);
    let entries = std::fs::read_dir(&folder).map_err(cluster::Error::io("read", &folder))?;
    let files = entries.flatten().map(|entry| entry.path());
    let mut names: Vec<String> = files
        .filter(|path| path.extension().is_some_and(|kind| kind == "yaml"))
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// What the judge makes allowances for when a kind of experiment strikes the pods of a namespace.
fn part(kind: &str, namespace: &str) -> Part {
    match kind {
        "NetworkChaos" => Part::Network,
        "TimeChaos" => Part::Clock,
        _ if namespace == SYSTEM => Part::Controller,
        _ => Part::Server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn every_experiment_of_the_project_is_found_by_its_files_name() {
        let names = experiments(&project()).expect("they are there");
        for name in &names {
            let experiment = Experiment::find(&project(), name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(experiment.name(), *name);
        }
        assert!(names.len() >= 10, "{names:?}");
    }

    #[test]
    fn a_kill_is_over_at_once_and_a_partition_lasts() {
        let lasts = |name| Experiment::find(&project(), name).expect("it is there").lasts;
        assert_eq!(lasts("primary-pod-killed"), None);
        assert_eq!(lasts("pair-partitioned"), Some(Duration::from_secs(30)));
    }

    #[test]
    fn another_kind_is_no_experiment() {
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n";
        assert!(Experiment::parse(pod).expect_err("refused").contains(GROUP));
        assert!(matches!(
            Experiment::find(&project(), "no-such"),
            Err(Error::NoExperiment { .. })
        ));
    }
}
