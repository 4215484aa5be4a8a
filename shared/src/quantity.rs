//! Lengths of time and sizes as people write them in a route: `100ms`, `3s`, `16MiB`.

use std::{fmt, str::FromStr, time::Duration};

use crate::{as_text::as_text, wal::ParseError};

/// A length of time, written as a number and a unit: `100ms`, `3s`, `2m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl Period {
    /// `millis` milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// `seconds` seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

/// Units of time, the largest first, with their length in milliseconds.
const TIME_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size, the largest first, with their length in bytes. Kubernetes' own spelling (`Mi`) is taken too.
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(
            f,
            u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX),
            &TIME_UNITS,
            "0s",
        )
    }
}

impl FromStr for Period {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse(text, |unit| {
            TIME_UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .map(|(_, millis)| *millis)
        })
        .map(|millis| Self(Duration::from_millis(millis)))
        .ok_or_else(|| ParseError {
            text: text.to_owned(),
            expected: "a length of time such as 100ms, 3s or 2m",
        })
    }
}

/// A number of bytes, written with a binary unit: `16MiB` (or `16Mi`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, &SIZE_UNITS, "0B")
    }
}

impl FromStr for ByteSize {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let length = |unit: &str| {
            let named =
                |(name, bytes): &(&str, u64)| (*name == unit || name.trim_end_matches('B') == unit).then_some(*bytes);
            SIZE_UNITS.iter().find_map(named)
        };
        parse(text, length).map(Self).ok_or_else(|| ParseError {
            text: text.to_owned(),
            expected: "a size such as 16MiB or 1GiB",
        })
    }
}

/// The whole number before the unit, times the unit's length.
fn parse(text: &str, length: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    digits.parse::<u64>().ok()?.checked_mul(length(unit)?)
}

/// Prints `amount` in the largest unit that divides it.
fn print(f: &mut fmt::Formatter<'_>, amount: u64, units: &[(&str, u64)], zero: &str) -> fmt::Result {
    if amount == 0 {
        return f.write_str(zero);
    }
    match units.iter().find(|(_, length)| amount.is_multiple_of(*length)) {
        Some((unit, length)) => write!(f, "{}{unit}", amount / length),
        None => write!(f, "{amount}"),
    }
}

as_text!(Period, "^[0-9]{1,9}(ms|s|m|h)$", 12);
as_text!(ByteSize, "^[0-9]{1,9}([KMG]iB?|B)?$", 12);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read_and_printed_in_the_largest_unit() {
        for (text, millis, printed) in [
            ("100ms", 100, "100ms"),
            ("3000ms", 3_000, "3s"),
            ("90s", 90_000, "90s"),
            ("120s", 120_000, "2m"),
            ("0s", 0, "0s"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!(
                (period, period.to_string().as_str()),
                (Period::millis(millis), printed),
                "{text}"
            );
        }
        for wrong in ["", "s", "3", "-3s", "1.5s", "3 s", "99999999999999999999s"] {
            assert!(wrong.parse::<Period>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_binary_and_take_both_spellings() {
        for (text, bytes, printed) in [
            ("16MiB", 16 << 20, "16MiB"),
            ("16Mi", 16 << 20, "16MiB"),
            ("512B", 512, "512B"),
            ("512", 512, "512B"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size, size.to_string().as_str()), (ByteSize(bytes), printed), "{text}");
        }
        for wrong in ["", "MiB", "16MB", "-1MiB", "99999999999999999GiB"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
    }
}
