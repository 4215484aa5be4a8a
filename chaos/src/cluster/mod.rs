//! An embedded Kubernetes cluster: the real programs, built from pinned sources, on one Linux host, without images or network from
//! outside.
//!
//! ```text
//! recipe -> build -> Programs          what is run: pinned Go modules, built once into the cache
//!                       |
//! ControlPlane <--------+--------> Cluster
//! etcd + API server on             etcd, API server, controller-manager, scheduler, CoreDNS in one network namespace;
//! loopback, no root: tests         N nodes, each a network and a mount namespace with containerd, kubelet, kube-proxy
//! ```
//!
//! One file a component builds its command line (pure), [`component`] starts it, and `down` ends exactly what was started.

mod anatomy;
mod apiserver;
mod audit;
mod beside;
mod boot;
mod build;
pub(crate) mod cgroup;
mod command;
mod component;
mod containerd;
mod containerfile;
mod control_plane;
mod controller_manager;
mod coredns;
mod definitions;
mod down;
mod error;
mod etcd;
mod handle;
mod host;
mod identities;
pub mod image;
mod import;
mod keeper;
mod kube_proxy;
mod kubeconfig;
mod kubelet;
mod layout;
mod lock;
mod mounts;
mod names;
pub(crate) mod network;
mod node;
mod own_images;
mod pause;
mod pki;
pub mod process;
mod progress;
mod recipe;
mod record;
mod recycle;
pub(crate) mod relay;
mod scheduler;
mod target;
mod up;
mod usable;
pub(crate) mod volume;

pub use beside::Beside;
pub use build::{Part, Programs, build};
pub(crate) use command::Run;
pub use control_plane::{ControlPlane, free_ports};
pub use error::Error;
pub use handle::{Cluster, ComponentState};
pub(crate) use layout::write;
pub use layout::{Cache, Layout, State, from_environment};
pub use names::NODES_MAX;
pub use own_images::{HAPROXY, OWN_IMAGES, OwnImage, UNCONDITIONAL, WRONG_CLOCK, write_own_images};
pub use progress::{Progress, Step, Stopwatch};
pub use recipe::CHAOS_MESH_CRDS;
pub use relay::Relay;
pub use target::{Refusal, Target, TargetArgs, Yours};
pub use volume::STORAGE_CLASS;
