//! A sabotage, played and judged: it has to be caught.
//!
//! ```text
//! record ──> textbook in place of pgsteer ──> what brings the lie out ──> judge ──> pgsteer back, Settled
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use shared::ledger::PostgresLedger;

use super::{Sabotage, Textbook};
use crate::cluster;
use crate::console::Server;
use crate::console::{POSTGRES_PORT, servers};
use crate::ground::{Ground, Images};
use crate::history::{Event, Happening, Part, Phase, Target};
use crate::host_time::HostTime;
use crate::install::{self, Installation, NAMESPACE, PRIMARY, ROUTE};
use crate::oracle::{self, Verdict};
use crate::record::sight::pods;
use crate::record::{Options, Recorder};
use crate::report;
use crate::wait::wait_for;

/// A lie lasts this long before it is judged: the longest bound of the rules is silentAfter and a second.
const LIE_LASTS: Duration = Duration::from_secs(5);
/// The textbook's handlers run twice a second; a promotion takes milliseconds, on a busy host seconds.
const TOLD_LIMIT: Duration = Duration::from_secs(30);

/// What the judge made of a sabotage.
#[derive(Debug)]
pub struct Caught {
    /// What was broken on purpose.
    pub sabotage: Sabotage,
    /// The judge's verdict.
    pub verdict: Verdict,
    /// The report of the run.
    pub report: PathBuf,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Both, Self::NeverWithdraw, Self::IgnoreMark, Self::LateWrite];

    /// The rule that it breaks.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Both | Self::NeverWithdraw => "one-primary-label",
            Self::IgnoreMark => "no-stale-write-endpoint",
            Self::LateWrite => "no-write-of-an-ended-reign",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Both => "textbook-both",
            Self::NeverWithdraw => "textbook-never-withdraw",
            Self::IgnoreMark => "textbook-ignore-mark",
            Self::LateWrite => "textbook-late-write",
        }
    }
}

impl Caught {
    /// Whether the judge found the very rule broken that was.
    pub fn is_caught(&self) -> bool {
        self.verdict
            .broken()
            .any(|finding| finding.rule == self.sabotage.rule())
    }

    /// The result in one line.
    pub fn line(&self) -> String {
        let broken: Vec<&str> = self.verdict.broken().map(|finding| finding.rule).collect();
        let word = if self.is_caught() { "ok  " } else { "FAIL" };
        format!(
            "{word}  {} is caught: expected {}, found {}; {}",
            self.sabotage.name(),
            self.sabotage.rule(),
            if broken.is_empty() {
                "nothing".to_owned()
            } else {
                broken.join(", ")
            },
            self.report.display()
        )
    }
}

/// A server that was killed is a standby again within ten seconds, on a busy host within a minute.
const SETTLED_LIMIT: Duration = Duration::from_mins(3);

/// Plays every sabotage that is asked for, each on a Settled route, tells what became of it, and answers whether all were caught.
pub async fn catch_all(
    installation: &Installation<'_>,
    images: &Images,
    sabotages: &[Sabotage],
    reports: &Path,
) -> Result<bool, install::Error> {
    let mut all = true;
    for sabotage in sabotages {
        installation.wait_until_settled(SETTLED_LIMIT).await?;
        let caught = Box::pin(catch(installation.ground, images, *sabotage, reports)).await?;
        installation.progress.tell(&caught.line());
        all &= caught.is_caught();
    }
    Ok(all)
}

/// Plays one sabotage on a route that is Settled, judges it, and puts pgsteer back.
pub async fn catch(
    ground: &Ground,
    images: &Images,
    sabotage: Sabotage,
    reports: &Path,
) -> Result<Caught, cluster::Error> {
    let textbook = Textbook::new(ground, Some(sabotage)).await?;
    let file = reports.join(format!("{}.jsonl", sabotage.name()));
    let options = Options {
        scenario: sabotage.name().to_owned(),
        file,
        settle_within: LIE_LASTS,
        clients_on: None,
    };
    let recorder = Recorder::start(ground, images, options).await?;
    let replicas = textbook.scale_pgsteer(0).await?;
    let mark = mark(&textbook).await?;
    let played = tokio::select! {
        played = play(&textbook, &recorder, sabotage) => played,
        () = textbook.run() => Ok(()),
    };
    let stopped = recorder.stop().await;
    // Whatever became of it: the cluster is to be used again.
    set_mark(&textbook, &mark).await?;
    textbook.scale_pgsteer(replicas).await?;
    played?;
    let (file, history) = stopped?;
    let verdict = oracle::check(&history);
    let path = file.with_extension("html");
    report::write(&history, &verdict, &path).map_err(cluster::Error::io("write", &path))?;
    Ok(Caught {
        sabotage,
        verdict,
        report: path,
    })
}

/// Does what brings the lie out, and lets it last.
async fn play(textbook: &Textbook<'_>, recorder: &Recorder<'_>, sabotage: Sabotage) -> Result<(), cluster::Error> {
    recorder.note(format!("{} runs in place of pgsteer", sabotage.name()));
    match sabotage {
        Sabotage::Both => {}
        Sabotage::NeverWithdraw => fail_over(textbook, recorder).await?,
        Sabotage::IgnoreMark => {
            let mut raised = mark(textbook).await?;
            let timeline = raised["timeline"].as_u64().unwrap_or_default();
            raised["timeline"] = json!(timeline + 1);
            recorder.note("the ledger's mark is raised above the primary");
            set_mark(textbook, &raised).await?;
        }
        Sabotage::LateWrite => textbook.write_late().await?,
    }
    let began = HostTime::now();
    let lasts = wait_for("the lie to last", TOLD_LIMIT, || async {
        if HostTime::now().since(began) >= LIE_LASTS {
            Ok(())
        } else {
            Err("not long enough".to_owned())
        }
    });
    lasts
        .await
        .map_err(|timed_out| cluster::Error::timed_out(timed_out, &[]))
}

/// The primary is killed, the standby promoted, and the textbook labels it.
async fn fail_over(textbook: &Textbook<'_>, recorder: &Recorder<'_>) -> Result<(), cluster::Error> {
    let found = servers(&textbook.client).await?;
    let role = |pod: &str| {
        recorder
            .journal()
            .read(|events| pods(events).get(pod).and_then(|seen| seen.role.clone()))
    };
    let (mut old, mut standby): (Option<(Server, String)>, Option<Server>) = (None, None);
    for (server, pod) in found {
        if role(&server.pod).as_deref() == Some(PRIMARY) {
            old = Some((server, pod.metadata.uid.unwrap_or_default()));
        } else {
            standby = Some(server);
        }
    }
    let pair = old.zip(standby).ok_or_else(|| cluster::Error::NoSuch {
        what: "a primary and a standby".to_owned(),
        hint: format!("the route has to be Settled; port {POSTGRES_PORT} of its pods is asked"),
    })?;
    let ((primary, uid), standby) = pair;
    let promoter = textbook.keys.open(textbook.ground, &standby, "postgres").await?;
    let target = Target::new(Part::Server, primary.pod.as_str());
    recorder.fault("SIGKILL", target.clone(), Phase::Injected);
    textbook.ground.kill_postmaster(&primary.pod, &uid).await?;
    recorder.fault("SIGKILL", target, Phase::Healed);
    recorder.promotion(&standby.pod);
    promoter.ask("SELECT pg_promote(wait => false)").await?;
    let is_primary = |event: &Event| matches!(&event.what, Happening::Pod(pod) if pod.pod == standby.pod && pod.role.as_deref() == Some(PRIMARY));
    let labelled = recorder.until("the promoted server's label", TOLD_LIMIT, |events| {
        let found = events.iter().any(is_primary);
        if found {
            Ok(())
        } else {
            Err("it is not primary".to_owned())
        }
    });
    labelled
        .await
        .map_err(|timed_out| cluster::Error::timed_out(timed_out, &[]))
}

async fn mark(textbook: &Textbook<'_>) -> Result<Value, cluster::Error> {
    let api: Api<PostgresLedger> = Api::namespaced(textbook.client.clone(), NAMESPACE);
    let ledger = api.get(ROUTE).await.map_err(cluster::Error::api("show the ledger"))?;
    Ok(json!(ledger.spec.mark))
}

async fn set_mark(textbook: &Textbook<'_>, mark: &Value) -> Result<(), cluster::Error> {
    let api: Api<PostgresLedger> = Api::namespaced(textbook.client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"mark": mark}}));
    #[expect(clippy::disallowed_methods, reason = "plays somebody who may write the ledger")]
    let patched = api.patch(ROUTE, &PatchParams::default(), &patch).await;
    patched.map(drop).map_err(cluster::Error::api("patch the ledger"))
}
