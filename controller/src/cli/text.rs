//! How answers for people are laid out: columns, and how long ago something was. Pure.

use std::fmt::Write as _;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

/// Rows under their headings, each column as wide as its widest cell; the last one is as long as it is.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let all = || std::iter::once(&headings).chain(rows);
    let width = |column: usize| {
        all()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| width(column).unwrap_or_default())
        .collect();
    let mut text = String::new();
    for row in all() {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(text, "{}", line.trim_end()).expect("a String takes whatever is written to it");
    }
    text
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
        let rows = [vec![
            "a".to_owned(),
            "\u{e9}\u{e9}\u{e9}\u{e9}".to_owned(),
            String::new(),
        ]];
        let rows = [
            rows[0].clone(),
            vec!["long one".to_owned(), "b".to_owned(), "c".to_owned()],
        ];
        assert_eq!(
            table(&["X", "Y", "Z"], &rows),
            "X         Y     Z\na         \u{e9}\u{e9}\u{e9}\u{e9}\nlong one  b     c\n"
        );
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
