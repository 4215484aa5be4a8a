//! The live table: what happens, line by line, and on a terminal how things stand, redrawn below.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use crate::host_time::HostTime;
use crate::timeline::{Entry, Happening, ServiceOf, World};
use crate::workload::{Kind, Outcome};

/// Where the table is shown.
pub struct Screen {
    out: Box<dyn Write + Send>,
    /// Redraws in place; otherwise only lines are written.
    is_terminal: bool,
    world: World,
    began: Option<HostTime>,
    /// Lines of the table that stand on the terminal now.
    drawn: usize,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

impl Screen {
    /// Standard output.
    pub fn of_standard_output() -> Self {
        let out = std::io::stdout();
        let is_terminal = out.is_terminal();
        Self::new(Box::new(out), is_terminal)
    }

    /// Anything that can be written to.
    pub fn new(out: Box<dyn Write + Send>, is_terminal: bool) -> Self {
        Self {
            out,
            is_terminal,
            world: World::default(),
            began: None,
            drawn: 0,
        }
    }

    /// Shows what has been added to the history since the last time.
    pub fn show(&mut self, added: &[Entry]) {
        let mut text = String::new();
        for entry in added {
            let began = *self.began.get_or_insert(entry.at);
            if let Some(line) = line_of(&entry.what, &self.world) {
                // Writing to a String cannot fail.
                writeln!(text, "{:>9} ms  {line}", entry.at.millis_since(began)).ok();
            }
            self.world.take(&entry.what);
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

/// What is worth a line of its own: everything but clients' answers that are like the one before.
fn line_of(what: &Happening, before: &World) -> Option<String> {
    match what {
        Happening::Did(what) => Some(format!("* {what}")),
        Happening::Role { pod, role } => Some(format!("label       {pod}: {}", word(role.as_deref()))),
        Happening::PodGone { pod } => Some(format!("pod gone    {pod}")),
        Happening::Endpoints { name, addresses } => {
            let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
            Some(format!(
                "endpoints   {}: {}",
                of(*name),
                word(Some(&addresses.join(" ")))
            ))
        }
        Happening::Leader { holder } => Some(format!("leader      {}", word(holder.as_deref()))),
        Happening::Client { kind, line } => {
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
    }
}

fn table(world: &World) -> Vec<String> {
    let mut lines = vec![String::new(), format!("  leader   {}", word(world.leader.as_deref()))];
    for (pod, role) in &world.roles {
        lines.push(format!("  pod      {pod:<28} {}", word(role.as_deref())));
    }
    for (name, addresses) in &world.endpoints {
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        lines.push(format!("  {}   {}", of(*name), word(Some(&addresses.join(" ")))));
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
    use crate::workload::{Answerer, Line, SessionKind};

    fn said(at: u64, session: SessionKind, outcome: Outcome) -> Entry {
        let line = Line {
            n: at,
            at: HostTime(at),
            began: HostTime(at),
            opened: Some(HostTime(at)),
            session,
            outcome,
        };
        Entry {
            at: HostTime(at * 1_000_000),
            what: Happening::Client {
                kind: Kind::Write,
                line,
            },
        }
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

    fn shown(history: &[Entry]) -> Vec<String> {
        let mut world = World::default();
        let mut lines = Vec::new();
        for entry in history {
            lines.extend(line_of(&entry.what, &world));
            world.take(&entry.what);
        }
        lines
    }

    #[test]
    fn a_line_is_written_when_somebody_else_answers_a_new_connection() {
        let failed = || Outcome::Failed {
            error: "refused".to_owned(),
        };
        let history = [
            said(1, SessionKind::Fresh, by("a")),
            said(2, SessionKind::Fresh, by("a")),
            said(3, SessionKind::Kept, failed()),
            said(4, SessionKind::Fresh, failed()),
            said(5, SessionKind::Fresh, failed()),
            said(6, SessionKind::Fresh, by("b")),
            // It hung, and is heard of late.
            Entry {
                at: HostTime(7),
                ..said(3, SessionKind::Fresh, failed())
            },
        ];
        assert_eq!(
            shown(&history),
            [
                "writes      answered by a on timeline 1",
                "writes      refused",
                "writes      answered by b on timeline 1"
            ]
        );
    }

    #[test]
    fn the_table_says_how_things_stand_and_a_dash_where_nothing_is() {
        let mut world = World::default();
        world.take(&Happening::Role {
            pod: "pg-0".to_owned(),
            role: None,
        });
        world.take(&said(1, SessionKind::Fresh, by("a")).what);
        let table = table(&world).join("\n");
        assert!(table.contains("leader   -"), "{table}");
        assert!(table.contains("pg-0                         -"), "{table}");
        assert!(table.contains("1 answered, 0 failed, by a on timeline 1"), "{table}");
    }
}
