//! How a fault ends: plain data, so that it can be on record before the fault is there. Healing what never came to be, or has healed by
//! itself, changes nothing and is no error.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{clock, component, cpu, host, network, node, object, server, volume};
use crate::cluster::{Cluster, Error, cgroup};

/// How one fault ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Heal {
    /// By itself: the kubelet or a controller of the cluster repairs it.
    Itself,
    /// Frozen processes go on.
    Thaw {
        /// Their control group.
        group: PathBuf,
    },
    /// Stopped components go on.
    Continue {
        /// Their names.
        components: Vec<String>,
    },
    /// Components that have ended are started again, in this order.
    Start {
        /// Their names.
        components: Vec<String>,
    },
    /// Packets pass again.
    Pass {
        /// The network namespace.
        network: PathBuf,
        /// The table of rules in it.
        table: String,
    },
    /// A node's cable is plugged in again.
    Plug {
        /// The node.
        node: String,
    },
    /// A node is switched on again.
    SwitchOn {
        /// The node.
        node: String,
    },
    /// A volume has room again.
    Empty {
        /// Its node.
        node: String,
        /// The file that filled it.
        file: PathBuf,
    },
    /// A volume's file system goes on.
    Unfreeze {
        /// Its node.
        node: String,
        /// Where it is mounted there.
        mount: PathBuf,
    },
    /// A Deployment has this many replicas again.
    Scale {
        /// Its namespace.
        namespace: String,
        /// Its name.
        deployment: String,
        /// How many.
        replicas: u32,
    },
    /// Statements of the superuser on the server in a pod.
    Sql {
        /// The Deployment whose pod it is: pods come and go.
        deployment: String,
        /// The statements.
        statements: String,
    },
    /// The probe's role has the password that is in its Secret.
    Password {
        /// The Deployments of which one has the primary.
        deployments: Vec<String>,
    },
    /// Busy processes of a control group end.
    Idle {
        /// Its name in the cluster.
        group: String,
    },
    /// A pod's wall clock is right again.
    Clock {
        /// The file that says how wrong it is.
        file: PathBuf,
    },
    /// Several, in this order.
    All(Vec<Self>),
}

impl Heal {
    /// Ends the fault. Bounded: a command that hangs is given up and told.
    pub(super) fn heal(&self, cluster: &Cluster) -> Result<(), Error> {
        match self {
            Self::Itself => Ok(()),
            // A group that is gone was removed with its pod.
            Self::Thaw { group } => cgroup::set_frozen(group, false),
            Self::Continue { components } => components.iter().try_for_each(|name| component::go_on(cluster, name)),
            Self::Start { components } => components.iter().try_for_each(|name| cluster.start_again(name)),
            Self::Pass { network, table } => network::remove_table(network, table),
            Self::Plug { node } => network::plug(cluster, node),
            Self::SwitchOn { node } => node::switch_on(cluster, node),
            Self::Empty { node, file } => {
                host::on_node(cluster, node, &["rm", "-f", &file.to_string_lossy()]).map(drop)
            }
            Self::Unfreeze { node, mount } => volume::unfreeze(cluster, node, mount),
            Self::Scale {
                namespace,
                deployment,
                replicas,
            } => object::scale(cluster, namespace, deployment, *replicas),
            Self::Sql { deployment, statements } => server::sql(cluster, deployment, statements).map(drop),
            Self::Password { deployments } => server::restore_password(cluster, deployments),
            Self::Idle { group } => cpu::end(cluster, group),
            Self::Clock { file } => clock::set(file, 0),
            Self::All(all) => {
                // All are tried, and the first failure is told.
                let healed: Vec<Result<(), Error>> = all.iter().map(|one| one.heal(cluster)).collect();
                healed.into_iter().collect()
            }
        }
    }
}
