//! The report: for the terminal, as markdown, and as plots.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::cell::{Cell, LABELS, SLICES};
use super::phases::{Phase, WRONG};
use super::plot;
use super::raw::{Header, Raw, Round, counts, given_up, good};
use super::summary::{Summary, millis, ratio};
use super::verdict::{Bar, Settings, all_hold, bars, races};

/// Another program that measures on its own writes its part here; the report takes it in as it is.
const GROWTH: &str = "growth.md";

/// What a run gave.
#[derive(Debug)]
pub(super) struct Report<'a> {
    header: &'a Header,
    rounds: &'a [Round],
    cells: &'a [&'static Cell],
    bars: Vec<Bar>,
    races: Vec<Bar>,
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    cell: &'static str,
    phase: &'static str,
    n: usize,
    p50: String,
    tail: String,
    against: String,
}

impl<'a> Report<'a> {
    pub(super) fn of(raw: &'a Raw, cells: &'a [&'static Cell], settings: Settings) -> Self {
        // Whoever asks for some cells is told of their bars alone.
        let is_asked = |bar: &Bar| bar.cells.iter().all(|name| cells.iter().any(|cell| cell.name == *name));
        Self {
            header: &raw.header,
            rounds: &raw.rounds,
            cells,
            bars: bars(&raw.rounds, settings).into_iter().filter(is_asked).collect(),
            races: races(&raw.rounds).into_iter().filter(is_asked).collect(),
        }
    }

    /// Whether everything that is promised was measured and holds.
    pub(super) fn passed(&self) -> bool {
        self.is_complete() && all_hold(&self.bars) && all_hold(&self.races)
    }

    /// Whether every cell that was asked for came to be, and every round's phases add up.
    pub(super) fn is_complete(&self) -> bool {
        let counts = counts(self.rounds);
        let is_there = |cell: &&Cell| counts.contains_key(cell.name) && given_up(self.rounds, cell.name).is_none();
        let is_wrong = |round: &Round| round.failed.as_deref().is_some_and(|why| why.starts_with(WRONG));
        self.cells.iter().all(is_there) && !self.rounds.iter().any(is_wrong)
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for cell in self.cells {
            for phase in Phase::ALL {
                let Some(summary) = Summary::of_phase(self.rounds, cell.name, phase) else {
                    continue;
                };
                let against = |ours: &str| {
                    let ours = Summary::of_phase(self.rounds, ours, phase).filter(|_| ours != cell.name)?;
                    ratio(summary.p50, ours.p50).map(|ratio| ratio.to_string())
                };
                let ratios: Vec<String> = ours(phase)
                    .iter()
                    .map(|ours| against(ours).unwrap_or_else(|| "–".to_owned()))
                    .collect();
                rows.push(Row {
                    cell: cell.name,
                    phase: phase.title(),
                    n: summary.n,
                    p50: millis(summary.p50),
                    tail: match summary.p99 {
                        Some(p99) => format!("p99 {}, max {}", millis(p99), millis(summary.max)),
                        None => format!("max {}", millis(summary.max)),
                    },
                    against: ratios.join(" "),
                });
            }
        }
        rows
    }

    /// For the terminal.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            String::new(),
            format!(
                "{:15} {:20} {:>4} {:>8}  {:22} {}",
                "cell", "phase", "n", "p50 ms", "ms", "p50 ÷ labels, ÷ slices"
            ),
        ];
        lines.extend(self.rows().into_iter().map(|row| {
            let Row {
                cell,
                phase,
                n,
                p50,
                tail,
                against,
            } = row;
            format!("{cell:15} {phase:20} {n:4} {p50:>8}  {tail:22} {against}")
        }));
        lines.push(String::new());
        lines.push(self.noise());
        lines.extend(self.failures());
        lines.extend(
            self.judged()
                .map(|bar| format!("{}  {}: {}", word(bar), bar.promise, bar.found)),
        );
        lines
    }

    /// Every bar that this run may be held to: two rounds prove none.
    fn judged(&self) -> impl Iterator<Item = &Bar> {
        let all = self.bars.iter().chain(&self.races);
        all.filter(|_| !self.header.is_quick)
    }

    /// Of each cell with rounds that gave nothing: how many, and the last one's reason.
    fn failures(&self) -> Vec<String> {
        let of_cell = |cell: &&Cell| {
            let failed = |round: &&Round| round.cell == cell.name && round.failed.is_some();
            let failed: Vec<&Round> = self.rounds.iter().filter(failed).collect();
            let last = failed.last()?.failed.as_deref()?;
            let word = given_up(self.rounds, cell.name).map_or("note", |_| "FAIL");
            Some(format!(
                "{word}  {}: {} rounds gave nothing, the last one: {last}",
                cell.name,
                failed.len()
            ))
        };
        self.cells.iter().filter_map(of_cell).collect()
    }

    fn noise(&self) -> String {
        let micros = |round: &Round| i64::try_from(round.noise_micros).unwrap_or(i64::MAX);
        let of_cells = || self.cells.iter().flat_map(|cell| good(self.rounds, cell.name));
        let noise = Summary::of(of_cells().map(micros).collect());
        let busiest = of_cells().map(|round| round.load).fold(0.0, f64::max);
        noise.map_or_else(
            || "no round was measured".to_owned(),
            |noise| {
                format!(
                    "noise: a sleeper of 1 ms woke up to {} ms too late in the middle round, {} ms in the worst; {} processors, load up to {busiest:.1}, kernel {}",
                    millis(noise.p50),
                    millis(noise.max),
                    self.header.processors,
                    self.header.kernel
                )
            },
        )
    }

    fn markdown(&self, directory: &Path) -> String {
        let mut text = String::from("# One run\n\n| cell | what | rounds |\n|---|---|---|\n");
        let counts = counts(self.rounds);
        for cell in self.cells {
            let n = counts.get(cell.name).copied().unwrap_or(0);
            writeln!(text, "| {} | {} | {n} |", cell.name, cell.about).ok();
        }
        writeln!(text, "\nController {}. {}.\n", self.header.controller, self.noise()).ok();
        for failure in self.failures() {
            writeln!(text, "{failure}\n").ok();
        }
        text.push_str("| cell | phase | n | p50 ms | ms | p50 ÷ labels, ÷ slices |\n|---|---|---|---|---|---|\n");
        for Row {
            cell,
            phase,
            n,
            p50,
            tail,
            against,
        } in self.rows()
        {
            writeln!(text, "| {cell} | {phase} | {n} | {p50} | {tail} | {against} |").ok();
        }
        if self.judged().next().is_some() {
            text.push_str("\n| | bar | found |\n|---|---|---|\n");
        }
        for bar in self.judged() {
            writeln!(text, "| {} | {} | {} |", word(bar).trim(), bar.promise, bar.found).ok();
        }
        for phase in Phase::ALL {
            if plot::draw(self.rounds, self.cells, phase).is_some() {
                writeln!(text, "\n![{}]({})", phase.title(), file_name(phase)).ok();
            }
        }
        if let Ok(growth) = std::fs::read_to_string(directory.join(GROWTH)) {
            writeln!(text, "\n{growth}").ok();
        }
        text
    }

    /// Writes report and plots into a folder, and tells which files these are.
    pub(super) fn write(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let mut write = |name: &str, content: String| {
            let path = directory.join(name);
            std::fs::write(&path, content)?;
            files.push(path);
            Ok::<(), io::Error>(())
        };
        write("report.md", self.markdown(directory))?;
        for phase in Phase::ALL {
            if let Some(svg) = plot::draw(self.rounds, self.cells, phase) {
                write(&file_name(phase), svg)?;
            }
        }
        Ok(files)
    }
}

/// Whom a phase is compared with: pgsteer's cell of the same kind.
fn ours(phase: Phase) -> &'static [&'static str] {
    match phase {
        Phase::Takeover => &["leader-kill", "leader-term"],
        Phase::Withdrawn | Phase::Emptied | Phase::Label | Phase::Slice | Phase::Write | Phase::Exposure => {
            &[LABELS, SLICES]
        }
    }
}

fn file_name(phase: Phase) -> String {
    format!("{}.svg", phase.title().replace(' ', "-"))
}

fn word(bar: &Bar) -> &'static str {
    match bar.holds {
        Some(true) => "ok  ",
        Some(false) => "FAIL",
        None => "–   ",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::cell::CELLS;
    use super::super::phases::Phases;
    use super::*;

    fn round(cell: &str, write: i64) -> Round {
        Round {
            cell: cell.to_owned(),
            ended_unix: 1,
            lasted_millis: 1,
            took_millis: 0,
            withdrawn_before_millis: Some(2_000),
            phases: Phases::from([(Phase::Write, write * 1000)]),
            noise_micros: 150,
            load: 0.5,
            failed: None,
        }
    }

    #[test]
    fn a_report_compares_each_cell_with_ours_and_misses_none_that_was_asked_for() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut raw = Raw::open(directory.path(), Header::of("abc".to_owned(), false), 1).expect("begun");
        for one in [round(LABELS, 100), round(SLICES, 40), round("polling", 600)] {
            raw.add(one).expect("written");
        }
        let cells: Vec<&'static Cell> = CELLS
            .iter()
            .filter(|cell| [LABELS, SLICES, "polling"].contains(&cell.name))
            .collect();
        let second = Duration::from_secs(1);
        let settings = Settings {
            interval: second,
            silent_after: second,
            beaten_gap: second,
            ttl: second,
        };
        let report = Report::of(&raw, &cells, settings);
        assert!(report.is_complete() && !report.passed(), "much was not measured");
        let rows: Vec<(&str, String)> = report.rows().into_iter().map(|row| (row.cell, row.against)).collect();
        assert_eq!(
            rows,
            [
                (LABELS, "– 2.5×".to_owned()),
                (SLICES, "0.4× –".to_owned()),
                ("polling", "6.0× 15.0×".to_owned())
            ]
        );
        std::fs::write(directory.path().join(GROWTH), "## Growth\n").expect("written");
        let files = report.write(directory.path()).expect("written");
        assert_eq!(files.len(), 2, "one phase was measured: {files:?}");
        let text = std::fs::read_to_string(&files[0]).expect("readable");
        assert!(
            text.contains("| polling | t0 to first write | 1 | 600 |") && text.contains("## Growth"),
            "{text}"
        );
        raw.add(Round {
            failed: Some(format!("{WRONG}: 1 + 1 are not 3")),
            ..round("polling", 1)
        })
        .expect("written");
        assert!(
            !Report::of(&raw, &cells, settings).is_complete(),
            "a defect of the measurement"
        );
        let all: Vec<&'static Cell> = CELLS.iter().collect();
        assert!(!Report::of(&raw, &all, settings).is_complete());
    }
}
