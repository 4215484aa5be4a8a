//! Local volumes: each is an ext4 file system in a file, mounted inside its node, so that a test can fill one disk, or freeze it,
//! without touching any other.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::Error;
use super::command::Run;
use super::layout::create_dir;
use super::names::Node;

/// The storage class of these volumes.
pub const STORAGE_CLASS: &str = "pgsteer-local";

/// Databases of several examples may meet on one node; the files are sparse.
pub(crate) const VOLUMES_A_NODE: u8 = 4;

/// Room for a small database and its WAL. The files are sparse: they take what is written.
const BYTES: u64 = 1 << 30;

/// One volume of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    /// The name of its `PersistentVolume`.
    pub(crate) name: String,
    /// The node that has it.
    pub(crate) node: String,
    /// The file that holds its file system.
    pub(crate) image: PathBuf,
    /// Where it is mounted inside its node.
    pub(crate) mount: PathBuf,
}

/// The volumes of a node whose files are in `directory`.
pub(crate) fn of_node(node: &Node, directory: &Path) -> Vec<Volume> {
    let volume = |number| Volume {
        name: format!("{}-v{number}", node.name),
        node: node.name.clone(),
        image: directory.join(format!("volumes/v{number}.img")),
        mount: directory.join(format!("volumes/v{number}")),
    };
    (1..=VOLUMES_A_NODE).map(volume).collect()
}

impl Volume {
    /// Makes the file system and the mount point.
    pub(crate) async fn create(&self) -> Result<(), Error> {
        create_dir(&self.mount)?;
        let file = std::fs::File::create(&self.image).map_err(Error::io("create", &self.image))?;
        file.set_len(BYTES).map_err(Error::io("set the size of", &self.image))?;
        // No blocks are kept back for root: PostgreSQL shall meet a full disk when it is full.
        Run::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,nodiscard"])
            .arg(&self.image)
            .run()
            .await?;
        Ok(())
    }

    /// Shell words, to be run inside the node: mounts the file system, or leaves the plain directory and says so in `plain`.
    pub(crate) fn mount_script(&self, plain: &Path) -> String {
        // The loop device goes by itself when the node's mount namespace does.
        let (image, mount) = (self.image.display(), self.mount.display());
        format!(
            "if mount -o loop '{image}' '{mount}'; then rmdir '{mount}/lost+found'; else echo '{}' >>'{}'; fi",
            self.name,
            plain.display()
        )
    }

    fn persistent_volume(&self) -> Value {
        json!({
            "metadata": {"name": self.name},
            "spec": {
                "capacity": {"storage": format!("{}Mi", BYTES >> 20)},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": STORAGE_CLASS,
                "local": {"path": self.mount},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": [self.node]},
                ]}]}},
            },
        })
    }
}

/// A volume is chosen when its pod is placed, so that the pod can run where the volume is.
fn storage_class() -> Value {
    json!({
        // Claims that name no class, as those of the example, get one of these volumes.
        "metadata": {"name": STORAGE_CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    })
}

/// Makes the storage class and the volumes known to the API server.
#[expect(
    clippy::disallowed_methods,
    reason = "a new cluster's own objects; no controller is there yet"
)]
pub(crate) async fn publish(client: &Client, volumes: &[Volume]) -> Result<(), Error> {
    let parameters = PostParams::default();
    let class: StorageClass = typed(storage_class());
    let classes = Api::<StorageClass>::all(client.clone());
    classes
        .create(&parameters, &class)
        .await
        .map_err(Error::api("take the storage class"))?;
    let api = Api::<PersistentVolume>::all(client.clone());
    for volume in volumes {
        let object = typed(volume.persistent_volume());
        api.create(&parameters, &object)
            .await
            .map_err(Error::api(format!("take the volume {}", volume.name)))?;
    }
    Ok(())
}

fn typed<T: serde::de::DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).expect("the objects of this file fit their types")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::names::Instance;

    #[test]
    fn a_volume_is_bound_to_its_own_node_and_class() {
        let node = Instance::of(Path::new("/a")).node(2);
        let volumes = of_node(&node, Path::new("/state/n2"));
        assert_eq!(volumes.len(), usize::from(VOLUMES_A_NODE));
        let object: PersistentVolume = typed(volumes[0].persistent_volume());
        let spec = object.spec.expect("a spec");
        assert_eq!(spec.storage_class_name.as_deref(), Some(STORAGE_CLASS));
        let nodes = spec
            .node_affinity
            .and_then(|affinity| affinity.required)
            .expect("a node")
            .node_selector_terms;
        let values = nodes[0].match_expressions.as_ref().expect("an expression")[0]
            .values
            .clone();
        assert_eq!(values, Some(vec!["n2".to_owned()]));
        let _class: StorageClass = typed(storage_class());
    }

    /// Runs the mount lines as a node's shell does, with a `mount` that ends so.
    fn mounted(volume: &Volume, plain: &Path, mount: &str) {
        let programs = tempfile::tempdir().expect("a temporary directory");
        let program = programs.path().join("mount");
        std::fs::write(&program, format!("#!/bin/sh\n{mount}\n")).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("made a program");
        let path = format!("{}:/usr/bin:/bin", programs.path().display());
        let mut shell = std::process::Command::new("sh");
        let status = shell
            .args(["-ec", &volume.mount_script(plain)])
            .env("PATH", path)
            .status();
        assert!(
            status.expect("sh starts").success(),
            "the node goes on without a loop device"
        );
    }

    #[test]
    fn a_volume_without_a_loop_device_is_a_plain_directory_that_is_named() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let node = Instance::of(Path::new("/a")).node(1);
        let volumes = of_node(&node, directory.path());
        let plain = directory.path().join("plain");
        for volume in &volumes {
            std::fs::create_dir_all(volume.mount.join("lost+found")).expect("made");
        }
        mounted(&volumes[0], &plain, "exit 0");
        assert!(
            !plain.exists() && !volumes[0].mount.join("lost+found").exists(),
            "mounted, and empty as a new disk is"
        );
        mounted(&volumes[1], &plain, "echo no loop device >&2; exit 32");
        assert_eq!(std::fs::read_to_string(&plain).expect("written"), "n1-v2\n");
        assert!(volumes[1].mount.is_dir());
    }
}
