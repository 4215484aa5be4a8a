//! Statistics of the rounds. Pure.

use super::phases::Phase;
use super::raw::{MANY, Round, good};

/// What the rounds of a cell say of one phase, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Summary {
    /// How many rounds.
    pub n: usize,
    /// The median.
    pub p50: i64,
    /// The 99th percentile; nothing below a hundred rounds, where it would be a guess.
    pub p99: Option<i64>,
    /// The worst.
    pub max: i64,
}

impl Summary {
    /// Of these values; nothing of none.
    pub(super) fn of(mut values: Vec<i64>) -> Option<Self> {
        values.sort_unstable();
        let max = *values.last()?;
        Some(Self {
            n: values.len(),
            p50: rank(&values, 50)?,
            p99: (values.len() >= MANY).then(|| rank(&values, 99)).flatten(),
            max,
        })
    }

    /// Of a cell's phase.
    pub(super) fn of_phase(rounds: &[Round], cell: &str, phase: Phase) -> Option<Self> {
        Self::of(values(rounds, cell, phase))
    }

    /// The 99th percentile, or the worst where there is none.
    pub(super) fn tail(&self) -> i64 {
        self.p99.unwrap_or(self.max)
    }
}

/// A cell's values of one phase, in the order of the rounds.
pub(super) fn values(rounds: &[Round], cell: &str, phase: Phase) -> Vec<i64> {
    good(rounds, cell)
        .filter_map(|round| round.phases.get(&phase).copied())
        .collect()
}

/// The nearest rank: the smallest value that so many percent of all are not above.
fn rank(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Milliseconds for a person: a fraction only where it says something.
pub(super) fn millis(micros: i64) -> String {
    let thousandths = micros.abs();
    let sign = if micros < 0 { "-" } else { "" };
    match thousandths {
        0..10_000 => format!("{sign}{}.{}", thousandths / 1000, thousandths % 1000 / 100),
        _ => format!("{sign}{}", (thousandths + 500) / 1000),
    }
}

/// How many times larger, to one digit, in integers; nothing where the smaller is none.
pub(super) fn ratio(larger: i64, smaller: i64) -> Option<Ratio> {
    (smaller > 0 && larger > 0).then(|| Ratio {
        tenths: larger * 10 / smaller,
    })
}

/// How many times larger one figure is than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ratio {
    /// In tenths.
    pub tenths: i64,
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.tenths {
            0..200 => write!(f, "{}.{}×", self.tenths / 10, self.tenths % 10),
            _ => write!(f, "{}×", self.tenths / 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_nearest_ranks_and_a_p99_needs_a_hundred_rounds() {
        assert_eq!(Summary::of(Vec::new()), None);
        let summary = |n: i64| Summary::of((1..=n).rev().collect()).expect("some");
        let cases = [
            (1, 1, None, 1),
            (2, 1, None, 2),
            (99, 50, None, 99),
            (100, 50, Some(99), 100),
            (200, 100, Some(198), 200),
        ];
        for (n, p50, p99, max) in cases {
            let found = summary(n);
            assert_eq!((found.p50, found.p99, found.max), (p50, p99, max), "{n} values");
            assert_eq!(found.tail(), p99.unwrap_or(max));
        }
    }

    #[test]
    fn figures_are_told_with_no_more_digits_than_they_mean() {
        for (micros, expected) in [
            (0, "0.0"),
            (950, "0.9"),
            (9_999, "9.9"),
            (10_499, "10"),
            (1_500_500, "1501"),
            (-1_250, "-1.2"),
        ] {
            assert_eq!(millis(micros), expected, "{micros} µs");
        }
        let told = |larger, smaller| ratio(larger, smaller).map(|ratio| ratio.to_string());
        assert_eq!(told(15, 10).as_deref(), Some("1.5×"));
        assert_eq!(told(999, 10).as_deref(), Some("99×"));
        assert_eq!((told(1, 0), told(-5, 10)), (None, None));
    }
}
