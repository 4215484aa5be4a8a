//! The live table: what happens, line by line, and on a terminal how things stand, redrawn below.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use super::world::World;
use crate::history::{Event, Happening, Phase, ServiceOf};
use crate::host_time::HostTime;
use crate::workload::{Kind, Outcome};

/// Where the table is shown.
pub(super) struct Screen {
    out: Box<dyn Write + Send>,
    /// Redraws in place; otherwise only lines are written.
    is_terminal: bool,
    world: World,
    /// What times are counted from.
    began: HostTime,
    /// Lines of the table that stand on the terminal now.
    drawn: usize,
}

impl Screen {
    /// Standard output; times are counted from this moment on.
    pub(super) fn of_standard_output() -> Self {
        let out = std::io::stdout();
        Self {
            is_terminal: out.is_terminal(),
            out: Box::new(out),
            world: World::default(),
            began: HostTime::now(),
            drawn: 0,
        }
    }

    /// Shows what has been heard since the last time.
    pub(super) fn show(&mut self, heard: &[Event]) {
        let mut text = String::new();
        for event in heard {
            if let Some(line) = line_of(&event.what, &self.world) {
                // Writing to a String cannot fail.
                writeln!(text, "{:>9} ms  {line}", event.at.millis_since(self.began)).ok();
            }
            self.world.take(event);
        }
        if self.is_terminal {
            // Up to the first line of the table, and away with it.
            let erase = if self.drawn > 0 {
                format!("\x1b[{}A\x1b[J", self.drawn)
            } else {
                String::new()
            };
            let table = table(&self.world);
            self.drawn = table.len();
            text = format!("{erase}{text}{}\n", table.join("\n"));
        }
        // A terminal that is gone is no reason to stop.
        self.out.write_all(text.as_bytes()).ok();
        self.out.flush().ok();
    }
}

/// What is worth a line of its own: what was done, and whatever is not as it was before.
fn line_of(what: &Happening, before: &World) -> Option<String> {
    match what {
        Happening::Note { text } => Some(format!("* {text}")),
        Happening::Fault {
            name,
            target,
            phase: Phase::Injected,
        } => Some(format!("* {name}: {}", target.name)),
        Happening::Promotion { pod } => Some(format!("* pg_promote() on {pod}")),
        Happening::Pod(seen) => {
            let is_new = before.roles.get(&seen.pod) != Some(&seen.role);
            is_new.then(|| format!("label       {}: {}", seen.pod, word(seen.role.as_deref())))
        }
        Happening::PodGone { pod, .. } => Some(format!("pod gone    {pod}")),
        Happening::Standing(standing) => Some(format!("server      {}: {}", standing.pod, standing.state)),
        Happening::Endpoints { service, ready, .. } => {
            let is_new = before.endpoints.get(service) != Some(ready);
            let ready: Vec<&str> = ready.iter().map(String::as_str).collect();
            is_new.then(|| format!("endpoints   {}: {}", of(*service), word(Some(&ready.join(" ")))))
        }
        Happening::Lease { holder, .. } => {
            (before.leader != *holder).then(|| format!("leader      {}", word(holder.as_deref())))
        }
        Happening::Client { kind, line, .. } => {
            let by = line.outcome.by().map(|by| (by.address.clone(), by.timeline));
            let tally = before.clients.get(kind).cloned().unwrap_or_default();
            if !tally.is_newer(line) || (by == tally.last && tally.began.is_some()) {
                return None;
            }
            let said = match &line.outcome {
                Outcome::Failed { error } => error.clone(),
                Outcome::Written { by, .. } | Outcome::Read { by, .. } => {
                    format!("answered by {} on timeline {}", by.address, by.timeline)
                }
            };
            Some(format!("{}      {said}", of_client(*kind)))
        }
        Happening::Fault { .. }
        | Happening::Ledger { .. }
        | Happening::Write(_)
        | Happening::Observed { .. }
        | Happening::Rows(_)
        | Happening::Gap { .. }
        | Happening::End => None,
    }
}

fn table(world: &World) -> Vec<String> {
    let mut lines = vec![String::new(), format!("  leader   {}", word(world.leader.as_deref()))];
    for (pod, role) in &world.roles {
        let state = world.states.get(pod).map(ToString::to_string).unwrap_or_default();
        lines.push(format!("  pod      {pod:<28} {:<8} {state}", word(role.as_deref())));
    }
    for (service, ready) in &world.endpoints {
        let ready: Vec<&str> = ready.iter().map(String::as_str).collect();
        lines.push(format!("  {}   {}", of(*service), word(Some(&ready.join(" ")))));
    }
    for (kind, tally) in &world.clients {
        let client = of_client(*kind);
        let by = tally.last.as_ref().map_or_else(
            || "failing now".to_owned(),
            |(address, timeline)| format!("by {address} on timeline {timeline}"),
        );
        lines.push(format!(
            "  {client}   {} answered, {} failed, {by}",
            tally.answered, tally.failed
        ));
    }
    lines
}

fn of(name: ServiceOf) -> &'static str {
    match name {
        ServiceOf::Writes => "write Service",
        ServiceOf::Reads => "read Service ",
    }
}

fn of_client(kind: Kind) -> &'static str {
    match kind {
        Kind::Write => "writes",
        Kind::Read => "reads ",
    }
}

/// A word, or a dash for nothing.
fn word(text: Option<&str>) -> &str {
    text.filter(|text| !text.is_empty()).unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::PodSeen;
    use crate::workload::{Answerer, Line, SessionKind};

    fn said(at: u64, session: SessionKind, outcome: Outcome) -> Event {
        let line = Line {
            n: at,
            at: HostTime(at),
            began: HostTime(at),
            port: None,
            opened: Some(HostTime(at)),
            session,
            outcome,
        };
        heard(Happening::Client {
            client: "chaos-write".to_owned(),
            kind: Kind::Write,
            line,
        })
    }

    fn heard(what: Happening) -> Event {
        Event { at: HostTime(1), what }
    }

    fn pod(is_ready: bool, role: Option<&str>) -> Event {
        heard(Happening::Pod(PodSeen {
            pod: "pg-0".to_owned(),
            uid: "uid".to_owned(),
            address: None,
            node: None,
            role: role.map(str::to_owned),
            is_ready,
            is_terminating: false,
        }))
    }

    fn by(address: &str) -> Outcome {
        let by = Answerer {
            system: "7".to_owned(),
            timeline: 1,
            address: address.to_owned(),
            in_recovery: false,
        };
        Outcome::Written { id: 1, by }
    }

    fn shown(events: &[Event]) -> Vec<String> {
        let mut world = World::default();
        let mut lines = Vec::new();
        for event in events {
            lines.extend(line_of(&event.what, &world));
            world.take(event);
        }
        lines
    }

    #[test]
    fn a_line_is_written_when_somebody_else_answers_a_new_connection() {
        let failed = || Outcome::Failed {
            error: "refused".to_owned(),
        };
        let events = [
            said(1, SessionKind::Fresh, by("a")),
            said(2, SessionKind::Fresh, by("a")),
            said(3, SessionKind::Kept, failed()),
            said(4, SessionKind::Fresh, failed()),
            said(5, SessionKind::Fresh, failed()),
            said(6, SessionKind::Fresh, by("b")),
            // It hung, and is heard of late.
            said(3, SessionKind::Fresh, failed()),
        ];
        assert_eq!(
            shown(&events),
            [
                "writes      answered by a on timeline 1",
                "writes      refused",
                "writes      answered by b on timeline 1"
            ]
        );
    }

    #[test]
    fn a_line_is_written_when_a_label_changes_and_not_when_something_else_of_the_pod_does() {
        let events = [pod(false, None), pod(true, None), pod(true, Some("primary"))];
        assert_eq!(shown(&events), ["label       pg-0: -", "label       pg-0: primary"]);
    }

    #[test]
    fn the_table_says_how_things_stand_and_a_dash_where_nothing_is() {
        let mut world = World::default();
        world.take(&pod(true, None));
        world.take(&said(1, SessionKind::Fresh, by("a")));
        let table = table(&world).join("\n");
        assert!(table.contains("leader   -"), "{table}");
        assert!(table.contains("pg-0                         -"), "{table}");
        assert!(table.contains("1 answered, 0 failed, by a on timeline 1"), "{table}");
    }
}
