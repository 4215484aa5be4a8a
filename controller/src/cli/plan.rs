//! `pgsteer plan [ROUTE]`: what the leader would do if nothing else changed. It changes nothing.

use std::fmt::Write as _;

use super::{
    Exit, Failure, answer,
    reach::Figures,
    routes::{ApiServer, RouteName},
    status::{Output, Selection},
    text,
};
use crate::live::{LiveRoute, NextTurns};

/// Arguments of `pgsteer plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Only this route; its namespace may stand before it
    #[arg(value_name = "[NAMESPACE/]ROUTE")]
    pub route: Option<RouteName>,
    /// Only the routes of this namespace
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// How the answer is printed
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

const HELP: &str = "\
It is the leader's own decision, asked again and again, each time with what its last plan would have written: nothing is written.
For a paused route it is what would follow if it were resumed.

Exit status: 0 there is nothing to do; 1 there is something; 2 wrong usage; 3 could not ask.

Examples:
  pgsteer plan
  pgsteer plan shop/orders";

/// Asks, and prints.
pub async fn execute(args: Args) -> Result<Exit, Failure> {
    let Args {
        route,
        namespace,
        output,
    } = args;
    let selection = Selection::new(route, namespace)?;
    let server = ApiServer::find().await?;
    let figures = server.figures().await;
    if figures.overviews.is_empty() {
        let why = figures.missing.join("; ");
        return Err(Failure::CouldNotAsk(anyhow::anyhow!("only the leader can tell: {why}")));
    }
    let routes = selected(&figures, &selection);
    if routes.is_empty() && selection.names_a_route() {
        return Err(Failure::CouldNotAsk(anyhow::anyhow!(
            "the leader serves no such route; `pgsteer status` lists the routes"
        )));
    }
    answer(&match output {
        Output::Table | Output::Wide => print(&routes),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&told(&routes))?),
        Output::Yaml => serde_norway::to_string(&told(&routes))?,
    })?;
    let idle = routes.iter().all(|route| route.next.turns.is_empty());
    Ok(if idle { Exit::Yes } else { Exit::No })
}

fn selected<'a>(figures: &'a Figures, selection: &Selection) -> Vec<&'a LiveRoute> {
    let routes = figures.overviews.iter().flat_map(|overview| &overview.routes);
    routes
        .filter(|route| selection.holds(&route.namespace, &route.name))
        .collect()
}

fn told(routes: &[&LiveRoute]) -> serde_json::Value {
    let plans: Vec<_> = routes
        .iter()
        .map(|route| {
            serde_json::json!({
                "namespace": route.namespace, "name": route.name, "state": route.state, "next": route.next,
            })
        })
        .collect();
    serde_json::json!({ "plans": plans })
}

/// The answer, for people.
pub fn print(routes: &[&LiveRoute]) -> String {
    let mut answer = String::new();
    for route in routes {
        let NextTurns {
            if_resumed,
            turns,
            then,
        } = &route.next;
        let key = format!("{}/{}", route.namespace, route.name);
        let state = text::state(&route.state);
        if turns.is_empty() {
            let resumed = if *if_resumed { ", also if it were resumed" } else { "" };
            writeln!(answer, "{key}: {state}, nothing to do{resumed}").expect(text::WRITES);
            continue;
        }
        let condition = if *if_resumed {
            "if it were resumed"
        } else {
            "if nothing else changed"
        };
        writeln!(answer, "{key}: {state}; {condition}:").expect(text::WRITES);
        for (number, turn) in turns.iter().enumerate() {
            writeln!(answer, "  {}. {}", number + 1, turn.writes.join("; ")).expect(text::WRITES);
        }
        match then {
            Some(then) => writeln!(answer, "  then: {}", text::state(then)),
            None => writeln!(answer, "  and so on"),
        }
        .expect(text::WRITES);
    }
    if routes.is_empty() {
        answer.push_str("there are no routes\n");
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::fixtures, live::Turn};

    #[test]
    fn a_plan_is_told_turn_by_turn_and_rest_in_a_line() {
        let mut paused = fixtures::live();
        paused.name = "carts".to_owned();
        paused.state = "Paused".to_owned();
        paused.next = NextTurns {
            if_resumed: true,
            turns: vec![
                Turn {
                    writes: vec![
                        "withdraw the primary role from db-1, label it no role".to_owned(),
                        "set the mark to db-0 on timeline 3 at 0/7000000".to_owned(),
                    ],
                },
                Turn {
                    writes: vec!["grant the primary role to db-0".to_owned()],
                },
            ],
            then: Some("Settled".to_owned()),
        };
        let expected = "\
shop/orders: Settled, nothing to do
shop/carts: Paused; if it were resumed:
  1. withdraw the primary role from db-1, label it no role; set the mark to db-0 on timeline 3 at 0/7000000
  2. grant the primary role to db-0
  then: Settled
";
        let told = print(&[&fixtures::live(), &paused]);
        assert_eq!(fixtures::plain(&told), expected);
        assert_eq!(print(&[]), "there are no routes\n");
    }
}
