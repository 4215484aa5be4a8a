//! Faults of one server's disk: full, hanging, empty.

use std::path::{Path, PathBuf};

use super::{Faults, Heal, host};
use crate::cluster::volume::Volume;
use crate::cluster::{Cluster, Error};
use crate::install::NAMESPACE;

/// The file that takes up the room.
const FILLER: &str = ".filled-by-chaos";

/// Fills a server's volume to the last block.
pub fn fill(faults: &mut Faults<'_>, deployment: &str) -> Result<(), Error> {
    let cluster = faults.cluster;
    let volume = of_server(cluster, deployment)?;
    let file = volume.mount.join(FILLER);
    let heal = Heal::Empty {
        node: volume.node.clone(),
        file: file.clone(),
    };
    // Reserving is quick but stops short of the last blocks; writing takes those.
    let script = "fallocate -l \"$(($(df --output=avail -B1 \"$1\" | tail -n 1) * 99 / 100))\" \"$2\"
        dd if=/dev/zero of=\"$2\" bs=4k oflag=append conv=notrunc 2>/dev/null || true";
    faults.inject(heal, || {
        let words = [
            "bash",
            "-ec",
            script,
            "fill",
            &volume.mount.to_string_lossy(),
            &file.to_string_lossy(),
        ];
        host::on_node(cluster, &volume.node, &words).map(drop)
    })
}

/// Freezes the file system of a server's volume: reads go on, writes hang.
pub fn hang(faults: &mut Faults<'_>, deployment: &str) -> Result<(), Error> {
    let cluster = faults.cluster;
    let volume = of_server(cluster, deployment)?;
    let heal = Heal::Unfreeze {
        node: volume.node.clone(),
        mount: volume.mount.clone(),
    };
    faults.inject(heal, || fsfreeze(cluster, &volume.node, &volume.mount, "--freeze"))
}

/// Empties a server's volume, whose pod has ended. Nothing heals that but a clone.
pub fn wipe(faults: &mut Faults<'_>, deployment: &str) -> Result<(), Error> {
    let cluster = faults.cluster;
    let volume = of_server(cluster, deployment)?;
    let mount = volume.mount.to_string_lossy();
    faults.inject(Heal::Itself, || {
        host::on_node(cluster, &volume.node, &["find", &mount, "-mindepth", "1", "-delete"]).map(drop)
    })
}

/// One that is not frozen is left alone.
pub(super) fn unfreeze(cluster: &Cluster, node: &str, mount: &Path) -> Result<(), Error> {
    match fsfreeze(cluster, node, mount, "--unfreeze") {
        Err(Error::Command { said, .. }) if said.contains("Invalid argument") => Ok(()),
        outcome => outcome,
    }
}

fn fsfreeze(cluster: &Cluster, node: &str, mount: &Path, option: &str) -> Result<(), Error> {
    // Where the volume had to stay a plain directory, this would freeze the host's own disk.
    let is_own = host::on_node(cluster, node, &["mountpoint", "-q", &mount.to_string_lossy()]);
    if let Err(error) = is_own {
        return match error {
            Error::Command { .. } => Err(Error::NoSuch {
                what: format!("a file system of its own on {}", mount.display()),
                hint: "it needs a loop device, which this host does not offer".to_owned(),
            }),
            error => Err(error),
        };
    }
    host::on_node(cluster, node, &["fsfreeze", option, &mount.to_string_lossy()]).map(drop)
}

/// The volume that a server of the example has.
fn of_server(cluster: &Cluster, deployment: &str) -> Result<Volume, Error> {
    let claim = format!("{deployment}-data");
    let path = "-o=jsonpath={.spec.volumeName}";
    let name = host::kubectl(cluster, &["-n", NAMESPACE, "get", "pvc", &claim, path], None)?;
    let found = cluster.volumes().into_iter().find(|volume| volume.name == name.trim());
    found.ok_or_else(|| Error::NoSuch {
        what: format!("the volume {name:?} of claim {claim}"),
        hint: "it is not one of this cluster's own".to_owned(),
    })
}

/// Where a server's volume is mounted on which node.
pub fn place(cluster: &Cluster, deployment: &str) -> Result<(String, PathBuf), Error> {
    of_server(cluster, deployment).map(|volume| (volume.node, volume.mount))
}
