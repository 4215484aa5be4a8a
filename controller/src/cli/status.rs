//! `pgsteer status`: where every route stands, as a table.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _},
    time::Duration,
};

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
    reach::Figures,
    routes::{ApiServer, AskError, Known, RouteName},
    text::{self, Cell, Tone},
};
use crate::{chain::Chain, live::LiveRoute};

/// How often `--watch` looks again.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Clears a terminal, and goes to its upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

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
    /// Look again every second until ^C: on a terminal in place, elsewhere whenever something is different
    #[arg(short, long)]
    pub watch: bool,
    /// How the answer is printed. wide: with positions, and how long the server takes to answer
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

const HELP: &str = "\
The leader is asked for live figures (lag, how long a server takes to answer). Where it cannot be reached, the table is what it last
wrote into the routes' status, and a line below says so.

LAG is how far a standby is behind the primary, SINCE how long its server has been found so.

Exit status: 0 every route is settled; 1 one is not; 2 wrong usage; 3 could not ask.

Examples:
  pgsteer status
  pgsteer status --watch
  pgsteer status -n shop -o wide
  pgsteer status shop/orders -o json";

/// Which routes a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    namespace: Option<String>,
    name: Option<String>,
}

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
    /// Leaders that were not reached, and why: live figures are missing.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    not_live: &'a [String],
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
    last_switch: Option<Switch>,
    /// What the leader says right now, if it was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<&'a LiveRoute>,
}

/// What one look has found.
#[derive(Debug)]
pub struct Look {
    /// The routes, with what the leader says of them.
    pub routes: Vec<Known>,
    /// Why it may be out of date.
    pub warning: Option<String>,
    /// What the leaders say, and who was not reached.
    pub figures: Figures,
}

/// Asks, and prints.
pub async fn execute(args: Args) -> Result<Exit, Failure> {
    let Args {
        route,
        namespace,
        all_namespaces: _,
        watch,
        output,
    } = args;
    let selection = Selection::new(route, namespace)?;
    let server = ApiServer::find().await?;
    if watch {
        return follow(&server, &selection, output).await;
    }
    let look = look(&server, &selection).await?;
    answer(&print(&look, output, text::now())?)?;
    Ok(exit(&look.routes))
}

/// Looks once.
pub async fn look(server: &ApiServer, selection: &Selection) -> Result<Look, AskError> {
    let namespace = selection.namespace.as_deref();
    let (routes, leases) = tokio::join!(server.routes(namespace), server.leases());
    let mut routes = routes?;
    routes.retain(|known| selection.holds(&known.key().namespace, &known.key().name));
    if let Some(name) = selection.name.as_ref().filter(|_| routes.is_empty()) {
        let place = namespace.map_or_else(|| "any namespace".to_owned(), |name| format!("namespace {name}"));
        return Err(AskError::Missing(format!("route {name} in {place}")));
    }
    let figures = server.figures_of(&leases).await;
    for known in &mut routes {
        known.freshen(&figures);
    }
    Ok(Look {
        warning: leader::warning(&leases, text::now()),
        routes,
        figures,
    })
}

/// Looks again and again; only ^C, or a reader that is gone, ends it.
async fn follow(server: &ApiServer, selection: &Selection, output: Output) -> Result<Exit, Failure> {
    let in_place = io::stdout().is_terminal() && matches!(output, Output::Table | Output::Wide);
    let mut before = String::new();
    loop {
        let now = match look(server, selection).await {
            Ok(look) => print(&look, output, text::now())?,
            // The API server may be what a person watches through a failure.
            Err(error) => format!("{}\n", Chain(&error)),
        };
        if in_place {
            answer(&format!("{CLEAR}{now}"))?;
        } else if now != before {
            answer(&now)?;
            before = now;
        }
        #[expect(clippy::disallowed_methods, reason = "the pause between two looks, for a person")]
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// Whether every one is settled.
pub fn exit(routes: &[Known]) -> Exit {
    if routes.iter().all(Known::settled) {
        Exit::Yes
    } else {
        Exit::No
    }
}

/// The answer.
pub fn print(look: &Look, output: Output, now: Timestamp) -> anyhow::Result<String> {
    let overview = || Overview::of(look);
    Ok(match output {
        Output::Table => for_people(look, false, now),
        Output::Wide => for_people(look, true, now),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&overview())?),
        Output::Yaml => serde_norway::to_string(&overview())?,
    })
}

fn for_people(look: &Look, wide: bool, now: Timestamp) -> String {
    let Look {
        routes,
        warning,
        figures,
    } = look;
    let mut text = if routes.is_empty() {
        "there are no routes\n".to_owned()
    } else {
        let headings: Vec<&str> = HEADINGS
            .iter()
            .filter(|(_, only_wide)| wide || !only_wide)
            .map(|(name, _)| *name)
            .collect();
        let rows: Vec<Vec<Cell>> = routes.iter().flat_map(|known| rows_of(known, wide, now)).collect();
        text::table(&headings, &rows)
    };
    let troubled: String = routes
        .iter()
        .filter(|known| !known.settled())
        .map(|known| note(known, now))
        .collect();
    let below = [
        troubled,
        figures.tell(),
        warning
            .as_ref()
            .map(|warning| format!("{warning}\n"))
            .unwrap_or_default(),
    ];
    for block in below.iter().filter(|block| !block.is_empty()) {
        write!(text, "\n{block}").expect(text::WRITES);
    }
    text
}

/// The columns, and whether only the wide table has them.
const HEADINGS: [(&str, bool); 13] = [
    ("ROUTE", false),
    ("STATE", false),
    ("MEMBER", false),
    ("NODE", false),
    ("STANDING", false),
    ("ROLE", false),
    ("TL", false),
    ("LAG", false),
    ("SINCE", false),
    ("LSN", true),
    ("PROBE", true),
    ("ANSWERED", true),
    ("WHY", false),
];

/// A row for each pod; a route without pods has one too, so that it does not disappear.
fn rows_of(known: &Known, wide: bool, now: Timestamp) -> Vec<Vec<Cell>> {
    let state = Cell {
        text: known.state().to_owned(),
        tone: Tone::of_state(known.state()),
    };
    let head = [Cell::from(known.key().to_string()), state];
    let columns = HEADINGS.iter().filter(|(_, only_wide)| wide || !only_wide).count();
    if known.members().is_empty() {
        let dashes = std::iter::repeat_with(|| Cell::from("-".to_owned())).take(columns - head.len() - 1);
        let row = head.into_iter().chain(dashes).chain([Cell::from(String::new())]);
        return vec![row.collect()];
    }
    let row = |member: &Member| {
        let live = known.live_member(&member.pod);
        let millis = |millis: u64| text::short(Duration::from_millis(millis));
        let since = member.since.as_ref().or_else(|| primary_since(known, member));
        let mut cells = head.to_vec();
        cells.extend(
            [
                member.pod.clone(),
                text::or_dash(member.node.as_ref()),
                member.evidence.clone(),
                text::or_dash(member.role),
                text::or_dash(member.timeline),
                text::or_dash(live.and_then(|live| live.lag_bytes).map(text::bytes)),
                text::or_dash(since.map(|since| text::age(since, now))),
            ]
            .map(Cell::from),
        );
        cells[4].tone = standing_tone(member);
        if wide {
            let probe = live.and_then(|live| live.probe_micros);
            let answered = live.and_then(|live| live.answered_millis_ago);
            cells.extend(
                [
                    text::or_dash(live.and_then(|live| live.lsn)),
                    text::or_dash(probe.map(|micros| text::short(Duration::from_micros(micros)))),
                    text::or_dash(answered.map(|ago| format!("{} ago", millis(ago)))),
                ]
                .map(Cell::from),
            );
        }
        cells.push(Cell::from(member.why.clone()));
        cells
    };
    known.members().iter().map(row).collect()
}

/// How what a server was found to be is to be taken.
fn standing_tone(member: &Member) -> Tone {
    match (member.evidence.as_str(), member.role) {
        ("Writable", Some(Role::Primary)) | ("InRecovery", _) => Tone::Plain,
        ("Starting", _) => Tone::Odd,
        _ => Tone::Bad,
    }
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
    let state = text::state(state);
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

// === impl Selection ===

impl Selection {
    /// What a person named; the namespace may stand before the route's name, or by itself.
    pub fn new(route: Option<RouteName>, namespace: Option<String>) -> Result<Self, Failure> {
        let named = route.as_ref().and_then(|route| route.namespace.clone());
        if let (Some(one), Some(other)) = (&named, &namespace)
            && one != other
        {
            let error = anyhow::anyhow!("the route is in namespace {one}, or in {other}: name one of them");
            return Err(Failure::Usage(error));
        }
        Ok(Self {
            namespace: named.or(namespace),
            name: route.map(|route| route.name),
        })
    }

    /// Whether it is about this route.
    pub fn holds(&self, namespace: &str, name: &str) -> bool {
        self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
            && self.name.as_deref().is_none_or(|wanted| wanted == name)
    }

    /// Whether a route was named.
    pub const fn names_a_route(&self) -> bool {
        self.name.is_some()
    }
}

// === impl Overview ===

impl<'a> Overview<'a> {
    fn of(look: &'a Look) -> Self {
        Self {
            warning: look.warning.as_deref(),
            not_live: &look.figures.missing,
            settled: look.routes.iter().all(Known::settled),
            routes: look.routes.iter().map(Entry::of).collect(),
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
            last_switch: known.last_switch(),
            live: known.live.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests;
