//! kube-apiserver, alone for tests or in front of nodes, with the audit log on.

use std::net::IpAddr;
use std::path::Path;

use super::component::{Component, Room};
use super::layout::{Layout, write};
use super::{Error, audit};

/// How the API server is reached and what stands behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings<'a> {
    pub(crate) bind: IpAddr,
    /// The address that components and pods use.
    pub(crate) advertise: IpAddr,
    pub(crate) port: u16,
    pub(crate) etcd_port: u16,
    /// The range of Service addresses.
    pub(crate) services: &'a str,
    pub(crate) with_nodes: bool,
    /// Where it tells its part of a caller's trace, `host:port`; it begins none of its own.
    pub(crate) traces: Option<&'a str>,
}

pub(crate) fn component(
    program: &Path,
    layout: &Layout,
    settings: Settings<'_>,
    room: Room,
) -> Result<Component, Error> {
    let policy = layout.etc("audit-policy.json");
    write(&policy, format!("{:#}\n", audit::policy()))?;
    let pki = |file| layout.pki(file).display().to_string();
    let mut args = vec![
        format!("--etcd-servers=http://127.0.0.1:{}", settings.etcd_port),
        format!("--bind-address={}", settings.bind),
        format!("--advertise-address={}", settings.advertise),
        format!("--secure-port={}", settings.port),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", pki("sa.pub")),
        format!("--service-account-signing-key-file={}", pki("sa.key")),
        format!("--service-cluster-ip-range={}", settings.services),
        "--allow-privileged=true".to_owned(),
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", layout.audit_log().display()),
        // In megabytes; a file that is rotated away would hide evidence from the judge.
        "--audit-log-maxsize=4096".to_owned(),
    ];
    if settings.with_nodes {
        args.extend([
            // Otherwise logs and exec look node names up in DNS, which nobody serves to the API server.
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            format!("--kubelet-certificate-authority={}", pki("ca.crt")),
            format!("--kubelet-client-certificate={}", pki("admin.crt")),
            format!("--kubelet-client-key={}", pki("admin.key")),
        ]);
    } else {
        args.extend([
            // No controller makes service accounts here, and a test that creates a pod needs none.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            // A loopback address is no valid endpoint of the Service `kubernetes`, which nobody uses here.
            "--endpoint-reconciler-type=none".to_owned(),
        ]);
    }
    if let Some(endpoint) = settings.traces {
        let tracing = layout.etc("tracing.json");
        let config = serde_json::json!({
            "apiVersion": "apiserver.config.k8s.io/v1beta1",
            "kind": "TracingConfiguration",
            "endpoint": endpoint,
        });
        write(&tracing, format!("{config:#}\n"))?;
        args.push(format!("--tracing-config-file={}", tracing.display()));
    }
    Ok(Component {
        name: "kube-apiserver".to_owned(),
        program: program.to_owned(),
        args,
        env: Vec::new(),
        room,
    })
}
