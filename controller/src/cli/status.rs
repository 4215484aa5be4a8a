//! `pgsteer status`: where every route stands, as a table.

use std::fmt::Write as _;

use clap::ValueEnum;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use serde::Serialize;
use shared::{
    ledger::{Mark, Switch},
    role::Role,
    status::{ConditionType, Member},
    term::Term,
};

use super::{
    Exit, Failure, answer, leader,
    routes::{ApiServer, AskError, Known, RouteName},
    text,
};

/// Arguments of `pgsteer status`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Only this route; its namespace may stand before it
    #[arg(value_name = "[NAMESPACE/]ROUTE")]
    pub route: Option<RouteName>,
    /// Only the routes of this namespace
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The routes of all namespaces; that is the default
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// How the answer is printed. wide: with the reason for each label
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

const HELP: &str = "\
Exit status: 0 every route is settled; 1 one is not; 2 wrong usage; 3 could not ask.

What is shown is what the leading controller last wrote into the routes' status; a warning says when none leads.

Examples:
  pgsteer status
  pgsteer status -n shop -o wide
  pgsteer status shop/orders -o json";

/// See [`Args::output`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A line for each pod
    Table,
    /// The same, with the reason for each label
    Wide,
    /// For programs
    Json,
    /// For programs, and for people who like it
    Yaml,
}

/// What programs are told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Overview<'a> {
    settled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'a str>,
    routes: Vec<Entry<'a>>,
}

/// One route, as programs are told about it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    namespace: String,
    name: String,
    state: &'a str,
    settled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<Term>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary: Option<&'a str>,
    members: &'a [Member],
    conditions: &'a [Condition],
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<&'a Mark>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_switch: Option<&'a Switch>,
}

/// Asks, and prints.
pub async fn execute(args: Args) -> Result<Exit, Failure> {
    let Args {
        route,
        namespace,
        all_namespaces: _,
        output,
    } = args;
    let named = route.as_ref().and_then(|route| route.namespace.clone());
    if let (Some(one), Some(other)) = (&named, &namespace)
        && one != other
    {
        let error = anyhow::anyhow!("the route is in namespace {one}, or in {other}: name one of them");
        return Err(Failure::Usage(error));
    }
    let namespace = named.or(namespace);
    let server = ApiServer::find().await?;
    let (routes, leases) = tokio::join!(server.routes(namespace.as_deref()), server.leases());
    let (mut routes, now) = (routes?, text::now());
    if let Some(wanted) = &route {
        routes.retain(|known| known.key().name == wanted.name);
        if routes.is_empty() {
            let place = namespace.map_or_else(|| "any namespace".to_owned(), |name| format!("namespace {name}"));
            return Err(AskError::Missing(format!("route {} in {place}", wanted.name)).into());
        }
    }
    let warning = leader::warning(&leases, now);
    answer(&print(&routes, warning.as_deref(), output, now)?)?;
    Ok(exit(&routes))
}

/// Whether every one is settled.
pub fn exit(routes: &[Known]) -> Exit {
    if routes.iter().all(Known::settled) {
        Exit::Yes
    } else {
        Exit::No
    }
}

/// The answer; `warning` is why it may be out of date.
pub fn print(routes: &[Known], warning: Option<&str>, output: Output, now: Timestamp) -> anyhow::Result<String> {
    let overview = || Overview::of(routes, warning);
    let warned = |table: String| warning.map_or_else(|| table.clone(), |warning| format!("{table}\n{warning}\n"));
    Ok(match output {
        Output::Table => warned(for_people(routes, false, now)),
        Output::Wide => warned(for_people(routes, true, now)),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&overview())?),
        Output::Yaml => serde_norway::to_string(&overview())?,
    })
}

fn for_people(routes: &[Known], wide: bool, now: Timestamp) -> String {
    if routes.is_empty() {
        return "there are no routes\n".to_owned();
    }
    let headings = [
        "ROUTE", "STATE", "MEMBER", "NODE", "ROLE", "EVIDENCE", "TL", "SINCE", "WHY",
    ];
    let columns = if wide { headings.len() } else { headings.len() - 1 };
    let mut rows: Vec<Vec<String>> = routes.iter().flat_map(|known| rows_of(known, now)).collect();
    for row in &mut rows {
        row.truncate(columns);
    }
    let mut text = text::table(&headings[..columns], &rows);
    let troubled: Vec<String> = routes
        .iter()
        .filter(|known| !known.settled())
        .map(|known| note(known, now))
        .collect();
    if !troubled.is_empty() {
        write!(text, "\n{}", troubled.concat()).expect("a String takes whatever is written to it");
    }
    text
}

/// A row for each pod; a route without pods has one too, so that it does not disappear.
fn rows_of(known: &Known, now: Timestamp) -> Vec<Vec<String>> {
    let head = [known.key().to_string(), known.state().to_owned()];
    let dash = || "-".to_owned();
    if known.members().is_empty() {
        let rest = std::iter::repeat_with(dash).take(6).chain([String::new()]);
        return vec![head.into_iter().chain(rest).collect()];
    }
    let row = |member: &Member| {
        let cells = [
            member.pod.clone(),
            text::or_dash(member.node.as_ref()),
            text::or_dash(member.role),
            member.evidence.clone(),
            text::or_dash(member.timeline),
            primary_since(known, member).map_or_else(dash, |since| text::age(since, now)),
            member.why.clone(),
        ];
        head.iter().cloned().chain(cells).collect()
    };
    known.members().iter().map(row).collect()
}

/// When the pod became primary, if it is.
fn primary_since<'a>(known: &'a Known, member: &Member) -> Option<&'a Time> {
    let switch = known.switches().first()?;
    (member.role == Some(Role::Primary) && switch.to == member.pod).then_some(&switch.at)
}

/// What to say below the table about a route that is not settled.
fn note(known: &Known, now: Timestamp) -> String {
    let (key, state) = (known.key(), known.state());
    let see = format!("pgsteer why {key}");
    if known.status().is_none() {
        return format!("{key}: no leader has looked at it yet. See: {see}\n");
    }
    if !known.current() {
        return format!("{key}: its spec has changed, and no leader has looked at it since. See: {see}\n");
    }
    let settled = condition(known, ConditionType::Settled);
    let since = settled.map(|settled| format!(" for {}", text::age(&settled.last_transition_time, now)));
    let message = settled.map(|settled| settled.message.as_str()).unwrap_or_default();
    let colon = if message.is_empty() { "" } else { ": " };
    format!(
        "{key}: {state}{}{colon}{message}. See: {see}\n",
        since.unwrap_or_default()
    )
}

/// One of the route's conditions.
pub(super) fn condition(known: &Known, kind: ConditionType) -> Option<&Condition> {
    let kind = kind.to_string();
    known
        .status()?
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
}

// === impl Overview ===

impl<'a> Overview<'a> {
    fn of(routes: &'a [Known], warning: Option<&'a str>) -> Self {
        Self {
            warning,
            settled: routes.iter().all(Known::settled),
            routes: routes.iter().map(Entry::of).collect(),
        }
    }
}

// === impl Entry ===

impl<'a> Entry<'a> {
    fn of(known: &'a Known) -> Self {
        let (key, status) = (known.key(), known.status());
        Self {
            namespace: key.namespace,
            name: key.name,
            state: known.state(),
            settled: known.settled(),
            term: status.map(|status| status.term),
            primary: status.and_then(|status| status.primary.as_deref()),
            members: known.members(),
            conditions: status.map_or(&[], |status| &status.conditions),
            mark: known.mark(),
            last_switch: known.switches().first(),
        }
    }
}

#[cfg(test)]
mod tests;
