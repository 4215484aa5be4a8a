//! Processes of a pod: killed, frozen, asked to end.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use rustix::process::Signal;

use super::{Faults, Heal};
use crate::cluster::process::Process;
use crate::cluster::{Cluster, Error, cgroup};
use crate::install::SYSTEM;

/// The name of PostgreSQL's program; every process of a server has it.
const POSTGRES: &str = "postgres";
/// The name of the controller's program.
const CONTROLLER: &str = "pgsteer";
/// The process that holds a pod's namespaces, beside its containers.
const PAUSE: &str = "pause";

/// A pod that runs on a node, as far as faults need to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid, by which its control group is called.
    pub uid: String,
    /// Its node.
    pub node: String,
    /// Its address.
    pub address: IpAddr,
    /// [`lasting_name`] of it.
    pub lasting_name: String,
}

impl PodRef {
    /// `None` for a pod that has no address yet, has ended, or is on its way out.
    pub fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.as_ref()?;
        if pod.metadata.deletion_timestamp.is_some() || status.phase.as_deref() != Some("Running") {
            return None;
        }
        Some(Self {
            namespace: pod.namespace()?,
            name: pod.name_any(),
            uid: pod.uid()?,
            node: pod.spec.as_ref()?.node_name.clone()?,
            address: status.pod_ip.as_ref()?.parse().ok()?,
            lasting_name: lasting_name(&pod.name_any())?.to_owned(),
        })
    }
}

/// What stays of a pod's name when it is made anew: a Deployment's pod is called after it, a hash and five more letters; a `StatefulSet`'s
/// pod keeps its whole name, which ends with a number.
pub fn lasting_name(pod: &str) -> Option<&str> {
    let (before, last) = pod.rsplit_once('-')?;
    let is_number = last.len() < RANDOM_LETTERS && last.bytes().all(|letter| letter.is_ascii_digit());
    if is_number {
        Some(pod)
    } else {
        Some(before.rsplit_once('-')?.0)
    }
}

/// So many, digits among them, end the name of a Deployment's pod.
const RANDOM_LETTERS: usize = 5;

/// The pods of a namespace with these labels that run.
pub async fn pods(client: &Client, namespace: &str, labels: &str) -> Result<Vec<PodRef>, Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let listed = api.list(&ListParams::default().labels(labels)).await;
    let listed = listed.map_err(Error::api(format!("list the pods of {namespace}")))?;
    Ok(listed.iter().filter_map(PodRef::of).collect())
}

/// The controller's replicas that run.
pub async fn controllers(client: &Client) -> Result<Vec<PodRef>, Error> {
    pods(client, SYSTEM, "app.kubernetes.io/name=pgsteer").await
}

/// Every process of a running pod, as the host sees them.
pub fn pod_processes(cluster: &Cluster, pod_uid: &str) -> Result<Vec<Process>, Error> {
    let groups = cgroup::walk(&cluster.pod_group(pod_uid)?);
    Ok(groups
        .iter()
        .flat_map(|group| cgroup::members(group))
        .filter_map(Process::find)
        .collect())
}

/// Kills the postmaster of a pod with SIGKILL, as the kernel's out-of-memory killer would, and returns which process it was.
pub fn kill_postmaster(cluster: &Cluster, pod_uid: &str) -> Result<Process, Error> {
    signal_first(cluster, pod_uid, POSTGRES, Signal::KILL)
}

/// Kills a controller with SIGKILL and returns which process it was.
pub fn kill_controller(cluster: &Cluster, pod_uid: &str) -> Result<Process, Error> {
    signal_first(cluster, pod_uid, CONTROLLER, Signal::KILL)
}

/// Asks the first process of a pod's container to end, as the kubelet does: the container ends, and is started again.
pub fn terminate(cluster: &Cluster, pod: &PodRef) -> Result<Process, Error> {
    let processes = pod_processes(cluster, &pod.uid)?;
    let missing = |hint: &str| Error::NoSuch {
        what: format!("the first process of the container in pod {}", pod.name),
        hint: hint.to_owned(),
    };
    let first = first_of_container(&processes, Process::number_inside).map_err(missing)?;
    let group = cluster.pod_group(&pod.uid)?;
    match first.signal(Signal::TERM) {
        Ok(true) => Ok(first.clone()),
        Ok(false) => Err(missing("it ended while it was being looked for")),
        Err(error) => Err(Error::io("signal a process of", &group)(error)),
    }
}

/// Stops every process of a pod in its tracks; connections stay open and nothing answers.
pub fn freeze_pod(cluster: &Cluster, pod_uid: &str) -> Result<(), Error> {
    cgroup::set_frozen(&cluster.pod_group(pod_uid)?, true)
}

/// Lets a frozen pod go on where it was.
pub fn thaw_pod(cluster: &Cluster, pod_uid: &str) -> Result<(), Error> {
    cgroup::set_frozen(&cluster.pod_group(pod_uid)?, false)
}

impl Faults<'_> {
    /// Freezes a pod until it is healed.
    pub fn freeze(&mut self, pod: &PodRef) -> Result<(), Error> {
        let group = self.cluster.pod_group(&pod.uid)?;
        let heal = Heal::Thaw { group: group.clone() };
        self.inject(heal, || cgroup::set_frozen(&group, true))
    }
}

/// The postmaster of a pod, for whoever wants to strike it at a moment of his own.
pub fn postmaster(cluster: &Cluster, pod_uid: &str) -> Result<Process, Error> {
    first(cluster, pod_uid, POSTGRES)
}

/// The process of a controller's pod, for the same.
pub fn controller(cluster: &Cluster, pod_uid: &str) -> Result<Process, Error> {
    first(cluster, pod_uid, CONTROLLER)
}

fn signal_first(cluster: &Cluster, pod_uid: &str, program: &str, signal: Signal) -> Result<Process, Error> {
    let process = first(cluster, pod_uid, program)?;
    let sent = process.signal(signal);
    let group = cluster.pod_group(pod_uid)?;
    if sent.map_err(Error::io("signal a process of", &group))? {
        Ok(process)
    } else {
        Err(no_first(pod_uid, program, "it ended while it was being looked for"))
    }
}

fn first(cluster: &Cluster, pod_uid: &str, program: &str) -> Result<Process, Error> {
    let processes = pod_processes(cluster, pod_uid)?;
    let found = first_of(&processes, program).map_err(|hint| no_first(pod_uid, program, hint))?;
    Ok(found.clone())
}

fn no_first(pod_uid: &str, program: &str, hint: &str) -> Error {
    Error::NoSuch {
        what: format!("the first process of {program} in pod {pod_uid}"),
        hint: hint.to_owned(),
    }
}

/// The process of the only container that has number one in there; what `kubectl exec` started has another, and no parent in the pod
/// either. What it is called is the image's business: a script goes by the name of its shell. Otherwise why it cannot be told.
pub(super) fn first_of_container(
    processes: &[Process],
    number_inside: impl Fn(&Process) -> Option<i32>,
) -> Result<&Process, &'static str> {
    let mut firsts = processes
        .iter()
        .filter(|process| process.name != PAUSE && !process.is_zombie && number_inside(process) == Some(1));
    match (firsts.next(), firsts.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err("no container runs in it"),
        (Some(_), Some(_)) => Err("more than one container runs in it"),
    }
}

/// A program's first process: the one whose parent is not of the program. Otherwise why it cannot be told.
pub(super) fn first_of<'a>(processes: &'a [Process], program: &str) -> Result<&'a Process, &'static str> {
    let of_program = || {
        processes
            .iter()
            .filter(|process| process.name == program && !process.is_zombie)
    };
    let mut roots = of_program().filter(|process| !of_program().any(|other| other.pid == process.parent));
    match (roots.next(), roots.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err("it does not run in it"),
        (Some(_), Some(_)) => Err("it runs in it more than once"),
    }
}
