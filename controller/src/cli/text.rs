//! How answers for people are laid out: columns, and how long ago something was. Pure.

use std::{fmt::Write as _, time::Duration};

use anstyle::{AnsiColor, Style};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

/// Why writing text does not fail.
pub(super) const WRITES: &str = "a String takes whatever is written to it";

/// How a cell is to be taken at a glance. Colour reaches a terminal only: what is printed elsewhere has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing to see.
    Plain,
    /// As it should be.
    Good,
    /// On its way, or waiting for a person.
    Odd,
    /// Somebody is hurt.
    Bad,
}

/// One cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self {
            text,
            tone: Tone::Plain,
        }
    }
}

impl Tone {
    /// How the state of a route is to be taken.
    pub(super) fn of_state(state: &str) -> Self {
        match state {
            "Settled" => Self::Good,
            "Moving" | "Paused" | "Unknown" => Self::Odd,
            _ => Self::Bad,
        }
    }

    fn style(self) -> Style {
        let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
        match self {
            Self::Plain => Style::new(),
            Self::Good => colour(AnsiColor::Green),
            Self::Odd => colour(AnsiColor::Yellow),
            Self::Bad => colour(AnsiColor::Red).bold(),
        }
    }

    /// The text in this tone.
    pub(super) fn paint(self, text: &str) -> String {
        let style = self.style();
        format!("{style}{text}{style:#}")
    }
}

/// The state of a route, painted.
pub(super) fn state(state: &str) -> String {
    Tone::of_state(state).paint(state)
}

/// Rows under their headings, each column as wide as its widest cell; the last one is as long as it is.
pub(super) fn table(headings: &[&str], rows: &[Vec<Cell>]) -> String {
    let headings: Vec<Cell> = headings
        .iter()
        .map(|heading| Cell::from((*heading).to_owned()))
        .collect();
    let all = || std::iter::once(&headings).chain(rows);
    let width = |column: usize| {
        all()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.text.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| width(column).unwrap_or_default())
        .collect();
    let mut text = String::new();
    for row in all() {
        let filled = row
            .iter()
            .rposition(|cell| !cell.text.is_empty())
            .map_or(0, |last| last + 1);
        for (column, (cell, &width)) in row[..filled].iter().zip(&widths).enumerate() {
            text.push_str(&cell.tone.paint(&cell.text));
            if column + 1 < filled {
                let gap = width - cell.text.chars().count() + GAP;
                write!(text, "{:gap$}", "").expect(WRITES);
            }
        }
        text.push('\n');
    }
    text
}

/// Spaces between two columns.
const GAP: usize = 2;

/// Bytes of write-ahead log: `0 B`, `512 B`, `1.5 MiB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut tenths = u128::from(count) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A short time: `0.8ms`, `12ms`, `1.53s`, `2m5s`.
pub(super) fn short(span: Duration) -> String {
    let millis = span.as_millis();
    match millis {
        0..10 => format!("{}.{}ms", span.as_micros() / 1_000, span.as_micros() % 1_000 / 100),
        10..1_000 => format!("{millis}ms"),
        1_000..60_000 => format!("{}.{:02}s", millis / 1_000, millis % 1_000 / 10),
        _ => format!("{}m{}s", millis / 60_000, millis % 60_000 / 1_000),
    }
}

/// How long before `now` something was: `45s`, `12m`, `5h`, `3d`.
pub(super) fn age(since: &Time, now: Timestamp) -> String {
    // A clock that is behind the API server's is no reason for a negative age.
    let seconds = now.duration_since(since.0).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The moment, to the second.
pub(super) fn moment(at: &Time) -> String {
    at.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A value, or a dash where there is none.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// The wall clock's time.
pub(super) fn now() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge: ages are printed for people, nothing is decided by them"
    )]
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_nothing_trails() {
        let row = |cells: [&str; 3]| cells.map(|cell| Cell::from(cell.to_owned())).to_vec();
        let rows = [row(["a", "\u{e9}\u{e9}\u{e9}\u{e9}", ""]), row(["long one", "b", "c"])];
        assert_eq!(
            table(&["X", "Y", "Z"], &rows),
            "X         Y     Z\na         \u{e9}\u{e9}\u{e9}\u{e9}\nlong one  b     c\n"
        );
    }

    #[test]
    fn colour_takes_no_room_and_only_what_is_not_plain_has_it() {
        let bad = Cell {
            text: "bad".to_owned(),
            tone: Tone::Bad,
        };
        let painted = table(&["X", "Y"], &[vec![bad, Cell::from("z".to_owned())]]);
        assert!(painted.contains("\u{1b}["), "{painted:?}");
        let plain = anstream::adapter::strip_str(&painted).to_string();
        assert_eq!(plain, "X    Y\nbad  z\n");
    }

    #[test]
    fn sizes_and_times_are_short() {
        for (count, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_600_000, "1.5 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
        for (micros, expected) in [
            (0, "0.0ms"),
            (850, "0.8ms"),
            (12_000, "12ms"),
            (1_530_000, "1.53s"),
            (125_000_000, "2m5s"),
        ] {
            assert_eq!(short(Duration::from_micros(micros)), expected);
        }
    }

    #[test]
    fn an_age_has_one_unit() {
        let now: Timestamp = "2026-01-10T00:00:00Z".parse().unwrap();
        for (since, expected) in [
            ("2026-01-10T00:00:05Z", "0s"),
            ("2026-01-09T23:58:01Z", "119s"),
            ("2026-01-09T23:58:00Z", "2m"),
            ("2026-01-09T22:00:01Z", "119m"),
            ("2026-01-09T22:00:00Z", "2h"),
            ("2026-01-08T00:00:00Z", "2d"),
        ] {
            assert_eq!(age(&Time(since.parse().unwrap()), now), expected, "{since}");
        }
    }
}
