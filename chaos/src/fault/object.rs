//! What a person with every right, or a tool of theirs, does to objects of the API server.

use super::{Faults, Heal, PodRef, host};
use crate::cluster::{Cluster, Error};

/// Deletes a pod as a person would: it is asked to end, and its Deployment makes another one. With `force` the object goes at once, and the
/// kubelet ends the container afterwards.
pub fn delete_pod(faults: &mut Faults<'_>, pod: &PodRef, force: bool) -> Result<(), Error> {
    let cluster = faults.cluster;
    faults.inject(Heal::Itself, || {
        let mut words = vec!["-n", &pod.namespace, "delete", "pod", &pod.name, "--wait=false"];
        if force {
            words.extend(["--force", "--grace-period=0"]);
        }
        host::kubectl(cluster, &words, None).map(drop)
    })
}

/// Scales a Deployment to nothing, until it is healed: its pod is asked to end, and none takes its place.
pub fn stop_deployment(faults: &mut Faults<'_>, namespace: &str, deployment: &str) -> Result<(), Error> {
    let cluster = faults.cluster;
    let heal = Heal::Scale {
        namespace: namespace.to_owned(),
        deployment: deployment.to_owned(),
        replicas: 1,
    };
    faults.inject(heal, || scale(cluster, namespace, deployment, 0))
}

/// Replaces a Deployment's pods, one after the other, as an upgrade does.
pub fn roll(faults: &mut Faults<'_>, namespace: &str, deployment: &str) -> Result<(), Error> {
    let cluster = faults.cluster;
    let object = format!("deployment/{deployment}");
    faults.inject(Heal::Itself, || {
        host::kubectl(cluster, &["-n", namespace, "rollout", "restart", &object], None).map(drop)
    })
}

pub(super) fn scale(cluster: &Cluster, namespace: &str, deployment: &str, replicas: u32) -> Result<(), Error> {
    let object = format!("deployment/{deployment}");
    let replicas = format!("--replicas={replicas}");
    host::kubectl(cluster, &["-n", namespace, "scale", &object, &replicas], None).map(drop)
}
