//! kubectl and helm, run as a person would: beside the embedded cluster's control plane, or with the user's kubeconfig and context.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::{PODS, ROUTE, SYSTEM};
use crate::cluster::Error;
use crate::ground::Ground;

/// An apply of the largest file takes a second; a busy host was seen to take ten.
const LIMIT: Duration = Duration::from_mins(1);

/// kubectl for one cluster, with the rights that the ground gives.
#[derive(Debug, Clone, Copy)]
pub struct Kubectl<'a> {
    ground: &'a Ground,
}

impl<'a> Kubectl<'a> {
    /// For this cluster.
    pub fn of(ground: &'a Ground) -> Self {
        Self { ground }
    }

    /// Runs it to its end and returns its standard output.
    pub async fn run(&self, args: &[&str], input: Option<Vec<u8>>) -> Result<Vec<u8>, Error> {
        run(self.ground.command("kubectl", args)?, input).await
    }

    /// Runs helm to its end and returns its standard output.
    pub async fn helm(&self, args: &[&str]) -> Result<Vec<u8>, Error> {
        run(self.ground.command("helm", args)?, None).await
    }

    /// What a person would look at first when the route of a namespace is not as it should be. What cannot be asked is said in its place.
    pub async fn diagnosis(&self, namespace: &str) -> String {
        let pods = ["-n", namespace, "get", "pods", "-o", "wide", "--show-labels"];
        let replicas = ["-n", SYSTEM, "get", "pods", "-o", "wide"];
        let route = ["-n", namespace, "describe", "postgresroute", ROUTE];
        let ledger = ["-n", namespace, "get", "postgresledger", "-o", "yaml"];
        let servers = ["-n", namespace, "logs", "-l", PODS, "--prefix", "--tail=15"];
        let app = "app.kubernetes.io/name=pgsteer";
        let controllers = ["-n", SYSTEM, "logs", "-l", app, "--prefix", "--tail=20"];
        let mut told = String::new();
        for args in [&pods[..], &replicas, &route, &ledger, &servers, &controllers] {
            let said = match self.run(args, None).await {
                Ok(out) => String::from_utf8_lossy(&out).into_owned(),
                Err(error) => error.to_string(),
            };
            // Writing to a String cannot fail.
            writeln!(told, "--- kubectl {}\n{said}", args.join(" ")).ok();
        }
        told
    }
}

/// Runs a command to its end and returns its standard output; a failure's error holds what it said.
pub(super) async fn run(command: Command, input: Option<Vec<u8>>) -> Result<Vec<u8>, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let failed = |status: String, said: &[u8]| Error::Command {
        command: line.clone(),
        status,
        said: String::from_utf8_lossy(said).trim_end().to_owned(),
    };
    let mut command = tokio::process::Command::from(command);
    command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(|source| Error::NoSuchProgram { program, source })?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // A command that ends before it has read its input says why through its status.
        stdin.write_all(&input).await.ok();
    }
    let output = match tokio::time::timeout(LIMIT, child.wait_with_output()).await {
        Ok(ended) => ended.map_err(|error| failed(error.to_string(), &[]))?,
        Err(_elapsed) => {
            return Err(failed(
                format!("stopped after {}", humantime::format_duration(LIMIT)),
                &[],
            ));
        }
    };
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(failed(output.status.to_string(), &output.stderr))
    }
}
