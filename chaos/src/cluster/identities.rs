//! Who is who in a cluster with nodes: the certificates and kubeconfigs of its components and nodes.

use std::net::Ipv4Addr;

use super::control_plane::ADMIN;
use super::layout::Layout;
use super::names::{CONTROL_PLANE, KUBERNETES_SERVICE, Node, api_server};
use super::pki::{Authority, Subject, create_token_key};
use super::{Error, controller_manager, coredns, kube_proxy, kubeconfig, scheduler};

/// The group that may do anything.
const MASTERS: &str = "system:masters";

/// Makes an authority, and with it all identities of the cluster.
pub(crate) fn create(layout: &Layout, nodes: &[Node]) -> Result<(), Error> {
    let authority = Authority::create(layout)?;
    create_token_key(layout)?;
    let addresses = [CONTROL_PLANE, KUBERNETES_SERVICE, Ipv4Addr::LOCALHOST].map(|address| address.to_string());
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
    ]
    .map(str::to_owned);
    let hosts = [addresses.to_vec(), names.to_vec()].concat();
    authority.issue(
        layout,
        &Subject {
            file: "apiserver",
            user: "kube-apiserver",
            group: None,
            hosts,
        },
    )?;

    let server = format!("https://{}", api_server());
    let identify = |subject: &Subject<'_>| -> Result<(), Error> {
        authority.issue(layout, subject)?;
        kubeconfig::write_for(layout, subject.file, &server)
    };
    let user = |file, user, group| {
        identify(&Subject {
            file,
            user,
            group,
            hosts: Vec::new(),
        })
    };
    user(ADMIN, ADMIN, Some(MASTERS))?;
    user(controller_manager::USER, "system:kube-controller-manager", None)?;
    user(scheduler::USER, "system:kube-scheduler", None)?;
    user(kube_proxy::USER, "system:kube-proxy", None)?;
    // The role that Kubernetes comes with for DNS does not cover EndpointSlices.
    user(coredns::USER, coredns::USER, Some(MASTERS))?;
    for node in nodes {
        let hosts = vec![node.address().to_string(), node.name.clone()];
        let user = format!("system:node:{}", node.name);
        identify(&Subject {
            file: &node.name,
            user: &user,
            group: Some("system:nodes"),
            hosts,
        })?;
    }
    Ok(())
}
