//! Makes the pair sound again between two scenarios: usually it has mended by itself; else it is made anew, which takes longer.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::stage::{Failure, Tell};
use super::watch;
use crate::cluster::{Cluster, Error};
use crate::console::{Keys, servers};
use crate::ground::Images;
use crate::install::{CONTROLLER, Installation, NAMESPACE, SYSTEM};
use crate::wait::wait_for;

/// A server that is started again streams within ten seconds, one that is cloned within twenty; two busy cores take twice that.
const MENDS_LIMIT: Duration = Duration::from_secs(90);
/// What was made anew is sound within the time that an installation takes.
const ANEW_LIMIT: Duration = Duration::from_mins(4);

/// Waits until the pair is sound; makes it anew where it does not mend.
pub(super) async fn reset(
    installation: &Installation<'_>,
    cluster: &Cluster,
    images: &Images,
    tell: Tell<'_>,
) -> Result<(), Failure> {
    scale_up(installation).await?;
    match sound(installation, MENDS_LIMIT).await {
        Ok(()) => Ok(()),
        Err(Failure::Missed(missing)) => {
            tell(&format!("the pair did not mend ({}); it is made anew", missing.missing));
            anew(installation, cluster, images).await
        }
        Err(error) => Err(error),
    }
}

/// Makes the installation's example anew, in place of what is there, and waits until it is sound.
pub(super) async fn anew(installation: &Installation<'_>, cluster: &Cluster, images: &Images) -> Result<(), Failure> {
    installation.remake(cluster, images).await.map_err(environment)?;
    sound(installation, ANEW_LIMIT).await
}

/// What a scenario stopped and could not start again.
async fn scale_up(installation: &Installation<'_>) -> Result<(), Failure> {
    let deployments: Api<Deployment> = Api::namespaced(installation.ground.client(), NAMESPACE);
    let listed = deployments.list(&ListParams::default()).await;
    for deployment in listed.map_err(Error::api("list the Deployments"))? {
        if deployment.spec.as_ref().and_then(|spec| spec.replicas) == Some(0) {
            let name = format!("deployment/{}", deployment.name_any());
            let words = ["-n", NAMESPACE, "scale", &name, "--replicas=1"];
            installation.ground.kubectl().run(&words, None).await?;
        }
    }
    Ok(())
}

/// Waits until every node is Ready, every controller is, the route is Settled, the standby streams, and the promoter has both in view.
async fn sound(installation: &Installation<'_>, limit: Duration) -> Result<(), Failure> {
    let sound = wait_for("the pair to be sound", limit, || async {
        nodes_ready(installation).await?;
        controllers_ready(installation).await?;
        installation.settled().await?;
        streams(installation).await?;
        watch::watched(installation).await
    });
    Ok(sound.await?)
}

async fn nodes_ready(installation: &Installation<'_>) -> Result<(), String> {
    let nodes: Api<Node> = Api::all(installation.ground.client());
    let listed = nodes
        .list(&ListParams::default())
        .await
        .map_err(|error| error.to_string())?;
    for node in listed {
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        let ready = conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        if !ready {
            let name = node.metadata.name.unwrap_or_default();
            return Err(format!("node {name} is not Ready"));
        }
    }
    Ok(())
}

async fn controllers_ready(installation: &Installation<'_>) -> Result<(), String> {
    let deployments: Api<Deployment> = Api::namespaced(installation.ground.client(), SYSTEM);
    let found = deployments.get(CONTROLLER).await.map_err(|error| error.to_string())?;
    let wanted = found.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = found.status.unwrap_or_default();
    let (ready, updated) = (status.ready_replicas.unwrap_or(0), status.updated_replicas.unwrap_or(0));
    let all = status.replicas.unwrap_or(0);
    let observed = status.observed_generation >= found.metadata.generation;
    if observed && ready == wanted && updated == wanted && all == wanted {
        Ok(())
    } else {
        Err(format!(
            "{ready} of {wanted} controllers are ready, {updated} of {all} are of the present kind"
        ))
    }
}

/// The primary feeds its standby.
async fn streams(installation: &Installation<'_>) -> Result<(), String> {
    let ground = installation.ground;
    let keys = Keys::read(&ground.client()).await.map_err(|error| error.to_string())?;
    let mut told = Vec::new();
    for (server, _) in servers(&ground.client()).await.map_err(|error| error.to_string())? {
        let asked = async {
            let console = keys.open(ground, &server, "postgres").await?;
            console.ask(STREAMS).await
        };
        match asked.await {
            Ok(answer) if answer == "streaming" => return Ok(()),
            Ok(answer) => told.push(format!("{}: {answer}", server.pod)),
            Err(error) => told.push(format!("{}: {error}", server.pod)),
        }
    }
    Err(told.join("; "))
}

const STREAMS: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN 'in recovery' \
    ELSE coalesce((SELECT state FROM pg_stat_replication LIMIT 1), 'nobody follows') END";

fn environment(error: crate::install::Error) -> Failure {
    match error {
        crate::install::Error::Environment(error) => Failure::Environment(error),
        crate::install::Error::NotWorking { missing, .. } => Failure::Missed(missing),
    }
}
