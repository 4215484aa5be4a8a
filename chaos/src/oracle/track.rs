//! A value over time.

use crate::host_time::HostTime;

/// What something was, from when on: in the order of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track<T>(Vec<(HostTime, T)>);

impl<T> Default for Track<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Track<T> {
    /// From this moment on it is this. What is said to have been before the last change is taken to have been right after it.
    pub fn push(&mut self, at: HostTime, value: T) {
        match self.0.last() {
            Some((_, last)) if *last == value => {}
            Some((before, _)) => self.0.push((at.max(*before), value)),
            None => self.0.push((at, value)),
        }
    }

    /// What it was at a moment; nothing before the first one.
    pub fn at(&self, moment: HostTime) -> Option<&T> {
        let later = self.0.partition_point(|(at, _)| *at <= moment);
        later.checked_sub(1).map(|index| &self.0[index].1)
    }

    /// When it was first known.
    pub fn begin(&self) -> Option<HostTime> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Since when it is what it is at the end.
    pub fn changed(&self) -> Option<HostTime> {
        self.0.last().map(|(at, _)| *at)
    }

    /// What it is at the end.
    pub fn last(&self) -> Option<&T> {
        self.0.last().map(|(_, value)| value)
    }

    /// Every value with the time for which it held; the last one holds until `end`.
    pub fn spans(&self, end: HostTime) -> impl Iterator<Item = Span<'_, T>> {
        self.0.iter().enumerate().map(move |(index, (from, value))| Span {
            from: *from,
            to: self.0.get(index + 1).map_or(end.max(*from), |(next, _)| *next),
            value,
        })
    }

    /// Whether it was something of this kind at any moment between these two.
    pub fn was(&self, from: HostTime, to: HostTime, kind: impl Fn(&T) -> bool) -> bool {
        let first = self.0.partition_point(|(at, _)| *at <= from).saturating_sub(1);
        let since = self.0[first.min(self.0.len())..].iter();
        since.take_while(|(at, _)| *at <= to).any(|(_, value)| kind(value))
    }

    /// The first moment after this one from which on it is something of this kind. The moment itself when it is so already.
    pub fn first_since(&self, moment: HostTime, kind: impl Fn(&T) -> bool) -> Option<HostTime> {
        if self.at(moment).is_some_and(&kind) {
            return Some(moment);
        }
        let mut later = self.0.iter().filter(|(at, _)| *at > moment);
        later.find(|(_, value)| kind(value)).map(|(at, _)| *at)
    }

    /// Every change: the moment, the value before it, the value since.
    pub fn changes(&self) -> impl Iterator<Item = (HostTime, &T, &T)> {
        self.0.windows(2).map(|pair| (pair[1].0, &pair[0].1, &pair[1].1))
    }
}

/// A value and the time for which it held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span<'a, T> {
    /// Since when.
    pub from: HostTime,
    /// Until when.
    pub to: HostTime,
    /// What.
    pub value: &'a T,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track() -> Track<char> {
        let mut track = Track::default();
        for (at, value) in [(10, 'a'), (15, 'a'), (20, 'b'), (30, 'c')] {
            track.push(HostTime(at), value);
        }
        track
    }

    #[test]
    fn a_value_holds_from_its_moment_to_the_next_one() {
        let seen: Vec<Option<char>> = [9, 10, 19, 20, 99].map(|at| track().at(HostTime(at)).copied()).to_vec();
        assert_eq!(seen, [None, Some('a'), Some('a'), Some('b'), Some('c')]);
        let track = track();
        let spans: Vec<(u64, u64)> = track.spans(HostTime(40)).map(|span| (span.from.0, span.to.0)).collect();
        assert_eq!(spans, [(10, 20), (20, 30), (30, 40)]);
    }

    #[test]
    fn what_was_between_two_moments_includes_what_was_when_they_began() {
        let was = |from, to, wanted| track().was(HostTime(from), HostTime(to), |value| *value == wanted);
        assert!(was(12, 13, 'a') && was(19, 20, 'b') && was(0, 10, 'a'));
        assert!(!was(21, 29, 'a') && !was(0, 9, 'a') && !was(31, 99, 'b'));
        assert!(!Track::<char>::default().was(HostTime(0), HostTime(9), |_| true));
    }

    #[test]
    fn a_moment_is_found_that_is_not_before_the_one_asked_for() {
        let first = |since, wanted| track().first_since(HostTime(since), |value| *value == wanted);
        assert_eq!(first(12, 'a'), Some(HostTime(12)));
        assert_eq!(first(12, 'c'), Some(HostTime(30)));
        assert_eq!(first(25, 'a'), None);
    }
}
