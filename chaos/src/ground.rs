//! The ground that a command works on: the embedded cluster, or, as a guest, a cluster of the user's own.
//!
//! ```text
//! Target::Embedded -> Cluster ─┐           client, kubectl, images, a way to a pod: on both
//! Target::Yours    -> Guest  ──┴─> Ground  faults of the kernel and of nodes: Ground::embedded, else Skipped by name
//! ```
//!
//! A guest touches nothing that it has not made: namespaces and custom resource definitions carry [`MADE_BY`], and what is there
//! without that label is refused or left alone.

mod claim;
mod forward;
mod guest;
mod registry;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Client;

pub use claim::MADE_BY;
pub use forward::Forward;
pub use guest::Guest;

use crate::cluster::{self, Cache, Cluster, Error, OWN_IMAGES, OwnImage, Progress, Relay};
use crate::console::Server;
use crate::fault;
use crate::install::{Kubectl, NAMESPACE};

/// Loading the images into three nodes, or pushing them to a registry beside them; for the progress lines only.
const DELIVER_ESTIMATE: Duration = Duration::from_secs(15);

/// A cluster to work on.
#[derive(Debug)]
pub enum Ground {
    /// The one that `chaos up` boots.
    Embedded(Box<Cluster>),
    /// One of the user's own.
    Yours(Box<Guest>),
}

/// A fault that this ground cannot suffer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "skipped: {fault}: faults of the kernel, of nodes and of the control plane are played on the embedded cluster alone"
)]
pub struct Skipped {
    /// Its name.
    pub fault: String,
}

/// Under which names the nodes have this project's images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images(BTreeMap<&'static str, String>);

/// A way to a pod's port for this process: a loopback address that holds while this lives.
#[derive(Debug)]
pub enum Way {
    /// Into the embedded cluster's network.
    Relay(Relay),
    /// Through the API server and the kubelet.
    Forward(Forward),
}

impl From<Cluster> for Ground {
    fn from(cluster: Cluster) -> Self {
        Self::Embedded(Box::new(cluster))
    }
}

impl From<Guest> for Ground {
    fn from(guest: Guest) -> Self {
        Self::Yours(Box::new(guest))
    }
}

impl Ground {
    /// A client with the rights of the kubeconfig.
    pub fn client(&self) -> Client {
        match self {
            Self::Embedded(cluster) => cluster.client(),
            Self::Yours(guest) => guest.client(),
        }
    }

    /// kubectl with the same rights.
    pub fn kubectl(&self) -> Kubectl<'_> {
        Kubectl::of(self)
    }

    /// A command line of `kubectl` or `helm` for this cluster.
    pub(crate) fn command(&self, program: &'static str, args: &[&str]) -> Result<std::process::Command, Error> {
        match self {
            Self::Embedded(cluster) => {
                let words: Vec<String> = std::iter::once(program)
                    .chain(args.iter().copied())
                    .map(str::to_owned)
                    .collect();
                cluster.command(None, &words)
            }
            Self::Yours(guest) => Ok(guest.command(program, args)),
        }
    }

    /// The embedded cluster, for a fault that needs it; elsewhere the fault is skipped, by this name.
    pub fn embedded(&self, fault: &str) -> Result<&Cluster, Skipped> {
        match self {
            Self::Embedded(cluster) => Ok(cluster),
            Self::Yours(_) => Err(Skipped {
                fault: fault.to_owned(),
            }),
        }
    }

    /// Writes images of this project where the cache lacks them, and puts them where the nodes find them.
    pub async fn deliver(
        &self,
        images: &[OwnImage],
        cache: &Cache,
        project: &Path,
        progress: Progress,
    ) -> Result<Images, Error> {
        let archives = cluster::write_own_images(cache, project, images, progress).await?;
        match self {
            Self::Embedded(cluster) => {
                let paths: Vec<PathBuf> = archives.into_iter().map(|archive| archive.path).collect();
                let step = progress.step("load the images", DELIVER_ESTIMATE);
                cluster.load(&paths).await?;
                step.done();
                Ok(Images::as_written())
            }
            Self::Yours(guest) => {
                let registry = guest.registry();
                let step = progress.step(format!("push the images to {registry}"), DELIVER_ESTIMATE);
                let mut names = BTreeMap::new();
                for (image, archive) in images.iter().zip(&archives) {
                    names.insert(image.directory, registry::push(registry, *image, archive).await?);
                }
                step.done();
                Ok(Images(names))
            }
        }
    }

    /// A way to a port of a pod.
    pub fn reach(&self, server: &Server, port: u16) -> Result<Way, Error> {
        match self {
            Self::Embedded(cluster) => {
                let address: IpAddr = server.address.parse().map_err(|_not_an_address| Error::NoSuch {
                    what: format!("a way to pod {}", server.pod),
                    hint: format!("{:?} is no address", server.address),
                })?;
                cluster.reach(SocketAddr::new(address, port)).map(Way::Relay)
            }
            Self::Yours(guest) => Forward::open(&guest.client(), NAMESPACE, &server.pod, port).map(Way::Forward),
        }
    }

    /// SIGKILL to the postmaster of one of the example's pods, and what was done, in words. On the embedded cluster it comes from the
    /// host, as the kernel's own would; elsewhere from a shell in the container.
    pub async fn kill_postmaster(&self, pod: &str, uid: &str) -> Result<String, Error> {
        match self {
            Self::Embedded(cluster) => {
                let killed = fault::kill_postmaster(cluster, uid)?;
                Ok(format!("SIGKILL to the postmaster of {pod} (process {})", killed.pid))
            }
            Self::Yours(_) => {
                let line = "kill -KILL \"$(head -n 1 /var/lib/postgresql/data/postmaster.pid)\"";
                let words = ["-n", NAMESPACE, "exec", pod, "--", "bash", "-c", line];
                // The container ends with its postmaster, and may take the shell along before that has answered.
                match self.kubectl().run(&words, None).await {
                    Ok(_) => {}
                    Err(Error::Command { status, said, .. }) if ended_with_container(&status, &said) => {}
                    Err(error) => return Err(error),
                }
                Ok(format!("SIGKILL to the postmaster of {pod}, by kubectl exec"))
            }
        }
    }

    /// Removes what was installed in a cluster of the user's own. The embedded cluster goes as a whole, by [`Cluster::down`].
    pub async fn remove(&self, project: &Path, progress: Progress) -> Result<(), Error> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Yours(guest) => guest.remove(self.kubectl(), project, progress).await,
        }
    }

    /// Whether clients' stamps are of another clock than this process's.
    pub fn has_clocks_of_its_own(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            Self::Yours(_) => true,
        }
    }
}

impl Images {
    /// Under the names that the project's own files use.
    fn as_written() -> Self {
        Self(
            OWN_IMAGES
                .iter()
                .map(|image| (image.directory, image.name.to_owned()))
                .collect(),
        )
    }

    /// The name of an image of this project.
    ///
    /// # Panics
    /// When there is no such image: a defect of the caller.
    pub fn name(&self, directory: &str) -> &str {
        self.0.get(directory).expect("callers name an image of this project")
    }

    /// A manifest of the project, with the images' names in it as the nodes know them.
    pub fn put_into(&self, manifest: &str) -> String {
        self.0.iter().fold(manifest.to_owned(), |text, (directory, name)| {
            let written = OwnImage::find(directory).map_or("", |image| image.name);
            text.replace(&format!("image: {written}\n"), &format!("image: {name}\n"))
        })
    }
}

impl Way {
    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Relay(relay) => relay.address(),
            Self::Forward(forward) => forward.address(),
        }
    }
}

/// Whether `kubectl exec` ended because what it ran was killed with everything around it (137: by SIGKILL).
fn ended_with_container(status: &str, said: &str) -> bool {
    status.contains("137") || said.contains("exit code 137")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_names_the_images_as_the_nodes_find_them() {
        let mut images = Images::as_written();
        let manifest = "  image: localhost/pgsteer/postgres:15\n  imagePullPolicy: IfNotPresent\n";
        assert_eq!(images.put_into(manifest), manifest);
        images
            .0
            .insert("postgres", "registry.example/pgsteer/postgres:dev-1".to_owned());
        assert_eq!(
            images.put_into(manifest),
            "  image: registry.example/pgsteer/postgres:dev-1\n  imagePullPolicy: IfNotPresent\n"
        );
    }

    #[test]
    fn a_skipped_fault_is_told_by_its_name() {
        let skipped = Skipped {
            fault: "kube-apiserver frozen".to_owned(),
        };
        assert!(
            skipped.to_string().starts_with("skipped: kube-apiserver frozen: "),
            "{skipped}"
        );
    }
}
