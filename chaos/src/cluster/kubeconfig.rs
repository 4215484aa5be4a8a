//! Kubeconfig files: who talks to which API server with which certificate.

use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

use super::Error;
use super::layout::{Layout, write};

/// Writes the kubeconfig of `who`, whose certificate must have been issued under the same name.
pub(crate) fn write_for(layout: &Layout, who: &str, server: &str) -> Result<(), Error> {
    // JSON is YAML, and the certificates stay files so that each exists once.
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "pgsteer", "cluster": {"server": server, "certificate-authority": layout.pki("ca.crt")}}],
        "users": [{"name": who, "user": {
            "client-certificate": layout.pki(&format!("{who}.crt")),
            "client-key": layout.pki(&format!("{who}.key")),
        }}],
        "contexts": [{"name": "pgsteer", "context": {"cluster": "pgsteer", "user": who}}],
        "current-context": "pgsteer",
    });
    write(&layout.kubeconfig(who), format!("{config:#}\n"))
}

/// Reads a kubeconfig file for a client. Nothing is taken from the environment.
pub(crate) async fn load(path: &Path) -> Result<kube::Config, Error> {
    let failed = |source| Error::Kubeconfig {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let file = Kubeconfig::read_from(path).map_err(failed)?;
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(file, &options)
        .await
        .map_err(failed)?;
    // The library takes a proxy from the environment; no proxy knows the way into the cluster.
    config.proxy_url = None;
    Ok(config)
}

/// A client of the API server that `config` names.
pub(crate) fn client(config: kube::Config) -> Result<kube::Client, Error> {
    kube::Client::try_from(config).map_err(Error::api("accept the kubeconfig"))
}
