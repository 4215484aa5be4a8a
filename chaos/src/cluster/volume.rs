//! Local volumes: each is an ext4 file system in a file, mounted inside its node, so that a test can fill one disk, or freeze it,
//! without touching any other.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Error;
use super::command::Run;
use super::layout::create_dir;
use super::names::Node;

/// The storage class of these volumes.
pub const STORAGE_CLASS: &str = "pgsteer-local";

/// Two databases of a scenario may meet on one node.
pub(crate) const VOLUMES_A_NODE: u8 = 2;

/// Room for a small database and its WAL. The files are sparse: they take what is written.
const BYTES: u64 = 1 << 30;

/// One volume of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    /// The name of its `PersistentVolume`.
    pub(crate) name: String,
    node: String,
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
            "apiVersion": "v1",
            "kind": "PersistentVolume",
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

/// The storage class and the volumes, for `kubectl apply`.
pub(crate) fn objects(volumes: &[Volume]) -> Value {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS},
        "provisioner": "kubernetes.io/no-provisioner",
        // A volume is chosen when its pod is placed, so that the pod can run where the volume is.
        "volumeBindingMode": "WaitForFirstConsumer",
    });
    let items: Vec<Value> = std::iter::once(class)
        .chain(volumes.iter().map(Volume::persistent_volume))
        .collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}
