//! `pgsteer accept ROUTE POD`: a person's word that this server's data is the truth from now on.
//!
//! ```text
//! look  ->  preview (pure)  ->  confirm (a person)  ->  annotate the route  ->  wait for the leader  ->  done
//!                                                                                   `-> refused, or no answer: take it back
//! ```
//!
//! The leader moves the mark and removes the annotation. A word that was not carried out is taken back: left alone, it would be
//! carried out at some later time, when it may no longer be meant.

mod preview;

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    time::Duration,
};

use kube::ResourceExt as _;
use shared::{ledger::Mark, names};

use super::{
    Exit, Failure, answer,
    routes::{ApiServer, AskError, Known, RouteArgs},
};
use crate::reign::RouteKey;
pub use preview::{Judgement, Preview, judge};

/// Tries to annotate a route that somebody else keeps changing. A status is written once a second at the very most.
const TRIES: usize = 5;

/// Pause between two looks at whether the leader is done.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Arguments of `pgsteer accept`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Which route.
    #[command(flatten)]
    pub route: RouteArgs,
    /// The pod whose server has the right data
    #[arg(value_name = "POD")]
    pub pod: String,
    /// Do not ask whether it is meant
    #[arg(short, long)]
    pub yes: bool,
    /// How long the leader may take; after that the word is taken back
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub wait: Duration,
}

const HELP: &str = "\
For a server that pgsteer calls stale or foreign and a person knows to be right: after a restore, a pg_upgrade, or a failover that is
to be undone. It shows what would be given up, and asks.

Exit status: 0 done; 1 refused, not meant, or not done in time; 2 wrong usage; 3 could not ask.

Examples:
  pgsteer accept shop/orders orders-db-0
  pgsteer accept orders orders-db-0 -n shop --yes --wait 1m";

/// What became of a person's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The leader carried it out: the mark is this now.
    Done(Mark),
    /// The leader refused it, and why. It was taken back.
    Refused(String),
    /// The leader did not carry it out in time. It was taken back.
    NoAnswer,
    /// The route or the pod is not what was shown any more; nothing was written.
    Changed,
    /// Somebody else took it back, or put another in its place.
    Overruled,
}

/// Shows, asks, and does it.
pub async fn execute(args: Args) -> Result<Exit, Failure> {
    let Args { route, pod, yes, wait } = args;
    let server = ApiServer::find().await?;
    let key = server.key(&route).map_err(super::usage)?;
    let preview = match look(&server, &key, &pod).await? {
        Judgement::Ask(preview) => preview,
        Judgement::Already => {
            answer(&format!(
                "{pod} is primary of route {key}, and the mark is its: there is nothing to accept\n"
            ))?;
            return Ok(Exit::Yes);
        }
        Judgement::Refused(why) => {
            answer(&format!("refused: {why}\n"))?;
            return Ok(Exit::No);
        }
    };
    answer(&preview.to_string())?;
    if !yes && !confirm()? {
        answer("nothing was changed\n")?;
        return Ok(Exit::No);
    }
    let outcome = accept(&server, &preview, wait).await?;
    answer(&tell(&outcome, &preview, wait))?;
    Ok(match outcome {
        Outcome::Done(_) => Exit::Yes,
        Outcome::Refused(_) | Outcome::NoAnswer | Outcome::Changed | Outcome::Overruled => Exit::No,
    })
}

/// Looks at the route and the pod, and judges what the leader is going to judge.
pub async fn look(server: &ApiServer, key: &RouteKey, pod: &str) -> Result<Judgement, AskError> {
    let (known, pod) = tokio::try_join!(server.route(key), server.pod(key, pod))?;
    Ok(judge(&known, &pod))
}

/// Hands a person's word to the leader, and waits until it is carried out or refused, at most `wait`.
pub async fn accept(server: &ApiServer, preview: &Preview, wait: Duration) -> Result<Outcome, AskError> {
    let mut annotated = None;
    let mut told_before = Vec::new();
    for _ in 0..TRIES {
        let (known, pod) = tokio::try_join!(server.route(&preview.key), server.pod(&preview.key, &preview.pod))?;
        match judge(&known, &pod) {
            Judgement::Ask(now) if now.means_the_same(preview) => {}
            Judgement::Ask(_) | Judgement::Already | Judgement::Refused(_) => return Ok(Outcome::Changed),
        }
        told_before = told(server, &known).await.into_iter().map(|(id, _)| id).collect();
        annotated = server.annotate(&known.route, names::ACCEPT, Some(&preview.uid)).await?;
        if annotated.is_some() {
            break;
        }
    }
    if annotated.is_none() {
        return Ok(Outcome::Changed);
    }
    if let Ok(outcome) = tokio::time::timeout(wait, watch(server, preview, &told_before)).await {
        let outcome = outcome?;
        return match outcome {
            Outcome::Refused(_) => Ok(take_back(server, preview).await?.unwrap_or(outcome)),
            Outcome::Done(_) | Outcome::NoAnswer | Outcome::Changed | Outcome::Overruled => Ok(outcome),
        };
    }
    Ok(take_back(server, preview).await?.unwrap_or(Outcome::NoAnswer))
}

/// Looks until the annotation is gone, or an Event says why it is not going to be carried out.
async fn watch(server: &ApiServer, preview: &Preview, told_before: &[String]) -> Result<Outcome, AskError> {
    loop {
        let known = server.route(&preview.key).await?;
        if known.accepting() != Some(&preview.uid) {
            return Ok(ended(&known, preview));
        }
        let new = told(server, &known)
            .await
            .into_iter()
            .find(|(id, _)| !told_before.contains(id));
        if let Some((_, why)) = new {
            return Ok(Outcome::Refused(why));
        }
        pause().await;
    }
}

/// The Events that say why a word was refused: what tells one from another, and the reason. Whoever may not read Events still
/// gets an answer, without the reason.
async fn told(server: &ApiServer, known: &Known) -> Vec<(String, String)> {
    let events = server.refusals(&known.route).await.unwrap_or_default();
    let told = events.into_iter().map(|event| {
        let version = event.resource_version().unwrap_or_default();
        (
            format!("{} {version}", event.name_any()),
            event.note.unwrap_or_default(),
        )
    });
    told.collect()
}

/// What it means that the route does not carry the word any more.
fn ended(known: &Known, preview: &Preview) -> Outcome {
    match known.mark().filter(|mark| mark.pod == preview.pod) {
        Some(mark) if known.accepting().is_none() => Outcome::Done(mark.clone()),
        Some(_) | None => Outcome::Overruled,
    }
}

/// Removes the annotation; `Some`: it was gone already, and this is why.
async fn take_back(server: &ApiServer, preview: &Preview) -> Result<Option<Outcome>, AskError> {
    for _ in 0..TRIES {
        let known = server.route(&preview.key).await?;
        if known.accepting() != Some(&preview.uid) {
            return Ok(Some(ended(&known, preview)));
        }
        if server.annotate(&known.route, names::ACCEPT, None).await?.is_some() {
            return Ok(None);
        }
    }
    Err(AskError::Contended {
        key: preview.key.clone(),
        annotation: names::ACCEPT,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pause between two looks at whether the leader is done"
)]
pub(super) async fn pause() {
    tokio::time::sleep(LOOK_EVERY).await;
}

fn confirm() -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(super::usage("nobody is there to ask whether it is meant: add --yes"));
    }
    let mut line = String::new();
    write!(io::stderr(), "Type yes if this is meant: ")?;
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim() == "yes")
}

/// What became of it, in words.
fn tell(outcome: &Outcome, preview: &Preview, wait: Duration) -> String {
    let Preview { key, pod, .. } = preview;
    match outcome {
        Outcome::Done(mark) => {
            format!(
                "done: the mark is {pod}'s now, timeline {}, LSN {}. See: pgsteer why {key}\n",
                mark.timeline, mark.lsn
            )
        }
        Outcome::Refused(why) => format!("refused by the leader, and taken back: {why}\n"),
        Outcome::NoAnswer => format!(
            "the leader did not carry it out within {}, and it was taken back. See: pgsteer why {key}\n",
            humantime::format_duration(wait)
        ),
        Outcome::Changed => format!("{key} is not as it was shown any more, and nothing was changed: look again\n"),
        Outcome::Overruled => {
            format!("somebody took it back, or accepted another server of {key}. See: pgsteer why {key}\n")
        }
    }
}
