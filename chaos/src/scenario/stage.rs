//! Plays a scenario's acts on the embedded cluster, one round of them.

use std::collections::VecDeque;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use super::act::{Act, Await, Fault, Who};
use super::sockets::Unsent;
use super::strike;
use super::wait::{Roles, look};
use crate::cluster::{self, Cluster, Error};
use crate::console::Server;
use crate::console::{Console, Keys};
use crate::fault::{self, Faults, PodRef, lasting_name, server};
use crate::ground::Ground;
use crate::history::{Event, Phase, PodSeen, State, Target};
use crate::host_time::HostTime;
use crate::install::{CONTROLLER, NAMESPACE, PRIMARY, REPLICA, SYSTEM};
use crate::record::Recorder;
use crate::record::sight::{pod_of, pods, state};
use crate::wait::{PACE, TimedOut, pass, wait_for};

/// Names move within two seconds and a Lease runs out within five; a server is back within ten. Two busy cores take several times that. A
/// wait that must come to its end is given up after this.
const AWAIT_LIMIT: Duration = Duration::from_secs(90);
/// A server that was killed is noticed, and its label withdrawn, within a fraction of this.
const RIGHT_FOR: Duration = Duration::from_secs(1);
/// A standby takes writes 25 ms after it was asked; a starved host was seen to take ten seconds.
const PROMOTION_LIMIT: Duration = Duration::from_secs(30);

/// Why a scenario could not be played to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The cluster or the host failed; nothing is known of pgsteer.
    #[error(transparent)]
    Environment(#[from] cluster::Error),
    /// Something that should have come about did not.
    #[error("it did not come about in time")]
    Missed(#[from] TimedOut),
}

/// Who hears what is done, line by line.
pub type Tell<'a> = &'a (dyn Fn(&str) + Sync);

/// Where one round of a scenario is played.
pub(super) struct Stage<'a> {
    pub(super) ground: &'a Ground,
    pub(super) cluster: &'a Cluster,
    pub(super) keys: &'a Keys,
    pub(super) faults: Faults<'a>,
    pub(super) roles: Roles,
    /// The controllers that ran when the round began.
    pub(super) controllers: Vec<PodRef>,
    recorder: &'a Recorder<'a>,
    tell: Tell<'a>,
    /// The promoter's sessions, opened before anything happens, as a promoter's are.
    consoles: Vec<(Who, Console)>,
    /// What is injected and not healed, with how many faults of [`Faults`] it is made of.
    open: VecDeque<(Fault, Vec<Target>, usize)>,
}

impl<'a> Stage<'a> {
    /// Looks who plays whom, and opens the promoter's sessions.
    pub(super) async fn set(
        ground: &'a Ground,
        cluster: &'a Cluster,
        keys: &'a Keys,
        recorder: &'a Recorder<'a>,
        tell: Tell<'a>,
    ) -> Result<Self, Failure> {
        let labelled = |wanted: &'static str| {
            recorder.until("a primary and a replica", AWAIT_LIMIT, move |events| {
                let pods = pods(events);
                let mut of_role = pods.values().filter(|seen| seen.role.as_deref() == Some(wanted));
                let found = of_role.next().ok_or_else(|| format!("nobody is labelled {wanted}"))?;
                let name = lasting_name(&found.pod).ok_or_else(|| format!("{} has no owner", found.pod))?;
                Ok(name.to_owned())
            })
        };
        let client = cluster.client();
        let mut stage = Self {
            ground,
            cluster,
            keys,
            faults: Faults::new(cluster)?,
            roles: Roles {
                primary: labelled(PRIMARY).await?,
                standby: labelled(REPLICA).await?,
                holder: holder(&client).await?,
                began: HostTime::now(),
            },
            controllers: fault::controllers(&client).await?,
            recorder,
            tell,
            consoles: Vec::new(),
            open: VecDeque::new(),
        };
        for who in [Who::Primary, Who::Standby] {
            let console = stage.console(who).await?;
            stage.consoles.push((who, console));
        }
        Ok(stage)
    }

    /// Plays all acts; what is still injected then is healed, whatever happened.
    pub(super) async fn play(&mut self, acts: &[Act]) -> Result<(), Failure> {
        let mut played = Ok(());
        for act in acts {
            played = self.act(*act).await;
            if played.is_err() {
                break;
            }
        }
        let healed = self.heal();
        played?;
        Ok(healed?)
    }

    async fn act(&mut self, act: Act) -> Result<(), Failure> {
        match act {
            Act::Steps(acts) => {
                for act in acts {
                    Box::pin(self.act(*act)).await?;
                }
            }
            Act::Fault(fault) => self.strike(fault).await?,
            Act::HealFirst => self.heal_first()?,
            Act::Heal => self.heal()?,
            Act::Pass(span) => pass(span).await,
            Act::Promote(who) => self.promote(who).await?,
            Act::Ask { pod, words } => {
                self.note(&format!("{pod}: {}", words.join(" ")));
                tokio::task::block_in_place(|| server::command(self.cluster, pod, words))?;
            }
            Act::Guard { patience, span } => {
                let until = HostTime::now().after(span);
                self.guard(patience, |_| HostTime::now() >= until).await;
            }
            Act::GuardUntilRight { patience, limit } => {
                let until = HostTime::now().after(limit);
                self.guard(patience, |stage| stage.is_right() || HostTime::now() >= until)
                    .await;
                self.until_right(AWAIT_LIMIT).await?;
            }
            Act::Await(what) => self.until(what, AWAIT_LIMIT).await?,
            Act::AwaitAtMost(what, limit) => {
                if let Err(missing) = self.until(what, limit).await {
                    self.note(&format!("went on without: {missing}"));
                }
            }
        }
        Ok(())
    }

    async fn strike(&mut self, fault: Fault) -> Result<(), Failure> {
        let targets = strike::targets(self, fault)?;
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        (self.tell)(&format!("{}: {}", fault.name(), names.join(", ")));
        let before = self.faults.len();
        for target in &targets {
            self.recorder.fault(fault.name(), target.clone(), Phase::Injected);
        }
        strike::strike(self, fault).await?;
        let parts = self.faults.len() - before;
        if fault.is_over_at_once() {
            // What mends by itself must not stand in the row of those that wait to be healed.
            tokio::task::block_in_place(|| self.faults.heal_last(parts))?;
            for target in targets {
                self.recorder.fault(fault.name(), target, Phase::Healed);
            }
        } else {
            self.open.push_back((fault, targets, parts));
        }
        Ok(())
    }

    /// Heals the oldest.
    fn heal_first(&mut self) -> Result<(), Error> {
        let Some((fault, targets, parts)) = self.open.pop_front() else {
            return Ok(());
        };
        tokio::task::block_in_place(|| self.faults.heal_first(parts))?;
        self.healed(fault, targets);
        Ok(())
    }

    /// Heals all, latest first: what was done by way of the API server is undone when it is back.
    fn heal(&mut self) -> Result<(), Error> {
        while let Some((fault, targets, parts)) = self.open.pop_back() {
            tokio::task::block_in_place(|| self.faults.heal_last(parts))?;
            self.healed(fault, targets);
        }
        Ok(())
    }

    fn healed(&self, fault: Fault, targets: Vec<Target>) {
        for target in targets {
            (self.tell)(&format!("healed: {}: {}", fault.name(), target.name));
            self.recorder.fault(fault.name(), target, Phase::Healed);
        }
    }

    async fn promote(&mut self, who: Who) -> Result<(), Failure> {
        let pod = self.server(who)?;
        let kept = self.consoles.iter().position(|(whose, _)| *whose == who);
        let kept = kept.map(|index| self.consoles.swap_remove(index).1);
        (self.tell)(&format!("pg_promote() on {}", pod.name));
        self.recorder.promotion(&pod.name);
        let asked = match &kept {
            Some(console) => console.ask(PROMOTE).await.is_ok(),
            None => false,
        };
        // The server was started again since; a promoter would log in again.
        let console = if let Some(console) = kept.filter(|_| asked) {
            console
        } else {
            let console = self.console(who).await?;
            console.ask(PROMOTE).await?;
            console
        };
        let promoted = wait_for("the promotion", PROMOTION_LIMIT, || async {
            match console.ask("SELECT pg_is_in_recovery()").await {
                Ok(answer) if answer == "f" => Ok(()),
                Ok(_) => Err(format!("{} is in recovery", pod.name)),
                Err(error) => Err(error.to_string()),
            }
        });
        Ok(promoted.await?)
    }

    async fn until(&self, what: Await, limit: Duration) -> Result<(), TimedOut> {
        if what == Await::RequestUnderWay {
            return self.until_request_under_way(limit).await;
        }
        let (roles, text) = (&self.roles, what.to_string());
        self.recorder
            .until(&text, limit, |events| look(what, roles, events))
            .await?;
        self.note(&format!("came about: {text}"));
        Ok(())
    }

    async fn until_request_under_way(&self, limit: Duration) -> Result<(), TimedOut> {
        wait_for(&Await::RequestUnderWay.to_string(), limit, || async {
            let leader = self.leader().ok_or("the leader's pod is gone")?;
            let now = Unsent::of(self.cluster, leader).map_err(|error| error.to_string())?;
            match now.connections() {
                // The renewal of the Lease, which comes every second, is one of them and the write is the other.
                2.. => {
                    self.note("the leader's renewal and its write are under way to the API server");
                    Ok(())
                }
                one => Err(format!("{one} requests are under way")),
            }
        })
        .await
    }

    /// A promoter that watches until it may stop: when nobody has taken writes for as long as its patience, it promotes whoever is in
    /// recovery.
    async fn guard(&mut self, patience: Duration, may_stop: impl Fn(&Self) -> bool) {
        let mut since = HostTime::now();
        while !may_stop(self) {
            pass(PACE).await;
            let standings = [Who::Primary, Who::Standby].map(|who| (who, self.standing(who)));
            if standings
                .iter()
                .any(|(_, state)| matches!(state, Some(State::Writable { .. })))
            {
                since = HostTime::now();
                continue;
            }
            let standby = standings
                .iter()
                .find(|(_, state)| matches!(state, Some(State::InRecovery { .. })));
            if let Some((who, _)) = standby
                && HostTime::now().since(since) >= patience
            {
                // Whoever dies while it is asked is not promoted; the promoter looks again.
                if let Err(failure) = self.promote(*who).await {
                    self.note(&format!("no promotion: {:#}", anyhow::Error::from(failure)));
                }
                since = HostTime::now();
            }
        }
    }

    fn standing(&self, who: Who) -> Option<State> {
        let name = self.roles.server(who);
        self.events(|events| pod_of(events, name).and_then(|pod| state(events, &pod.uid).cloned()))
    }

    fn is_right(&self) -> bool {
        self.events(|events| look(Await::Right, &self.roles, events).is_ok())
    }

    /// Ends when every role has been right for [`RIGHT_FOR`], or tells what is not. A fault of a moment ago has changed nothing yet.
    pub(super) async fn until_right(&self, limit: Duration) -> Result<(), TimedOut> {
        let text = Await::Right.to_string();
        let mut right_since = None;
        let right = wait_for(&text, limit, || {
            let seen = self.events(|events| look(Await::Right, &self.roles, events));
            let now = HostTime::now();
            let since = *right_since.get_or_insert(now);
            let held = match seen {
                Ok(()) if now.since(since) >= RIGHT_FOR => Ok(()),
                Ok(()) => Err("it has only just come about".to_owned()),
                Err(missing) => {
                    right_since = None;
                    Err(missing)
                }
            };
            async { held }
        });
        right.await?;
        self.note(&format!("came about: {text}"));
        Ok(())
    }

    /// The pod of a server as it is now.
    pub(super) fn server(&self, who: Who) -> Result<PodRef, Error> {
        let name = self.roles.server(who);
        self.events(|events| pod_of(events, name).and_then(|seen| pod_ref(seen, name)))
            .ok_or_else(|| Error::NoSuch {
                what: format!("a running pod of {who} ({name})"),
                hint: "it has none at the moment".to_owned(),
            })
    }

    /// The controller that led when the round began.
    pub(super) fn leader(&self) -> Option<&PodRef> {
        let name = self.roles.leader();
        self.controllers.iter().find(|pod| pod.name == name)
    }

    fn events<T>(&self, look: impl FnOnce(&[Event]) -> T) -> T {
        self.recorder.journal().read(look)
    }

    fn note(&self, text: &str) {
        (self.tell)(text);
        self.recorder.note(text);
    }

    async fn console(&self, who: Who) -> Result<Console, Failure> {
        let server = wait_for("a session with the standby", PROMOTION_LIMIT, || async {
            let pod = self.server(who).map_err(|error| error.to_string())?;
            let server = Server {
                pod: pod.name,
                address: pod.address.to_string(),
            };
            let opened = self.keys.open(self.ground, &server, "postgres").await;
            opened.map_err(|error| error.to_string())
        });
        Ok(server.await?)
    }
}

const PROMOTE: &str = "SELECT pg_promote(wait => false)";

fn pod_ref(seen: &PodSeen, lasting_name: &str) -> Option<PodRef> {
    Some(PodRef {
        namespace: NAMESPACE.to_owned(),
        name: seen.pod.clone(),
        uid: seen.uid.clone(),
        node: seen.node.clone()?,
        address: seen.address.as_ref()?.parse().ok()?,
        lasting_name: lasting_name.to_owned(),
    })
}

/// Who holds the Lease. A leader that goes lets go of it; one that cannot is waited out for its time to live.
async fn holder(client: &kube::Client) -> Result<String, Failure> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), SYSTEM);
    let held = wait_for("a leader", AWAIT_LIMIT, || async {
        let lease = leases.get(CONTROLLER).await.map_err(|error| error.to_string())?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        if holder.is_empty() {
            Err("nobody holds the Lease".to_owned())
        } else {
            Ok(holder)
        }
    });
    Ok(held.await?)
}
