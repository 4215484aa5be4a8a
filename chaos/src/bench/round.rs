//! One round of a switch, or of a server that hangs.
//!
//! ```text
//! sound ─> observer, client ─> calm ─> cut ─> (a promoter's pause) ─> pg_promote ─> t0 ─> first write ─> phases ─> sound again
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;

use super::attempt::Ask;
use super::audit::{self, Written};
use super::cell::{Cut, Door, Pair};
use super::manifest::SERVICE_PORT;
use super::measure::Measurement;
use super::observer::{Noise, Observer, Promoted};
use super::pair::{MENDED_LIMIT, Ready, Sides, Yard, certificate};
use super::phases::{Heard, Phase, Phases, Side, WRONG, add_up};
use crate::cluster::{Cluster, Error};
use crate::console::{Console, Server};
use crate::fault::{self, Faults};
use crate::host_time::HostTime;
use crate::install::WRITES;
use crate::record::audit::Tail;
use crate::wait::{pass, wait_for};

/// kube-proxy leaves a second between two syncs: what the last round has changed must not delay this one.
const CALM: Duration = Duration::from_millis(1_500);
/// How long a promoter takes to be sure: by turns longer and shorter than the second that kube-proxy leaves between two syncs.
const PROMOTER_DECIDES: [Duration; 2] = [Duration::from_millis(1_300), Duration::from_millis(300)];
/// A standby takes writes within a second of being asked; Patroni's switchover within ten.
const PROMOTION_LIMIT: Duration = Duration::from_mins(1);
/// The slowest rival has routed by then.
const ROUTED_LIMIT: Duration = Duration::from_mins(1);
/// The pause between two attempts of the client.
const ATTEMPT_EVERY_MILLIS: u64 = 10;

/// What a round gave.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Played {
    pub(super) phases: Phases,
    pub(super) lasted: Duration,
    pub(super) withdrawn_before_millis: Option<i64>,
    pub(super) noise_micros: u64,
    pub(super) load: f64,
}

/// Where rounds are played.
pub(super) struct Stage<'a> {
    pub(super) yard: Yard<'a>,
    pub(super) cluster: &'a Cluster,
    /// Those that were asked for; or why one did not come to be.
    pub(super) pairs: BTreeMap<Pair, Result<Ready, String>>,
    /// Why the proxies did not come to be.
    pub(super) no_proxies: Option<String>,
}

/// What a round listens to.
struct Ears {
    tail: Tail,
    written: Vec<Written>,
    noise: Noise,
    load: f64,
}

impl Stage<'_> {
    fn ready(&self, pair: Pair) -> Result<&Ready, String> {
        match self.pairs.get(&pair) {
            Some(Ok(ready)) => Ok(ready),
            Some(Err(why)) => Err(why.clone()),
            None => Err(format!("{} is not installed", pair.namespace())),
        }
    }

    fn listen(&self) -> Result<Ears, String> {
        let told = |error: std::io::Error| error.to_string();
        Ok(Ears {
            load: super::observer::load(),
            tail: Tail::at_end(&self.cluster.audit_log()).map_err(told)?,
            written: Vec::new(),
            noise: Noise::start().map_err(told)?,
        })
    }

    /// Plays a switch. The error says why it gave nothing.
    pub(super) async fn switch(&self, pair: Pair, cut: Cut, door: Door, number: usize) -> Result<Played, String> {
        let ready = self.ready(pair)?;
        if let (Door::Proxy(_), Some(why)) = (door, &self.no_proxies) {
            return Err(why.clone());
        }
        let sides = self
            .yard
            .sound(ready, MENDED_LIMIT)
            .await
            .map_err(|error| error.to_string())?;
        let network = self.cluster.network().ok_or("the cluster has no nodes")?;
        let (observer, promoted) = Observer::start(&network, &ready.keys, sides.standby.1.address).await?;
        let standby = self.console(ready, &sides.standby.0).await?;
        let leader = match cut {
            Cut::KilledWithLeader => Some(super::succession::leader(self.yard.ground).await?),
            Cut::Killed | Cut::Beaten | Cut::Planned => None,
        };
        pass(CALM).await;
        let client = Measurement::begin(self.cluster, ready.client, &ask(pair, door)).await?;
        let mut ears = self.listen()?;
        let began = self.strike(cut, &sides, leader.as_ref().map(|leader| leader.uid.as_str()))?;
        if matches!(cut, Cut::Killed | Cut::KilledWithLeader) {
            pass(PROMOTER_DECIDES[number % PROMOTER_DECIDES.len()]).await;
        }
        let t0 = match cut {
            Cut::Planned => self.ask_for_switchover(pair, &sides, promoted).await?,
            Cut::Killed | Cut::Beaten | Cut::KilledWithLeader => promote(&standby, promoted).await?,
        };
        let mut heard = nothing_heard(&sides, began, Some(t0), matches!(cut, Cut::Beaten | Cut::Planned));
        let phases = self
            .until_told(pair, &mut ears, &mut heard, Some(&client), needed(door))
            .await?;
        drop((client, observer));
        if door == Door::Service {
            add_up(&phases, pair != Pair::Slices, ears.noise.so_far()).map_err(|wrong| format!("{WRONG}: {wrong}"))?;
        }
        let phases = match door {
            Door::Service => phases,
            // What pgsteer does with its labels beside a proxy is none of the proxy's.
            Door::Proxy(_) | Door::EveryServer => {
                phases.into_iter().filter(|(phase, _)| *phase == Phase::Write).collect()
            }
        };
        let played = end(ears, &heard, phases);
        self.yard
            .sound(ready, MENDED_LIMIT)
            .await
            .map_err(|error| error.to_string())?;
        Ok(played)
    }

    /// The primary hangs until its label is gone.
    pub(super) async fn freeze(&self, pair: Pair) -> Result<Played, String> {
        let ready = self.ready(pair)?;
        let sides = self
            .yard
            .sound(ready, MENDED_LIMIT)
            .await
            .map_err(|error| error.to_string())?;
        let told = |error: Error| error.to_string();
        let mut faults = Faults::new(self.cluster).map_err(told)?;
        pass(CALM).await;
        let mut ears = self.listen()?;
        let began = HostTime::now();
        tokio::task::block_in_place(|| faults.freeze(&sides.primary.1)).map_err(told)?;
        let mut heard = nothing_heard(&sides, began, None, false);
        let phases = self
            .until_told(pair, &mut ears, &mut heard, None, &[Phase::Withdrawn, Phase::Emptied])
            .await;
        tokio::task::block_in_place(|| faults.heal()).map_err(told)?;
        let played = end(ears, &heard, phases?);
        self.yard
            .sound(ready, MENDED_LIMIT)
            .await
            .map_err(|error| error.to_string())?;
        Ok(played)
    }

    /// Brings the cut about and says when. Whoever is struck has been looked up before, so that the stamp is the signal's.
    fn strike(&self, cut: Cut, sides: &Sides, leader: Option<&str>) -> Result<HostTime, String> {
        if matches!(cut, Cut::Beaten | Cut::Planned) {
            return Ok(HostTime::now());
        }
        let told = |error: Error| error.to_string();
        let mut struck = vec![fault::postmaster(self.cluster, &sides.primary.1.uid).map_err(told)?];
        if let Some(leader) = leader {
            struck.push(fault::controller(self.cluster, leader).map_err(told)?);
        }
        let began = HostTime::now();
        for process in struck {
            match process.signal(Signal::KILL) {
                Ok(true) => {}
                Ok(false) => return Err("who was to be killed had ended before".to_owned()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(began)
    }

    async fn ask_for_switchover(&self, pair: Pair, sides: &Sides, promoted: Promoted) -> Result<HostTime, String> {
        let pod = sides.standby.0.pod.as_str();
        let words = [
            "-n",
            pair.namespace(),
            "exec",
            pod,
            "--",
            "patronictl",
            "switchover",
            "--force",
        ];
        let kubectl = self.yard.ground.kubectl();
        let asking = async {
            match kubectl.run(&words, None).await {
                Ok(_) => std::future::pending::<String>().await,
                Err(error) => error.to_string(),
            }
        };
        tokio::select! {
            seen = wait_for_promotion(promoted) => seen,
            refused = asking => Err(refused),
        }
    }

    async fn console(&self, ready: &Ready, server: &Server) -> Result<Console, String> {
        let opened = ready.keys.open(self.yard.ground, server, "postgres").await;
        opened.map_err(|error| error.to_string())
    }

    /// Listens until everything that is needed has been heard.
    async fn until_told(
        &self,
        pair: Pair,
        ears: &mut Ears,
        heard: &mut Heard,
        client: Option<&Measurement>,
        needed: &[Phase],
    ) -> Result<Phases, String> {
        let began = HostTime::now();
        loop {
            ears.take(pair).map_err(|error| error.to_string())?;
            heard.attempts = client.map(Measurement::attempts).unwrap_or_default();
            (heard.labels, heard.edits) = ears.about_pods();
            let phases = heard.phases();
            let missing: Vec<&str> = needed
                .iter()
                .filter(|phase| !phases.contains_key(phase))
                .map(|phase| phase.title())
                .collect();
            if missing.is_empty() {
                return Ok(phases);
            }
            if HostTime::now().since(began) > ROUTED_LIMIT {
                return Err(format!(
                    "not within {}: {}",
                    humantime::format_duration(ROUTED_LIMIT),
                    missing.join(", ")
                ));
            }
            pass(crate::wait::PACE).await;
        }
    }
}

impl Ears {
    fn take(&mut self, pair: Pair) -> std::io::Result<()> {
        self.written.extend(audit::take(&mut self.tail, pair.namespace())?);
        Ok(())
    }

    fn about_pods(&self) -> (Vec<super::phases::LabelEdit>, Vec<super::phases::SliceEdit>) {
        let (mut labels, mut edits) = (Vec::new(), Vec::new());
        for written in &self.written {
            match written {
                Written::Label(edit) => labels.push(edit.clone()),
                Written::Slice(edit) => edits.push(edit.clone()),
                Written::Stamped { .. } => {}
            }
        }
        (labels, edits)
    }
}

fn end(ears: Ears, heard: &Heard, phases: Phases) -> Played {
    let micros = |phase: Phase| phases.get(&phase).copied();
    let zero = heard.promoted.unwrap_or(heard.cut);
    let last = phases.values().copied().max().unwrap_or(0);
    let lasted = zero.since(heard.cut) + Duration::from_micros(last.unsigned_abs());
    let withdrawn = heard.promoted.zip(micros(Phase::Withdrawn));
    let withdrawn = withdrawn.map(|(promoted, micros)| promoted.millis_since(heard.wrong_from()) - micros / 1000);
    Played {
        lasted,
        withdrawn_before_millis: withdrawn,
        noise_micros: ears.noise.stop(),
        load: ears.load,
        phases,
    }
}

/// A round of which nothing has been heard yet.
fn nothing_heard(sides: &Sides, cut: HostTime, promoted: Option<HostTime>, is_beaten: bool) -> Heard {
    Heard {
        cut,
        promoted,
        is_beaten,
        old: side(&sides.primary.0),
        new: side(&sides.standby.0),
        slices: sides.slices.clone(),
        labels: Vec::new(),
        edits: Vec::new(),
        attempts: Vec::new(),
    }
}

fn side(server: &Server) -> Side {
    Side {
        pod: server.pod.clone(),
        address: server.address.clone(),
    }
}

fn needed(door: Door) -> &'static [Phase] {
    match door {
        Door::Service => &[
            Phase::Withdrawn,
            Phase::Emptied,
            Phase::Label,
            Phase::Slice,
            Phase::Write,
            Phase::Exposure,
        ],
        Door::Proxy(_) | Door::EveryServer => &[Phase::Write],
    }
}

fn ask(pair: Pair, door: Door) -> Ask {
    let namespace = pair.namespace();
    let (name, port, is_choosy) = match door {
        Door::Service => (WRITES, SERVICE_PORT, false),
        Door::Proxy(name) => (name, SERVICE_PORT, false),
        Door::EveryServer => ("pg-nodes", crate::console::POSTGRES_PORT, true),
    };
    Ask {
        name: format!("{name}.{namespace}.svc"),
        port,
        certificate: certificate(pair),
        every_millis: ATTEMPT_EVERY_MILLIS,
        is_choosy,
    }
}

async fn promote(standby: &Console, promoted: Promoted) -> Result<HostTime, String> {
    let asked = standby.ask("SELECT pg_promote(wait => false)").await;
    asked.map_err(|error| error.to_string())?;
    wait_for_promotion(promoted).await
}

async fn wait_for_promotion(promoted: Promoted) -> Result<HostTime, String> {
    match tokio::time::timeout(PROMOTION_LIMIT, promoted).await {
        Ok(Ok(told)) => told,
        Ok(Err(_ended)) => Err("the observer ended".to_owned()),
        Err(_elapsed) => Err("the standby was not promoted".to_owned()),
    }
}

impl Stage<'_> {
    /// Listens until a write under a higher term has been answered, and says when.
    pub(super) async fn until_stamped_above(
        &self,
        term: u32,
        since: HostTime,
        tail: &mut Tail,
    ) -> Result<HostTime, String> {
        let first = std::cell::Cell::new(None);
        let tail = std::cell::RefCell::new(tail);
        let stamped = wait_for("a write of the next leader", ROUTED_LIMIT, || async {
            let written =
                audit::take(&mut tail.borrow_mut(), Pair::Labels.namespace()).map_err(|error| error.to_string())?;
            for one in written {
                if let Written::Stamped { term: found, answered } = one
                    && found > term
                    && answered >= since
                {
                    first.set(Some(
                        first.get().map_or(answered, |earlier: HostTime| earlier.min(answered)),
                    ));
                }
            }
            first.get().ok_or_else(|| format!("none is above term {term}"))
        });
        stamped.await.map_err(|timed_out| timed_out.to_string())
    }
}
