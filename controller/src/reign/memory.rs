//! What one reign remembers of one route: only what cannot be read from the API server again.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use shared::role::Role;

use crate::{clock::Tick, decide::LabelState};

/// So many changes of a label by somebody else within [`CONTEST_WINDOW`] are a contest.
const CONTEST_CHANGES: usize = 3;

/// See [`CONTEST_CHANGES`].
const CONTEST_WINDOW: Duration = Duration::from_mins(1);

/// While a label is contested it is repaired this often at most.
const CONTEST_REPAIR_EVERY: Duration = Duration::from_secs(30);

/// What one reign remembers of one route.
#[derive(Debug)]
pub(crate) struct Memory {
    /// When the reign began to look at the route, without standing still since.
    pub(crate) began: Tick,
    /// When the mark was last written, or the reign began.
    pub(crate) mark_written: Tick,
    /// Whether a write to the ledger had no definite answer.
    pub(crate) ledger_unknown: bool,
    /// Uids of slices to which a write had no definite answer.
    unknown_slices: BTreeSet<String>,
    pods: BTreeMap<String, PodMemory>,
    replied: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct PodMemory {
    unknown: bool,
    out_of_write_since: Option<Tick>,
    /// What this reign last wrote; a label that differs from it is somebody else's.
    written: Option<LabelState>,
    foreign_changes: VecDeque<Tick>,
    repair_not_before: Option<Tick>,
}

impl Memory {
    /// Begins to look at a route.
    pub(crate) fn new(now: Tick) -> Self {
        Self {
            began: now,
            mark_written: now,
            ledger_unknown: false,
            unknown_slices: BTreeSet::new(),
            pods: BTreeMap::new(),
            replied: BTreeMap::new(),
        }
    }

    /// Begins to look anew: nothing was heard for a while because nobody listened. That is nobody's silence.
    pub(crate) const fn look_anew(&mut self, now: Tick) {
        self.began = now;
    }

    /// A pod on this node has replied.
    pub(crate) fn replied(&mut self, node: Option<&str>, uid: &str) {
        self.replied
            .entry(node.unwrap_or_default().to_owned())
            .or_default()
            .insert(uid.to_owned());
    }

    /// On how many nodes a pod has replied.
    pub(crate) fn nodes_replied(&self) -> usize {
        self.replied.keys().filter(|node| !node.is_empty()).count()
    }

    /// Looks at a pod's label and at the write Service's endpoints; forgets nothing.
    pub(crate) fn look(&mut self, uid: &str, label: &LabelState, among_write_endpoints: bool, now: Tick) {
        let pod = self.pods.entry(uid.to_owned()).or_default();
        pod.out_of_write_since = if among_write_endpoints {
            None
        } else {
            Some(pod.out_of_write_since.unwrap_or(now))
        };
        let changed_by_others = pod.written.as_ref().is_some_and(|written| written != label);
        if changed_by_others {
            pod.written = None;
            pod.foreign_changes.push_back(now);
            while pod.foreign_changes.len() > CONTEST_CHANGES {
                pod.foreign_changes.pop_front();
            }
            let contest = pod.foreign_changes.len() == CONTEST_CHANGES
                && pod
                    .foreign_changes
                    .front()
                    .is_some_and(|first| now.since(*first) <= CONTEST_WINDOW);
            if contest {
                pod.repair_not_before = Some(now + CONTEST_REPAIR_EVERY);
            }
        }
    }

    /// The label of a pod was written, and answered.
    pub(crate) fn wrote(&mut self, uid: &str, label: Option<Role>) {
        let pod = self.pods.entry(uid.to_owned()).or_default();
        pod.written = Some(label.map_or(LabelState::Absent, LabelState::Known));
    }

    /// Whether a write to the pod had no definite answer.
    pub(crate) fn set_unknown(&mut self, uid: &str, unknown: bool) {
        self.pods.entry(uid.to_owned()).or_default().unknown = unknown;
    }

    /// See [`Memory::set_unknown`].
    pub(crate) fn unknown(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|pod| pod.unknown)
    }

    /// Whether a write to the slice had no definite answer.
    pub(crate) fn set_slice_unknown(&mut self, uid: &str, unknown: bool) {
        if unknown {
            self.unknown_slices.insert(uid.to_owned());
        } else {
            self.unknown_slices.remove(uid);
        }
    }

    /// See [`Memory::set_slice_unknown`].
    pub(crate) fn slice_unknown(&self, uid: &str) -> bool {
        self.unknown_slices.contains(uid)
    }

    /// Forgets the slices that are gone.
    pub(crate) fn keep_only_slices(&mut self, uids: &BTreeSet<String>) {
        self.unknown_slices.retain(|uid| uids.contains(uid));
    }

    /// Since when the pod has not been among the write Service's endpoints; `None` while it is.
    pub(crate) fn out_of_write_since(&self, uid: &str) -> Option<Tick> {
        self.pods.get(uid).and_then(|pod| pod.out_of_write_since)
    }

    /// The pod's label is contested: no repair before then.
    pub(crate) fn repair_not_before(&self, uid: &str) -> Option<Tick> {
        self.pods.get(uid).and_then(|pod| pod.repair_not_before)
    }

    /// Forgets the pods that are gone.
    pub(crate) fn keep_only(&mut self, uids: &BTreeSet<String>) {
        self.pods.retain(|uid, _| uids.contains(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_label_that_somebody_else_changes_three_times_in_a_minute_is_contested() {
        let mut memory = Memory::new(at(0));
        for second in [1, 20, 59] {
            memory.wrote("a", Some(Role::Replica));
            memory.look("a", &LabelState::Known(Role::Replica), false, at(second));
            assert_eq!(memory.repair_not_before("a"), None);
            memory.look("a", &LabelState::Foreign("x".to_owned()), false, at(second));
        }
        assert_eq!(memory.repair_not_before("a"), Some(at(59 + 30)));
    }

    #[test]
    fn three_changes_over_more_than_a_minute_are_repaired_at_once() {
        let mut memory = Memory::new(at(0));
        for second in [1, 40, 62] {
            memory.wrote("a", None);
            memory.look("a", &LabelState::Known(Role::Replica), false, at(second));
        }
        assert_eq!(memory.repair_not_before("a"), None);
    }

    #[test]
    fn after_a_standstill_everybody_has_time_to_be_heard_and_nothing_else_is_forgotten() {
        let mut memory = Memory::new(at(1));
        memory.replied(Some("n1"), "a");
        memory.set_unknown("a", true);
        memory.look_anew(at(9));
        assert_eq!((memory.began, memory.mark_written), (at(9), at(1)));
        assert!(memory.unknown("a") && memory.nodes_replied() == 1);
    }

    #[test]
    fn the_time_outside_the_write_endpoints_begins_anew_after_each_stay() {
        let mut memory = Memory::new(at(0));
        memory.look("a", &LabelState::Absent, false, at(1));
        memory.look("a", &LabelState::Absent, false, at(2));
        assert_eq!(memory.out_of_write_since("a"), Some(at(1)));
        memory.look("a", &LabelState::Absent, true, at(3));
        assert_eq!(memory.out_of_write_since("a"), None);
        memory.look("a", &LabelState::Absent, false, at(4));
        assert_eq!(memory.out_of_write_since("a"), Some(at(4)));
    }

    #[test]
    fn two_pods_on_one_node_are_one_node() {
        let mut memory = Memory::new(at(0));
        memory.replied(Some("n1"), "a");
        memory.replied(Some("n1"), "b");
        memory.replied(None, "c");
        assert_eq!(memory.nodes_replied(), 1);
        memory.replied(Some("n2"), "d");
        assert_eq!(memory.nodes_replied(), 2);
    }
}
