//! What happened, as one number, and in words for whoever replays a seed.
//!
//! Two runs of one seed are the same when their numbers are.

use std::time::Duration;

/// One seed's trace.
#[derive(Debug)]
pub(crate) struct Trace {
    sum: u64,
    lines: u64,
    shown: bool,
}

impl Trace {
    /// Nothing yet; `shown`: each line is printed.
    pub(crate) const fn new(shown: bool) -> Self {
        Self {
            sum: 0xcbf2_9ce4_8422_2325,
            lines: 0,
            shown,
        }
    }

    /// Takes numbers in.
    pub(crate) fn note(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.mix(*number);
        }
    }

    /// Takes bytes in.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            if let Some(part) = word.get_mut(..chunk.len()) {
                part.copy_from_slice(chunk);
            }
            self.mix(u64::from_le_bytes(word));
        }
    }

    /// Takes a line in; its words are only made when somebody reads them.
    pub(crate) fn line(&mut self, at: Duration, numbers: &[u64], words: impl FnOnce() -> String) {
        self.lines += 1;
        self.mix(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
        self.note(numbers);
        if self.shown {
            println!("{:10.6}  {}", at.as_secs_f64(), words());
        }
    }

    /// The number.
    pub(crate) const fn sum(&self) -> u64 {
        self.sum
    }

    /// How many lines there were.
    pub(crate) const fn lines(&self) -> u64 {
        self.lines
    }

    const fn mix(&mut self, word: u64) {
        self.sum = (self.sum.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}
