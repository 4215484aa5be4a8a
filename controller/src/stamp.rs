//! The stamp: whose write an object carries. See docs/architecture.md, the fence.

use std::{fmt, str::FromStr};

use shared::term::Term;

/// `<term>.<n>.<8 hex of the holder>`, the annotation on every object that the controller writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The reign's number.
    pub term: Term,
    /// Rises at every reign of a process and at every write, so that a write always changes the object.
    pub n: u64,
    /// The random part of the leader's identity: two processes under one term are told apart by it.
    pub holder: Holder,
}

/// The random part of a leader's identity: eight hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder(pub u32);

impl Holder {
    const DIGITS: usize = 8;

    /// The holder of an identity `<pod>_<8 hex>`.
    pub fn of_identity(identity: &str) -> Option<Self> {
        identity.rsplit_once('_')?.1.parse().ok()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A stamp that nobody of us wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a stamp (<term>.<n>.<8 hex digits>)")]
pub struct Malformed(pub String);

impl FromStr for Holder {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let sound =
            text.len() == Self::DIGITS && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        sound
            .then(|| u32::from_str_radix(text, 16).ok())
            .flatten()
            .map(Self)
            .ok_or_else(|| Malformed(text.to_owned()))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.term, self.n, self.holder)
    }
}

impl FromStr for Stamp {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let number = |digits: &str| {
            digits
                .bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| digits.parse::<u64>().ok())
                .flatten()
        };
        let mut parts = text.splitn(3, '.');
        let parsed = (|| {
            let term = Term(u32::try_from(number(parts.next()?)?).ok()?);
            let n = number(parts.next()?)?;
            let holder = parts.next()?.parse().ok()?;
            Some(Self { term, n, holder })
        })();
        parsed.ok_or_else(|| Malformed(text.to_owned()))
    }
}

/// What an object's stamp annotation says now; a hand edit can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StampState {
    /// There is none: the object was never written by a leader, or somebody took it off.
    Absent,
    /// A leader's.
    Known(Stamp),
    /// Something else.
    Malformed(String),
}

impl StampState {
    /// Reads the annotation's value.
    pub fn of(annotation: Option<&str>) -> Self {
        match annotation.map(str::parse) {
            None => Self::Absent,
            Some(Ok(stamp)) => Self::Known(stamp),
            Some(Err(Malformed(text))) => Self::Malformed(text),
        }
    }

    /// The term that it carries, if any.
    pub fn term(&self) -> Option<Term> {
        match self {
            Self::Known(stamp) => Some(stamp.term),
            Self::Absent | Self::Malformed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_reads_back_as_it_was_written() {
        let stamp = Stamp {
            term: Term(17),
            n: 4,
            holder: Holder(0x0bad_cafe),
        };
        assert_eq!(stamp.to_string(), "17.4.0badcafe");
        assert_eq!(StampState::of(Some("17.4.0badcafe")), StampState::Known(stamp));
        assert_eq!(Holder::of_identity("pgsteer-0_x_0badcafe"), Some(Holder(0x0bad_cafe)));
    }

    #[test]
    fn anything_else_is_malformed() {
        for text in [
            "",
            "17",
            "17.4",
            "17.4.",
            "17.4.0BADCAFE",
            "17.4.0badcaf",
            "-1.4.0badcafe",
            "+1.4.0badcafe",
            "4294967296.1.0badcafe",
            "1.2.3.0badcafe",
            " 1.2.0badcafe",
        ] {
            assert_eq!(
                StampState::of(Some(text)),
                StampState::Malformed(text.to_owned()),
                "{text}"
            );
        }
        assert_eq!(StampState::of(None), StampState::Absent);
    }
}
