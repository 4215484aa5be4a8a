//! What goes wrong inside a PostgreSQL server, or between it and those who log in to it.

use std::net::SocketAddr;

use super::{Faults, Heal, Held, PodRef, host};
use crate::cluster::{Cluster, Error};
use crate::console::Crowd;
use crate::install::NAMESPACE;

/// The probe's role in the example, and the Secret with its password.
const PROBE: &str = "pgsteer";
const PROBE_SECRET: &str = "pgsteer-probe";

/// Stops the replay of the log on a standby: it receives, and shows nothing of it.
pub fn pause_replay(faults: &mut Faults<'_>, standby: &PodRef) -> Result<(), Error> {
    let (cluster, deployment) = (faults.cluster, standby.lasting_name.clone());
    let heal = Heal::Sql {
        deployment: deployment.clone(),
        // A server that was promoted meanwhile has nothing to resume.
        statements: "SELECT pg_wal_replay_resume() WHERE pg_is_in_recovery()".to_owned(),
    };
    faults.inject(heal, || {
        sql(cluster, &deployment, "SELECT pg_wal_replay_pause()").map(drop)
    })
}

impl Held for Crowd {}

/// Keeps a crowd of sessions that takes every place of a server, until it is healed.
pub fn exhaust(faults: &mut Faults<'_>, crowd: Crowd) -> Result<(), Error> {
    faults.inject_held(Heal::Itself, || Ok(Some(Box::new(crowd))))
}

/// The probe's role gets a new password, and its Secret a moment later.
pub fn rotate_password(faults: &mut Faults<'_>, deployments: &[String], password: &str) -> Result<(), Error> {
    let cluster = faults.cluster;
    let heal = Heal::Password {
        deployments: deployments.to_vec(),
    };
    faults.inject(heal, || {
        set_password(cluster, deployments, password)?;
        // The example's Secrets are immutable: one is replaced, not changed.
        let secret = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": PROBE_SECRET, "namespace": NAMESPACE},
            "immutable": true,
            "stringData": {"password": password},
        });
        host::kubectl(
            cluster,
            &["replace", "--force", "--grace-period=0", "-f", "-"],
            Some(&secret.to_string()),
        )
        .map(drop)
    })
}

/// Gives the probe's role the password that is in its Secret.
pub(super) fn restore_password(cluster: &Cluster, deployments: &[String]) -> Result<(), Error> {
    let template = "-o=go-template={{.data.password | base64decode}}";
    let password = host::kubectl(
        cluster,
        &["-n", NAMESPACE, "get", "secret", PROBE_SECRET, template],
        None,
    )?;
    set_password(cluster, deployments, &password)
}

/// On whichever server takes writes.
fn set_password(cluster: &Cluster, deployments: &[String], password: &str) -> Result<(), Error> {
    let quoted = password.replace('\'', "''");
    let statements = format!(
        "SET log_min_error_statement = 'panic';\nSET log_statement = 'none';\nALTER ROLE {PROBE} PASSWORD '{quoted}';\n"
    );
    let mut last = Err(Error::NoSuch {
        what: "a server that takes writes".to_owned(),
        hint: format!("asked: {}", deployments.join(", ")),
    });
    for deployment in deployments {
        last = sql(cluster, deployment, &statements).map(drop);
        if last.is_ok() {
            break;
        }
    }
    last
}

/// Statements of the superuser, through the socket of the server in a Deployment's pod. They reach psql by its standard input: what is in
/// them is on no command line.
pub fn sql(cluster: &Cluster, deployment: &str, statements: &str) -> Result<String, Error> {
    let pod = format!("deploy/{deployment}");
    let words = ["-n", NAMESPACE, "exec", "-i", &pod, "-c", "postgres", "--"];
    let psql = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "postgres"];
    host::kubectl(cluster, &[&words[..], &psql].concat(), Some(statements))
}

/// Runs a shell script in the container of a Deployment's pod.
pub fn script(cluster: &Cluster, deployment: &str, script: &str) -> Result<String, Error> {
    let pod = format!("deploy/{deployment}");
    host::kubectl(
        cluster,
        &[
            "-n", NAMESPACE, "exec", "-i", &pod, "-c", "postgres", "--", "bash", "-s",
        ],
        Some(script),
    )
}

/// A command in a pod of the example, as a person gives it to a promoter.
pub fn command(cluster: &Cluster, pod: &str, words: &[&str]) -> Result<String, Error> {
    host::kubectl(cluster, &[&["-n", NAMESPACE, "exec", pod, "--"], words].concat(), None)
}

/// Where a server listens.
pub fn address(pod: &PodRef) -> SocketAddr {
    SocketAddr::new(pod.address, super::network::POSTGRES_PORT)
}

/// Makes a new database cluster on a server's empty volume, past every check of the entry point: what somebody does who wants it to run
/// again at any price.
pub fn initdb_by_force(cluster: &Cluster, deployment: &str) -> Result<(), Error> {
    // The container waits for a peer meanwhile; its functions are used, but its questions are not asked.
    script(
        cluster,
        deployment,
        "source /usr/local/bin/entrypoint; ledger_is_blank() { return 0; }; bootstrap",
    )
    .map(drop)
}
