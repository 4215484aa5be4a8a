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

mod apiserver;
mod audit;
mod build;
mod command;
mod component;
mod control_plane;
mod error;
mod etcd;
mod host;
mod keeper;
mod kubeconfig;
mod layout;
mod lock;
mod pki;
pub mod process;
mod progress;
mod recipe;

pub use build::{Part, Programs, build};
pub use control_plane::ControlPlane;
pub use error::Error;
pub use layout::{Cache, Layout, State, from_environment};
pub use progress::{Progress, Step, Stopwatch};
