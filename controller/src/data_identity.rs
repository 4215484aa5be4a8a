//! Which data a pod's server serves, in a way that survives a new pod on the same volume.

use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use shared::ledger::{DataIdentity, DataKind};

/// The volume whose mount path is the longest prefix of the server's data directory, else the container's only claim; a
/// claim is named by itself, a host path by node and path, and everything else dies with the pod and is named by the pod.
pub(crate) fn of(pod: &Pod, container: &Container, data_directory: Option<&str>) -> DataIdentity {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mounts = || container.volume_mounts.iter().flatten();
    let volume_named = |name: &str| volumes.clone().find(|volume| volume.name == name);
    let volume = if let Some(directory) = data_directory {
        mounts()
            .filter(|mount| is_within(directory, &mount.mount_path))
            .max_by_key(|mount| mount.mount_path.trim_end_matches('/').len())
            .and_then(|mount| volume_named(&mount.name))
    } else {
        let mut claims = mounts()
            .filter_map(|mount| volume_named(&mount.name))
            .filter(|volume| claim(pod, volume).is_some());
        claims.next().filter(|_| claims.next().is_none())
    };
    volume
        .and_then(|volume| named(pod, volume))
        .unwrap_or_else(|| DataIdentity {
            kind: DataKind::Pod,
            name: pod.metadata.uid.clone().unwrap_or_default(),
        })
}

fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn claim(pod: &Pod, volume: &Volume) -> Option<String> {
    let generic = || {
        let pod_name = pod.metadata.name.as_deref()?;
        volume.ephemeral.as_ref().map(|_| format!("{pod_name}-{}", volume.name))
    };
    volume
        .persistent_volume_claim
        .as_ref()
        .map(|source| source.claim_name.clone())
        .or_else(generic)
}

fn named(pod: &Pod, volume: &Volume) -> Option<DataIdentity> {
    if let Some(name) = claim(pod, volume) {
        return Some(DataIdentity {
            kind: DataKind::PersistentVolumeClaim,
            name,
        });
    }
    let node = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default();
    let path = &volume.host_path.as_ref()?.path;
    Some(DataIdentity {
        kind: DataKind::HostPath,
        name: format!("{node}:{path}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "pg-0", "uid": "u-1" },
            "spec": {
                "nodeName": "n1",
                "containers": [{ "name": "postgres", "volumeMounts": [
                    { "name": "scratch", "mountPath": "/var" },
                    { "name": "data", "mountPath": "/var/lib/postgresql/" },
                    { "name": "host", "mountPath": "/srv/pg" },
                ] }],
                "volumes": [
                    { "name": "scratch", "emptyDir": {} },
                    { "name": "data", "persistentVolumeClaim": { "claimName": "pg-0-data" } },
                    { "name": "host", "hostPath": { "path": "/disks/1" } },
                ],
            },
        }))
        .unwrap()
    }

    #[test]
    fn the_volume_with_the_longest_mount_path_over_the_data_directory_names_the_data() {
        let pod = pod();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let claim = DataIdentity {
            kind: DataKind::PersistentVolumeClaim,
            name: "pg-0-data".to_owned(),
        };
        let itself = DataIdentity {
            kind: DataKind::Pod,
            name: "u-1".to_owned(),
        };
        let host = DataIdentity {
            kind: DataKind::HostPath,
            name: "n1:/disks/1".to_owned(),
        };
        for (directory, expected) in [
            (Some("/var/lib/postgresql/15/main"), &claim),
            (Some("/var/lib/postgresql"), &claim),
            (Some("/var/lib/postgresql2"), &itself),
            (Some("/srv/pg/data"), &host),
            (Some("/data"), &itself),
            (None, &claim),
        ] {
            assert_eq!(&of(&pod, container, directory), expected, "{directory:?}");
        }
    }
}
