//! Faults of the cluster's own programs: etcd, the API server, the controllers, DNS, kubelets, kube-proxies.

use rustix::process::Signal;

use super::{Faults, Heal};
use crate::cluster::{Cluster, Error};

/// Stops a component of the cluster, such as `kube-apiserver`, in its tracks: connections stay open and nothing answers.
pub fn freeze_component(cluster: &Cluster, name: &str) -> Result<(), Error> {
    signal(cluster, name, Signal::STOP)
}

/// Lets a frozen component go on where it was.
pub fn thaw_component(cluster: &Cluster, name: &str) -> Result<(), Error> {
    signal(cluster, name, Signal::CONT)
}

/// Freezes components until they are healed.
pub fn freeze(faults: &mut Faults<'_>, names: &[String]) -> Result<(), Error> {
    let (cluster, components) = (faults.cluster, names.to_vec());
    faults.inject(Heal::Continue { components }, || {
        names.iter().try_for_each(|name| freeze_component(cluster, name))
    })
}

/// Kills components with SIGKILL. Healing starts them again, as an init system would.
pub fn kill(faults: &mut Faults<'_>, names: &[String]) -> Result<(), Error> {
    let (cluster, components) = (faults.cluster, names.to_vec());
    faults.inject(Heal::Start { components }, || {
        names.iter().try_for_each(|name| signal(cluster, name, Signal::KILL))
    })
}

/// Lets a component go on; one that has ended meanwhile is started again.
pub(super) fn go_on(cluster: &Cluster, name: &str) -> Result<(), Error> {
    match signal(cluster, name, Signal::CONT) {
        Err(Error::NoSuch { .. }) => cluster.start_again(name),
        outcome => outcome,
    }
}

fn signal(cluster: &Cluster, name: &str, signal: Signal) -> Result<(), Error> {
    let (record, process) = cluster.component(name)?;
    let missing = || Error::NoSuch {
        what: format!("a running component {name}"),
        hint: "`chaos status` shows them".to_owned(),
    };
    let process = process.ok_or_else(missing)?;
    if process
        .signal(signal)
        .map_err(Error::io("signal the process of", &record))?
    {
        Ok(())
    } else {
        Err(missing())
    }
}
