//! One round of a leader's end: pgsteer's, and client-go's beside it.
//!
//! For pgsteer the other leads when the API server has answered the first write under its term; for client-go when it has taken the Lease.

use std::collections::VecDeque;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::DeleteParams;
use rustix::process::Signal;

use super::cell::Ending;
use super::observer::{Noise, load};
use super::phases::{Phase, Phases};
use super::round::{Played, Stage};
use crate::cluster::{Cluster, Error};
use crate::fault::{self, PodRef};
use crate::ground::Ground;
use crate::host_time::HostTime;
use crate::install::{CONTROLLER, SYSTEM};
use crate::record::audit::Tail;
use crate::wait::{pass, wait_for};

/// A controller that has ended is started again at once, and is ready when it has seen the Lease; a busy host takes ten times that.
const READY_LIMIT: Duration = Duration::from_mins(1);
/// client-go's defaults let a leader's Lease stand for 15 s, and a candidate look every 2 to 4.4 s.
const TAKEOVER_LIMIT: Duration = Duration::from_mins(1);
/// Between two ends of a leader everybody has renewed and looked once.
const CALM: Duration = Duration::from_secs(1);

/// The namespace and the name of the Lease that client-go's candidates contend for.
const KUBE_SYSTEM: &str = "kube-system";
const ELECTION: &str = "bench-election";
/// Candidates at a time, as pgsteer has followers: one leads, one waits.
const CANDIDATES: usize = 2;

/// The pod of pgsteer's leader, once every replica is ready.
pub(super) async fn leader(ground: &Ground) -> Result<PodRef, String> {
    let leases: Api<Lease> = Api::namespaced(ground.client(), SYSTEM);
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(ground.client(), SYSTEM);
    let led = wait_for("a leader among ready replicas", READY_LIMIT, || async {
        let told = |error: kube::Error| error.to_string();
        let status = deployments
            .get(CONTROLLER)
            .await
            .map_err(told)?
            .status
            .unwrap_or_default();
        let (all, ready) = (status.replicas.unwrap_or(0), status.ready_replicas.unwrap_or(0));
        if ready < all || all < 2 {
            return Err(format!("{ready} of {all} replicas are ready"));
        }
        let spec = leases.get(CONTROLLER).await.map_err(told)?.spec.unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        let pod = holder.rsplit_once('_').map_or("", |(pod, _)| pod);
        let controllers = fault::controllers(&ground.client())
            .await
            .map_err(|error| error.to_string())?;
        let found = controllers.into_iter().find(|one| one.name == pod);
        found.ok_or_else(|| format!("the Lease's holder is {holder:?}"))
    });
    led.await.map_err(|timed_out| timed_out.to_string())
}

async fn term(ground: &Ground) -> Result<u32, String> {
    let leases: Api<Lease> = Api::namespaced(ground.client(), SYSTEM);
    let lease = leases.get(CONTROLLER).await.map_err(|error| error.to_string())?;
    let transitions = lease.spec.and_then(|spec| spec.lease_transitions).unwrap_or(0);
    u32::try_from(transitions).map_err(|error| error.to_string())
}

fn signal(by: Ending) -> Signal {
    match by {
        Ending::Asked => Signal::TERM,
        Ending::Killed => Signal::KILL,
    }
}

impl Stage<'_> {
    /// Ends pgsteer's leader, and waits for the first write of the next one.
    pub(super) async fn end_leader(&self, by: Ending) -> Result<Played, String> {
        let leader = leader(self.yard.ground).await?;
        pass(CALM).await;
        let term = term(self.yard.ground).await?;
        let process = fault::controller(self.cluster, &leader.uid).map_err(|error| error.to_string())?;
        let mut tail = Tail::at_end(&self.cluster.audit_log()).map_err(|error| error.to_string())?;
        let (noise, load) = (Noise::start().map_err(|error| error.to_string())?, load());
        let ended = HostTime::now();
        match process.signal(signal(by)) {
            Ok(true) => {}
            Ok(false) => return Err("the leader had ended before".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
        let wrote = self.until_stamped_above(term, ended, &mut tail).await?;
        Ok(played(ended, wrote, noise.stop(), load))
    }
}

fn played(ended: HostTime, taken: HostTime, noise_micros: u64, load: f64) -> Played {
    let lasted = taken.since(ended);
    let micros = i64::try_from(lasted.as_micros()).unwrap_or(i64::MAX);
    Played {
        phases: Phases::from([(Phase::Takeover, micros)]),
        lasted,
        withdrawn_before_millis: None,
        noise_micros,
        load,
    }
}

/// Candidates of client-go: kube-controller-managers that run no controller that has anything to do, beside the cluster's own. The first
/// leads. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Candidates<'a> {
    cluster: &'a Cluster,
    processes: VecDeque<Candidate>,
}

#[derive(Debug)]
struct Candidate(Child);

impl Drop for Candidate {
    fn drop(&mut self) {
        // One that has ended already is only looked at.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl<'a> Candidates<'a> {
    /// Starts them, one after the other, and waits until the first leads.
    pub(super) async fn start(cluster: &'a Cluster) -> Result<Self, String> {
        let leases: Api<Lease> = Api::namespaced(cluster.client(), KUBE_SYSTEM);
        #[expect(clippy::disallowed_methods, reason = "a Lease of this measurement's own")]
        let deleted = leases.delete(ELECTION, &DeleteParams::default()).await;
        if let Err(error) = deleted {
            tracing::debug!(%error, "no Lease of an earlier run");
        }
        let mut candidates = Self {
            cluster,
            processes: VecDeque::new(),
        };
        candidates.add()?;
        candidates.until_led(&leases, None).await?;
        while candidates.processes.len() < CANDIDATES {
            candidates.add()?;
        }
        Ok(candidates)
    }

    fn add(&mut self) -> Result<(), String> {
        let kubeconfig = self.cluster.kubeconfig().display().to_string();
        let words = [
            "kube-controller-manager",
            "--kubeconfig",
            &kubeconfig,
            "--controllers=ttl-after-finished-controller",
            "--secure-port=0",
            "--leader-elect=true",
            "--leader-elect-resource-name",
            ELECTION,
        ];
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let mut command: Command = self
            .cluster
            .command(None, &words)
            .map_err(|error: Error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| error.to_string())?;
        self.processes.push_back(Candidate(child));
        Ok(())
    }

    /// Waits until somebody other than `before` holds the Lease: who, and since when by its own word.
    async fn until_led(&self, leases: &Api<Lease>, before: Option<&str>) -> Result<(String, HostTime), String> {
        let led = wait_for("client-go's next leader", TAKEOVER_LIMIT, || async {
            let spec = leases
                .get(ELECTION)
                .await
                .map_err(|error| error.to_string())?
                .spec
                .unwrap_or_default();
            let holder = spec
                .holder_identity
                .filter(|holder| !holder.is_empty() && Some(holder.as_str()) != before);
            let acquired = spec
                .acquire_time
                .map(|time| HostTime::of_unix_micros(time.0.as_microsecond()));
            holder
                .zip(acquired)
                .ok_or_else(|| "nobody else holds the Lease".to_owned())
        });
        led.await.map_err(|timed_out| timed_out.to_string())
    }

    /// Ends the leader, waits for the next one, and puts another candidate in the row.
    pub(super) async fn end_leader(&mut self, by: Ending) -> Result<Played, String> {
        let leases: Api<Lease> = Api::namespaced(self.cluster.client(), KUBE_SYSTEM);
        let (before, _) = self.until_led(&leases, None).await?;
        // A candidate has seen the Lease before it is of use; it looks at it at once when it starts.
        pass(CANDIDATE_STARTS).await;
        let (noise, load) = (Noise::start().map_err(|error| error.to_string())?, load());
        let leader = self.processes.pop_front().ok_or("there is no candidate")?;
        let pid = i32::try_from(leader.0.id()).map_err(|error| error.to_string())?;
        let process = crate::cluster::process::Process::find(pid).ok_or("the leader has ended by itself")?;
        let ended = HostTime::now();
        process.signal(signal(by)).map_err(|error| error.to_string())?;
        let (_, taken) = self.until_led(&leases, Some(&before)).await?;
        let played = played(ended, taken, noise.stop(), load);
        drop(leader);
        self.add()?;
        Ok(played)
    }
}

/// A kube-controller-manager runs within two seconds.
const CANDIDATE_STARTS: Duration = Duration::from_secs(5);
