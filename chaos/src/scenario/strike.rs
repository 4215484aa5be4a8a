//! From a scenario's fault to the pieces that it strikes.

use std::time::Duration;

use super::act::{Fault, Peer, Who};
use super::stage::{Failure, Stage};
use crate::cluster::{Cluster, Error};
use crate::console::Server;
use crate::fault::{
    PodRef, clock, component, cpu, delay, kill_controller, kill_postmaster, network, node, object, server,
};
use crate::fault::{terminate, volume};
use crate::history::Target;
use crate::install::{CONTROLLER, NAMESPACE, SYSTEM};
use crate::wait::wait_for;

/// The password that the probe's role gets: it is no secret, the cluster is thrown away.
const NEW_PASSWORD: &str = "rotated-by-chaos";

/// What a fault will strike, as the history tells it.
pub(super) fn targets(stage: &Stage<'_>, fault: Fault) -> Result<Vec<Target>, Error> {
    let part = fault.part();
    let named = |names: Vec<String>| names.into_iter().map(|name| Target::new(part, name)).collect();
    Ok(match fault {
        Fault::KillComponent(name) | Fault::FreezeComponent(name) => named(vec![name.to_owned()]),
        Fault::FreezeEverywhere(name) => named(everywhere(stage.cluster, name)),
        Fault::KillOnNodeOf(name, who) => {
            let nodes = pods(stage, who)?.into_iter().map(|pod| format!("{name}-{}", pod.node));
            named(nodes.collect())
        }
        Fault::SwitchOff(who) | Fault::Unplug(who) => {
            named(pods(stage, who)?.into_iter().map(|pod| pod.node).collect())
        }
        Fault::Roll => named(vec![CONTROLLER.to_owned()]),
        Fault::RotatePassword => named(vec![stage.server(Who::Primary)?.name]),
        Fault::Starve => named(vec!["host".to_owned()]),
        // A server that is stopped has no pod, but its name.
        Fault::Wipe(who) => named(vec![stage.roles.server(who).to_owned()]),
        Fault::Kill(who)
        | Fault::Freeze(who)
        | Fault::Terminate(who)
        | Fault::Delete(who)
        | Fault::ForceDelete(who)
        | Fault::Stop(who)
        | Fault::Initdb(who)
        | Fault::Fill(who)
        | Fault::Hang(who)
        | Fault::PauseReplay(who)
        | Fault::Exhaust(who)
        | Fault::Cut(who, _)
        | Fault::Slow(who, _)
        | Fault::Skew(who, _) => named(names(stage, who)?),
    })
}

/// Brings a fault about. Blocks for the milliseconds that a signal or a rule takes, and longer where kubectl is run.
pub(super) async fn strike(stage: &mut Stage<'_>, fault: Fault) -> Result<(), Failure> {
    match fault {
        Fault::Exhaust(who) => return exhaust(stage, who).await,
        Fault::Initdb(who) => return initdb(stage, who).await,
        _ => {}
    }
    Ok(tokio::task::block_in_place(|| strike_now(stage, fault))?)
}

fn strike_now(stage: &mut Stage<'_>, fault: Fault) -> Result<(), Error> {
    let cluster = stage.cluster;
    match fault {
        Fault::Kill(who) => pods(stage, who)?.iter().try_for_each(|pod| kill(cluster, pod)),
        Fault::Freeze(who) => each(stage, who, |stage, pod| stage.faults.freeze(pod)),
        Fault::Terminate(who) => pods(stage, who)?
            .iter()
            .try_for_each(|pod| terminate(cluster, pod).map(drop)),
        Fault::Delete(who) => each(stage, who, |stage, pod| {
            object::delete_pod(&mut stage.faults, pod, false)
        }),
        Fault::ForceDelete(who) => each(stage, who, |stage, pod| {
            object::delete_pod(&mut stage.faults, pod, true)
        }),
        Fault::Stop(who) => {
            let deployment = stage.roles.server(who).to_owned();
            object::stop_deployment(&mut stage.faults, NAMESPACE, &deployment)
        }
        Fault::Wipe(who) => {
            let deployment = stage.roles.server(who).to_owned();
            volume::wipe(&mut stage.faults, &deployment)
        }
        Fault::Fill(who) => {
            let deployment = stage.roles.server(who).to_owned();
            volume::fill(&mut stage.faults, &deployment)
        }
        Fault::Hang(who) => {
            let deployment = stage.roles.server(who).to_owned();
            volume::hang(&mut stage.faults, &deployment)
        }
        Fault::PauseReplay(who) => each(stage, who, |stage, pod| server::pause_replay(&mut stage.faults, pod)),
        Fault::Exhaust(_) | Fault::Initdb(_) => Ok(()),
        Fault::RotatePassword => {
            let deployments = [stage.roles.primary.clone(), stage.roles.standby.clone()];
            server::rotate_password(&mut stage.faults, &deployments, NEW_PASSWORD)
        }
        Fault::Cut(who, peer) => cut(stage, who, peer),
        Fault::Slow(who, late) => each(stage, who, |stage, pod| delay::slow_pod(&mut stage.faults, pod, late)),
        Fault::Skew(who, seconds) => each(stage, who, |stage, pod| clock::skew(&mut stage.faults, pod, seconds)),
        Fault::Roll => object::roll(&mut stage.faults, SYSTEM, CONTROLLER),
        Fault::KillComponent(name) => component::kill(&mut stage.faults, &[name.to_owned()]),
        Fault::FreezeComponent(name) => component::freeze(&mut stage.faults, &[name.to_owned()]),
        Fault::FreezeEverywhere(name) => component::freeze(&mut stage.faults, &everywhere(cluster, name)),
        Fault::KillOnNodeOf(name, who) => each(stage, who, |stage, pod| {
            component::kill(&mut stage.faults, &[format!("{name}-{}", pod.node)])
        }),
        Fault::SwitchOff(who) => each(stage, who, |stage, pod| node::switch_off(&mut stage.faults, &pod.node)),
        Fault::Unplug(who) => each(stage, who, |stage, pod| {
            network::unplug_node(&mut stage.faults, &pod.node)
        }),
        Fault::Starve => cpu::starve(&mut stage.faults),
    }
}

/// The pods that somebody has.
fn pods(stage: &Stage<'_>, who: Who) -> Result<Vec<PodRef>, Error> {
    match who {
        Who::Primary | Who::Standby => Ok(vec![stage.server(who)?]),
        Who::Leader => stage
            .leader()
            .map(|pod| vec![pod.clone()])
            .ok_or_else(|| Error::NoSuch {
                what: format!("the pod of the leader {}", stage.roles.holder),
                hint: "it ended a moment ago".to_owned(),
            }),
        Who::Controllers => Ok(stage.controllers.clone()),
    }
}

fn names(stage: &Stage<'_>, who: Who) -> Result<Vec<String>, Error> {
    Ok(pods(stage, who)?.into_iter().map(|pod| pod.name).collect())
}

fn each<'a>(
    stage: &mut Stage<'a>,
    who: Who,
    mut strike: impl FnMut(&mut Stage<'a>, &PodRef) -> Result<(), Error>,
) -> Result<(), Error> {
    pods(stage, who)?.iter().try_for_each(|pod| strike(stage, pod))
}

fn everywhere(cluster: &Cluster, name: &str) -> Vec<String> {
    let nodes = cluster.nodes();
    nodes.iter().map(|node| format!("{name}-{node}")).collect()
}

fn kill(cluster: &Cluster, pod: &PodRef) -> Result<(), Error> {
    if pod.namespace == NAMESPACE {
        kill_postmaster(cluster, &pod.uid).map(drop)
    } else {
        kill_controller(cluster, &pod.uid).map(drop)
    }
}

fn cut(stage: &mut Stage<'_>, who: Who, peer: Peer) -> Result<(), Error> {
    let from = match peer {
        Peer::ApiServer => network::From::ApiServer,
        Peer::Servers => network::From::Servers,
        Peer::Pod(other) => network::From::Address(stage.server(other)?.address),
        Peer::Everyone => network::From::Everyone,
    };
    each(stage, who, |stage, pod| network::cut_pod(&mut stage.faults, pod, from))
}

async fn exhaust(stage: &mut Stage<'_>, who: Who) -> Result<(), Failure> {
    let pod = stage.server(who)?;
    let server = Server {
        pod: pod.name,
        address: pod.address.to_string(),
    };
    let crowd = stage.keys.crowd(stage.ground, &server).await?;
    Ok(server::exhaust(&mut stage.faults, crowd)?)
}

/// The container that waits for a peer may not be up yet.
async fn initdb(stage: &Stage<'_>, who: Who) -> Result<(), Failure> {
    let deployment = stage.roles.server(who);
    let done = wait_for("initdb by force", INITDB_LIMIT, || async {
        let done = tokio::task::block_in_place(|| server::initdb_by_force(stage.cluster, deployment));
        done.map_err(|error| error.to_string())
    });
    Ok(done.await?)
}

/// A container starts within two seconds and initdb takes three; a busy host was seen to take ten times that.
const INITDB_LIMIT: Duration = Duration::from_mins(1);
