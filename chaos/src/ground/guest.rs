//! chaos as a guest in a cluster of the user's own: everything goes through the kubeconfig and context that were named, and through
//! the registry; nothing is taken from the environment.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, ResourceExt};

use super::{Images, claim};
use crate::cluster::{Cache, Error, Part, Programs, Progress, Yours};
use crate::install::{CONTROLLER, Kubectl, NAMESPACE, SYSTEM};

/// The chart that is installed.
const CHART: &str = "deploy/chart/pgsteer";
/// Its custom resource definitions, a file each.
const DEFINITIONS: &str = "deploy/crd";
/// Finds every pgsteer of a cluster, whoever installed it.
const ANY_PGSTEER: &str = "app.kubernetes.io/name=pgsteer";

/// The namespaces that a guest makes and works in.
pub(super) const NAMESPACES: [&str; 2] = [SYSTEM, NAMESPACE];

/// Ending the pods of a database takes their grace; a busy cluster takes longer to empty a namespace.
const REMOVE_ESTIMATE: Duration = Duration::from_secs(20);

/// A cluster of the user's own, opened.
pub struct Guest {
    yours: Yours,
    client: Client,
    programs: Programs,
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guest")
            .field("yours", &self.yours)
            .finish_non_exhaustive()
    }
}

impl Guest {
    /// Opens the cluster that the options named and the user agreed to, and says which server that is. kubectl and helm are those of
    /// the cache; [`Error::NotBuilt`] tells the command that builds them.
    pub async fn open(yours: Yours, cache: &Cache, progress: Progress) -> Result<Self, Error> {
        progress.tell(&format!(
            "working on {} (context {}), in the namespaces {} alone",
            yours.server,
            yours.context,
            NAMESPACES.join(" and ")
        ));
        let programs = Programs::find(cache, Part::ControlPlane).await?;
        let client = client(&yours).await?;
        Ok(Self {
            yours,
            client,
            programs,
        })
    }

    /// A client with the rights of the context's user.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where images are pushed.
    pub fn registry(&self) -> &str {
        &self.yours.registry
    }

    /// kubectl or helm with the kubeconfig and the context.
    pub(super) fn command(&self, program: &'static str, args: &[&str]) -> Command {
        let context = if program == "helm" {
            "--kube-context"
        } else {
            "--context"
        };
        let mut command = Command::new(self.programs.path(program));
        command
            .arg("--kubeconfig")
            .arg(&self.yours.kubeconfig)
            .args([context, &self.yours.context])
            .args(args);
        command
    }

    /// Refuses to begin where an earlier run has left something.
    pub async fn check_free(&self) -> Result<(), Error> {
        for namespace in NAMESPACES {
            if claim::owner(&self.client, namespace).await? == claim::Owner::Chaos {
                return Err(Error::NotOurs {
                    what: format!("namespace {namespace} is left of an earlier run"),
                    hint: "`chaos uninstall` with the same options removes it".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Refuses where somebody else's namespaces or pgsteer are in the way, before anything is made.
    pub async fn check_may_install(&self) -> Result<(), Error> {
        self.check_alone().await?;
        for namespace in NAMESPACES {
            if claim::owner(&self.client, namespace).await? == claim::Owner::Other {
                return Err(claim::taken(namespace));
            }
        }
        Ok(())
    }

    /// Makes the namespaces and what is missing of the definitions, and installs the chart. pgsteer serves the example's namespace and
    /// no other: routes of the user's own are none of its business.
    pub async fn install(&self, kubectl: Kubectl<'_>, project: &Path, images: &Images) -> Result<(), Error> {
        for namespace in NAMESPACES {
            claim::namespace(&self.client, namespace).await?;
        }
        for file in definitions(project)? {
            claim::definition(kubectl, &file).await?;
        }
        let chart = project.join(CHART).display().to_string();
        let image = images.name("controller");
        let (repository, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let values = format!("image.repository={repository},image.tag={tag},namespaces={{{NAMESPACE}}}");
        let words = [
            "upgrade",
            "--install",
            CONTROLLER,
            &chart,
            "--namespace",
            SYSTEM,
            "--skip-crds",
            "--set",
            &values,
        ];
        kubectl.helm(&words).await.map(drop)
    }

    /// Two controllers that serve one namespace would undo each other's labels for ever.
    async fn check_alone(&self) -> Result<(), Error> {
        let deployments: Api<Deployment> = Api::all(self.client.clone());
        let listed = deployments.list(&ListParams::default().labels(ANY_PGSTEER)).await;
        let listed = listed.map_err(Error::api("list the Deployments"))?;
        let other = listed
            .items
            .iter()
            .find(|one| one.namespace().as_deref() != Some(SYSTEM));
        other.map_or(Ok(()), |other| {
            Err(Error::NotOurs {
                what: format!("a pgsteer runs in namespace {}", other.namespace().unwrap_or_default()),
                hint: "two of them would work against each other; use a cluster without one".to_owned(),
            })
        })
    }

    /// Removes what was made here: the release, the namespaces, and the definitions that chaos made and that hold nobody else's objects.
    pub async fn remove(&self, kubectl: Kubectl<'_>, project: &Path, progress: Progress) -> Result<(), Error> {
        let step = progress.step("remove what was installed", REMOVE_ESTIMATE);
        if claim::owner(&self.client, SYSTEM).await? == claim::Owner::Chaos {
            let words = ["uninstall", CONTROLLER, "--namespace", SYSTEM, "--ignore-not-found"];
            kubectl.helm(&words).await?;
        }
        claim::remove_namespaces(&self.client, &NAMESPACES).await?;
        for left in claim::remove_definitions(&self.client, kubectl, &definitions(project)?).await? {
            progress.tell(&left);
        }
        step.done();
        Ok(())
    }
}

async fn client(yours: &Yours) -> Result<Client, Error> {
    let failed = |source| Error::Kubeconfig {
        path: yours.kubeconfig.clone(),
        source: Box::new(source),
    };
    let file = Kubeconfig::read_from(&yours.kubeconfig).map_err(failed)?;
    let options = KubeConfigOptions {
        context: Some(yours.context.clone()),
        ..KubeConfigOptions::default()
    };
    let config = kube::Config::from_custom_kubeconfig(file, &options)
        .await
        .map_err(failed)?;
    Client::try_from(config).map_err(Error::api("accept the kubeconfig"))
}

/// The files of the custom resource definitions, in order.
fn definitions(project: &Path) -> Result<Vec<PathBuf>, Error> {
    let folder = project.join(DEFINITIONS);
    let entries = std::fs::read_dir(&folder).map_err(Error::io("read", &folder))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}
