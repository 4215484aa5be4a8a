//! A part of the whole: two hosts share the work.

use std::fmt;
use std::str::FromStr;

/// One of so many equal parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 1.
    number: usize,
    of: usize,
}

/// It is no part.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no part of a whole; 1/2 and 2/2 are")]
pub struct BadShard(String);

impl FromStr for Shard {
    type Err = BadShard;

    fn from_str(text: &str) -> Result<Self, BadShard> {
        let bad = || BadShard(text.to_owned());
        let (number, of) = text.split_once('/').ok_or_else(bad)?;
        let parse = |part: &str| part.parse::<usize>().map_err(|_not_a_number| bad());
        let shard = Self {
            number: parse(number)?,
            of: parse(of)?,
        };
        if (1..=shard.of).contains(&shard.number) {
            Ok(shard)
        } else {
            Err(bad())
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl Shard {
    /// Whether the scenario at this place of the list is of this part. Neighbours are alike, so they are dealt out.
    pub(super) fn takes(self, index: usize) -> bool {
        index % self.of == self.number - 1
    }
}
