//! `pgsteer why ROUTE [POD]`: in words, where a route stands, why each pod has the label that it has, and what to do.

use std::{fmt::Write as _, time::Duration};

use k8s_openapi::jiff::Timestamp;
use shared::{
    ledger::Mark,
    role::Role,
    status::{ConditionType, Member},
};

use super::{
    Exit, Failure, advice, answer, history, leader,
    routes::{ApiServer, Known, RouteArgs, takes_writes},
    status,
    text::{self, WRITES},
};

/// Arguments of `pgsteer why`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Which route.
    #[command(flatten)]
    pub route: RouteArgs,
    /// Explain only this pod of it
    #[arg(value_name = "POD")]
    pub pod: Option<String>,
}

const HELP: &str = "\
Exit status: 0 the route is settled; 1 it is not; 2 wrong usage; 3 could not ask.

Examples:
  pgsteer why shop/orders
  pgsteer why orders orders-db-1 -n shop";

/// Asks, and explains.
pub async fn execute(args: Args) -> Result<Exit, Failure> {
    let Args { route, pod } = args;
    let server = ApiServer::find().await?;
    let key = server.key(&route).map_err(super::usage)?;
    let (known, leases) = tokio::join!(server.route(&key), server.leases());
    let (mut known, now) = (known?, text::now());
    let figures = server.figures_of(&leases).await;
    known.freshen(&figures);
    if let Some(pod) = &pod
        && !known.members().iter().any(|member| member.pod == *pod)
    {
        let members: Vec<&str> = known.members().iter().map(|member| member.pod.as_str()).collect();
        let error = anyhow::anyhow!(
            "{pod} is not a pod of route {key}; its pods are: {}",
            members.join(", ")
        );
        return Err(Failure::Usage(error));
    }
    let warning = leader::warning(&leases, now).map(|warning| format!("{warning}\n\n"));
    answer(&format!(
        "{}{}\n{}",
        warning.unwrap_or_default(),
        explain(&known, pod.as_deref(), now),
        figures.tell()
    ))?;
    Ok(status::exit(std::slice::from_ref(&known)))
}

/// The explanation, of one pod or of all.
pub fn explain(known: &Known, pod: Option<&str>, now: Timestamp) -> String {
    let mut text = standing(known, now);
    if pod.is_none() {
        text.push_str(&trouble(known, now));
    }
    let members: Vec<String> = known
        .members()
        .iter()
        .filter(|member| pod.is_none_or(|pod| member.pod == pod))
        .map(|member| explain_member(known, member, now))
        .collect();
    if !members.is_empty() {
        write!(text, "\nMembers\n{}", members.concat()).expect(WRITES);
    }
    text.push_str(&remembered(known, now));
    text
}

fn standing(known: &Known, now: Timestamp) -> String {
    let (key, state) = (known.key(), known.state());
    let since = status::condition(known, ConditionType::Settled).map(|settled| &settled.last_transition_time);
    let since = since.map(|since| format!(" for {}, since {}", text::age(since, now), text::moment(since)));
    let mut text = format!(
        "{key}: {state}{}\n{}\n",
        since.unwrap_or_default(),
        advice::state(state)
    );
    if known.status().is_some() && !known.current() {
        text.push_str(
            "Its spec has changed, and no leader has looked at it since: what follows is about the old one.\n",
        );
    }
    if known.paused() && state != "Paused" {
        text.push_str("It is to be paused: the leader has not seen that yet.\n");
    }
    if let Some(uid) = known.accepting() {
        writeln!(
            text,
            "A person accepted the pod with uid {uid}: the leader has not carried that out yet."
        )
        .expect(WRITES);
    }
    text
}

/// The conditions that mean trouble, but for the one that only sums up the others.
fn trouble(known: &Known, now: Timestamp) -> String {
    let conditions = known.status().map_or(&[][..], |status| &status.conditions);
    let bad: Vec<_> = conditions
        .iter()
        .filter(|condition| advice::is_trouble(condition))
        .collect();
    let sums_up = ConditionType::Settled.to_string();
    let mut text = String::new();
    for condition in bad
        .iter()
        .filter(|condition| condition.type_ != sums_up || bad.len() == 1)
    {
        let age = text::age(&condition.last_transition_time, now);
        let (kind, status, reason) = (&condition.type_, &condition.status, &condition.reason);
        writeln!(text, "  {kind} is {status} for {age}: {reason}").expect(WRITES);
        if !condition.message.is_empty() {
            writeln!(text, "    {}", condition.message).expect(WRITES);
        }
        if let Some(advice) = advice::advice(reason, &known.key()) {
            writeln!(text, "    What to do: {advice}").expect(WRITES);
        }
    }
    if text.is_empty() {
        text
    } else {
        format!("\nTrouble\n{text}")
    }
}

fn explain_member(known: &Known, member: &Member, now: Timestamp) -> String {
    let Member {
        pod,
        node,
        evidence,
        role,
        timeline,
        since,
        why,
    } = member;
    let node = node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
    let label = match role {
        Some(Role::Primary) => "primary, the write Service leads to it",
        Some(Role::Replica) => "replica, the read Service leads to it",
        Some(Role::Orphan) => "orphan, neither Service leads to it",
        None => "no role, neither Service leads to it",
    };
    let answers = takes_writes(member) || evidence == "InRecovery";
    let seen = if answers { "on" } else { "last seen on" };
    let timeline = timeline
        .map(|timeline| format!(", {seen} timeline {timeline}"))
        .unwrap_or_default();
    let mut text = format!("  {pod}{node}: {label}\n");
    let since = since.as_ref().map(|since| format!(", for {}", text::age(since, now)));
    let (server, since) = (advice::evidence(evidence), since.unwrap_or_default());
    writeln!(text, "    Its server {server}{timeline}{since}.").expect(WRITES);
    text.push_str(&figures(known, pod));
    if !why.is_empty() {
        writeln!(text, "    Why: {why}").expect(WRITES);
    }
    if takes_writes(member) && *role != Some(Role::Primary) {
        let key = known.key();
        let first = known.outranked_by(member).map(|other| {
            let timeline = text::or_dash(other.timeline);
            format!("stop {}, which is on timeline {timeline}, then ", other.pod)
        });
        let first = first.unwrap_or_default();
        writeln!(
            text,
            "    If its data is the right one: {first}pgsteer accept {key} {pod}"
        )
        .expect(WRITES);
    }
    text
}

/// What only the leader knows of a pod: how far behind it is, and how well it answers.
fn figures(known: &Known, pod: &str) -> String {
    let Some(live) = known.live_member(pod) else {
        return String::new();
    };
    let probe = live.probe_micros.map(|micros| {
        let took = text::short(Duration::from_micros(micros));
        format!("the last question took {took}")
    });
    let answered = live.answered_millis_ago.map(|ago| {
        let ago = text::short(Duration::from_millis(ago));
        format!("the last answer came {ago} ago")
    });
    let lag = live
        .lag_bytes
        .map(|lag| format!("it is {} behind the primary", text::bytes(lag)));
    let facts: Vec<String> = [lag, probe, answered].into_iter().flatten().collect();
    if facts.is_empty() {
        return String::new();
    }
    format!("    Right now: {}.\n", facts.join(", "))
}

fn remembered(known: &Known, now: Timestamp) -> String {
    let Some(mark) = known.mark() else {
        return "\nMark\n  There is none: no server has been primary of this route yet.\n".to_owned();
    };
    let Mark {
        system_identifier,
        timeline,
        lsn,
        data,
        pod,
    } = mark;
    let mut text = format!(
        "\nMark: what was last primary. A server below it is stale; only `pgsteer accept` moves it down.\n  \
         pod                {pod}\n  \
         data               {:?} {}\n  \
         system identifier  {system_identifier}\n  \
         timeline           {timeline}\n  \
         LSN                {lsn}, refreshed at most once a minute\n",
        data.kind, data.name,
    );
    if let Some(switch) = known.last_switch() {
        let from = switch
            .from
            .as_ref()
            .map(|from| format!(" from {from}"))
            .unwrap_or_default();
        let (age, at, to) = (text::age(&switch.at, now), text::moment(&switch.at), &switch.to);
        writeln!(
            text,
            "\nLast switch: {age} ago, at {at},{from} to {to}, on timeline {}{}",
            switch.timeline,
            history::in_words(&switch)
        )
        .expect(WRITES);
    }
    text
}

#[cfg(test)]
mod tests;
