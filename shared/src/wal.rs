//! Positions in PostgreSQL's write-ahead log: which history ([`SystemIdentifier`], [`Timeline`]) and how far ([`Lsn`]).
//!
//! PostgreSQL prints timelines in hexadecimal (in WAL file names) and positions as two hexadecimal halves (`9/A0`).
//! Both are numbers; compared as text, `0A` would come before `9` and `10/0` before `9/0`. These types compare as numbers.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    as_text::as_text,
    planted::{Bug, is_planted},
};

/// A text that is not the position or the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct ParseError {
    /// What was given.
    pub text: String,
    /// What a right one looks like.
    pub expected: &'static str,
}

/// The number of one line of history of a PostgreSQL cluster; every promotion starts a new, higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Timeline(pub u32);

impl Timeline {
    const IN_FILE_NAME: usize = 8;

    /// The timeline in the name of a WAL file (`pg_walfile_name()`, `pg_ls_waldir()`): its first eight **hexadecimal** digits.
    pub fn of_wal_file(name: &str) -> Result<Self, ParseError> {
        name.get(..Self::IN_FILE_NAME)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| {
                u32::from_str_radix(digits, if is_planted(Bug::DecimalTimelines) { 10 } else { 16 }).ok()
            })
            .map(Self)
            .ok_or_else(|| ParseError {
                text: name.to_owned(),
                expected: "a WAL file name, 24 hexadecimal digits",
            })
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A byte position in the write-ahead log, printed the way PostgreSQL does: `0/3000148`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// This position, `bytes` earlier; never before the start of the log.
    #[must_use]
    pub fn minus(self, bytes: u64) -> Self {
        Self(self.0.saturating_sub(bytes))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let half = |digits: &str| {
            let sound = !digits.is_empty() && digits.len() <= 8 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            sound.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        text.split_once('/')
            .and_then(|(high, low)| Some(Self(half(high)? << 32 | half(low)?)))
            .ok_or_else(|| ParseError {
                text: text.to_owned(),
                expected: "a WAL position such as 0/3000148",
            })
    }
}

/// The number that `initdb` gives a PostgreSQL cluster; a server with another one holds other data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemIdentifier(pub u64);

impl fmt::Display for SystemIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SystemIdentifier {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let sound = text.bytes().all(|b| b.is_ascii_digit());
        sound
            .then(|| text.parse().ok())
            .flatten()
            .map(Self)
            .ok_or_else(|| ParseError {
                text: text.to_owned(),
                expected: "a system identifier, a number of up to 20 digits",
            })
    }
}

// In objects both are text: a JSON number does not hold 64 bits everywhere, and people search for what PostgreSQL prints.
as_text!(Lsn, "^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$", 17);
as_text!(SystemIdentifier, "^[0-9]{1,20}$", 20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timelines_are_hexadecimal_and_compare_as_numbers() {
        for (file, timeline) in [
            ("000000010000000000000003", 1),
            ("0000000A0000000000000003", 10),
            ("000000100000000000000003", 16),
            ("FFFFFFFF0000000000000003", u32::MAX),
        ] {
            assert_eq!(Timeline::of_wal_file(file), Ok(Timeline(timeline)), "{file}");
        }
        assert!(Timeline(0x0A) > Timeline(9) && Timeline(0x10) > Timeline(0x0A));
        for wrong in ["", "0000", "+0000001", "0000000G0000", "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"] {
            assert!(Timeline::of_wal_file(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn positions_compare_as_numbers_and_print_as_postgresql_does() {
        let at = |text: &str| text.parse::<Lsn>().unwrap();
        assert!(at("9/FFFFFFFF") < at("10/0"));
        assert!(at("0/9") < at("0/A0"));
        assert_eq!(at("16/b374d848").to_string(), "16/B374D848");
        assert_eq!(at("0/10").minus(0x20), Lsn(0));
        for wrong in ["", "/", "0", "0/", "/0", "0/+1", "0/123456789", "0/1/2", "x/1"] {
            assert!(wrong.parse::<Lsn>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn system_identifiers_keep_all_their_digits_in_json() {
        let id: SystemIdentifier = "18446744073709551615".parse().unwrap();
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, "\"18446744073709551615\"");
        assert_eq!(serde_json::from_str::<SystemIdentifier>(&json).unwrap(), id);
        for wrong in ["", "-1", "+1", "18446744073709551616", "7x"] {
            assert!(wrong.parse::<SystemIdentifier>().is_err(), "{wrong}");
        }
    }
}
