//! The controller as a process, for one namespace of the world.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use chaos::{http_get, wait::wait_for};
use serde_json::Value;

use crate::world::LIMIT;

/// A running `pgsteer run`; it is killed with the test.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts one with its log in `directory`.
    pub(crate) fn start(directory: &Path, kubeconfig: &Path, namespace: &str, flags: &[&str]) -> Self {
        let log = directory.join("controller.log");
        let child = Command::new(env!("CARGO_BIN_EXE_pgsteer"))
            .args(["run", "--lease-namespace", "default", "--pod-name", "pgsteer-0"])
            .args(["--namespaces", namespace, "--lease-name", namespace])
            .args(["--admin-address", "127.0.0.1:0", "--log-format", "json"])
            .args(flags)
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Every whole line of its log so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Where its endpoint is.
    pub(crate) async fn admin(&self) -> SocketAddr {
        let found = wait_for("the controller to say where its endpoint is", LIMIT, || async {
            let log = self.log();
            let line = log.iter().find(|line| line["message"] == "pgsteer started");
            line.and_then(|line| line["admin"].as_str()?.parse().ok())
                .ok_or_else(|| format!("{log:#?}"))
        });
        found.await.unwrap()
    }

    /// What it shows to Prometheus.
    pub(crate) async fn metrics(&self) -> Result<String, String> {
        let accept = "application/openmetrics-text";
        let answer = http_get::get(self.admin().await, "/metrics", accept).await;
        let (status, body) = answer.map_err(|error| error.to_string())?;
        if status == 200 {
            Ok(body)
        } else {
            Err(format!("{status}: {body}"))
        }
    }

    /// The one series of this name.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64, String> {
        let metrics = self.metrics().await?;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
            .ok_or_else(|| format!("no {name} in {metrics}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
