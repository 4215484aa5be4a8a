//! What a round shows: the phases of a switch, from what was heard of it. Pure: no clock, no cluster.
//!
//! ```text
//! cut ─> label off ─> out of the slice        (kill, or the promotion of the other one)
//! t0 ──> label on ──> in the slice ──> first write through the name
//! ```

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::attempt::Attempt;
use crate::history::RoleEdit;
use crate::host_time::HostTime;
use crate::install::PRIMARY;

/// A stretch of a round, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// From the cut until the API server had answered the write that took the old primary's label off.
    Withdrawn,
    /// From the cut until the old primary was out of the write Service's slices.
    Emptied,
    /// From the promotion until the API server had answered the write of the new primary's label. Negative where somebody labels what is not
    /// promoted yet.
    Label,
    /// From the promotion until the new primary was in the write Service's slices.
    Slice,
    /// From the promotion until a write over a fresh connection through the name was acknowledged by the new primary.
    Write,
    /// For how long the write Service's ready endpoints were anything but the one right server: nobody is right between the death of a
    /// primary and the promotion of the other.
    Exposure,
    /// From the leader's end until another could write.
    Takeover,
}

impl Phase {
    /// All, in the order of a table.
    pub const ALL: [Self; 7] = [
        Self::Withdrawn,
        Self::Emptied,
        Self::Label,
        Self::Slice,
        Self::Write,
        Self::Exposure,
        Self::Takeover,
    ];

    /// For a table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Withdrawn => "cut to label off",
            Self::Emptied => "cut to out of slice",
            Self::Label => "t0 to label",
            Self::Slice => "t0 to slice",
            Self::Write => "t0 to first write",
            Self::Exposure => "wrong endpoints",
            Self::Takeover => "end to next leader",
        }
    }
}

/// The phases of one round.
pub type Phases = BTreeMap<Phase, i64>;

/// A write to a pod's role label that the API server accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LabelEdit {
    pub(super) answered: HostTime,
    pub(super) pod: String,
    pub(super) role: RoleEdit,
}

/// A write to one EndpointSlice of the write Service that the API server accepted: its ready addresses after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SliceEdit {
    pub(super) answered: HostTime,
    pub(super) slice: String,
    pub(super) ready: BTreeSet<String>,
}

/// One of the two servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) pod: String,
    pub(super) address: String,
}

/// Everything that was heard of a round.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    /// The kill, the order to promote, or the freezing.
    pub(super) cut: HostTime,
    /// When the observer first heard that the new primary is not in recovery; nothing in a round without a promotion.
    pub(super) promoted: Option<HostTime>,
    /// Whether the old primary takes writes on after the cut, until it is stopped by whoever runs it.
    pub(super) is_beaten: bool,
    pub(super) old: Side,
    pub(super) new: Side,
    /// What every slice of the write Service held before the cut.
    pub(super) slices: BTreeMap<String, BTreeSet<String>>,
    pub(super) labels: Vec<LabelEdit>,
    pub(super) edits: Vec<SliceEdit>,
    pub(super) attempts: Vec<Attempt>,
}

impl Heard {
    /// The moment from which the old primary is wrong: its death, or the other's promotion.
    pub(super) fn wrong_from(&self) -> HostTime {
        match self.promoted {
            Some(promoted) if self.is_beaten => promoted,
            _ => self.cut,
        }
    }

    /// The stretches that can be told, in no order.
    pub(super) fn phases(&self) -> Phases {
        let wrong_from = self.wrong_from();
        let since = |zero: HostTime, at: HostTime| micros(at) - micros(zero);
        let from_cut = |at: Option<HostTime>| at.map(|at| since(wrong_from, at));
        let from_promotion = |at: Option<HostTime>| Some(since(self.promoted?, at?));
        let listed = self.listed();
        let phases = [
            (Phase::Withdrawn, from_cut(self.withdrawn())),
            (
                Phase::Emptied,
                from_cut(first(&listed, self.cut, |ready| !ready.contains(&self.old.address))),
            ),
            (Phase::Label, from_promotion(self.labelled())),
            (
                Phase::Slice,
                from_promotion(first(&listed, self.cut, |ready| ready.contains(&self.new.address))),
            ),
            (Phase::Write, from_promotion(self.written())),
            (Phase::Exposure, self.exposure(&listed)),
        ];
        phases
            .into_iter()
            .filter_map(|(phase, micros)| Some((phase, micros?)))
            .collect()
    }

    /// When the old primary lost its label: the first edit since the cut that leaves it without.
    fn withdrawn(&self) -> Option<HostTime> {
        self.edited(&self.old.pod, |role| match role {
            RoleEdit::None => false,
            RoleEdit::Off => true,
            RoleEdit::To(role) => role != PRIMARY,
        })
    }

    fn labelled(&self) -> Option<HostTime> {
        self.edited(
            &self.new.pod,
            |role| matches!(role, RoleEdit::To(role) if role == PRIMARY),
        )
    }

    fn edited(&self, pod: &str, wanted: impl Fn(&RoleEdit) -> bool) -> Option<HostTime> {
        let of_pod = self
            .labels
            .iter()
            .filter(|edit| edit.pod == pod && edit.answered >= self.cut && wanted(&edit.role));
        of_pod.map(|edit| edit.answered).min()
    }

    fn written(&self) -> Option<HostTime> {
        let promoted = self.promoted?;
        // The observer's stamp is up to its own pace late; whoever was answered by the promoted server was answered after the promotion.
        let by_new = self
            .attempts
            .iter()
            .filter(|attempt| attempt.by.as_deref() == Some(self.new.address.as_str()) && attempt.at >= self.cut);
        by_new.map(|attempt| attempt.at.max(promoted)).min()
    }

    /// The ready addresses over all slices, since the beginning and after each edit.
    fn listed(&self) -> Vec<(HostTime, BTreeSet<String>)> {
        let mut slices = self.slices.clone();
        let union = |slices: &BTreeMap<String, BTreeSet<String>>| slices.values().flatten().cloned().collect();
        let mut listed = vec![(HostTime(0), union(&slices))];
        let mut edits: Vec<&SliceEdit> = self.edits.iter().collect();
        edits.sort_by_key(|edit| edit.answered);
        for edit in edits {
            slices.insert(edit.slice.clone(), edit.ready.clone());
            listed.push((edit.answered, union(&slices)));
        }
        listed
    }

    /// From the cut until the new primary alone was listed: the time in which a server was that takes no writes or may not, plus the time
    /// after the promotion in which nobody was. A standby that is listed before its promotion is wrong too.
    fn exposure(&self, listed: &[(HostTime, BTreeSet<String>)]) -> Option<i64> {
        let promoted = self.promoted?;
        let right = BTreeSet::from([self.new.address.clone()]);
        // Whoever lists it before the promotion is right from the promotion on.
        let end = first(listed, self.cut, |ready| *ready == right)?.max(promoted);
        let mut wrong = 0;
        for (index, (from, ready)) in listed.iter().enumerate() {
            let to = listed.get(index + 1).map_or(end, |(next, _)| *next).min(end);
            // Until the old primary is wrong, only the other one is; then nobody is right until the promotion, from which on the new one is.
            let stretches = [
                (self.cut, self.wrong_from(), ready.contains(&self.new.address)),
                (self.wrong_from(), promoted, !ready.is_empty()),
                (promoted, end, *ready != right),
            ];
            for (begin, finish, is_wrong) in stretches {
                let (begin, finish) = (begin.max(*from), finish.min(to));
                if is_wrong && finish > begin {
                    wrong += micros(finish) - micros(begin);
                }
            }
        }
        Some(wrong)
    }
}

/// When the slices were first like this, since the cut.
fn first(
    listed: &[(HostTime, BTreeSet<String>)],
    cut: HostTime,
    wanted: impl Fn(&BTreeSet<String>) -> bool,
) -> Option<HostTime> {
    let since = listed.iter().filter(|(at, _)| *at >= cut);
    since.filter(|(_, ready)| wanted(ready)).map(|(at, _)| *at).min()
}

fn micros(at: HostTime) -> i64 {
    i64::try_from(at.0 / 1000).unwrap_or(i64::MAX)
}

/// How the failure of a round begins whose phases cannot be of one switch: a defect of the measurement, whatever a repetition gives.
pub(super) const WRONG: &str = "the phases do not add up";

/// Clocks of one host differ by what two stamps of one moment cost: the audit log's are of the wall clock, in whole microseconds.
const TOLERANCE_MICROS: i64 = 2_000;

/// Whether phases can be of one switch through a Service. The label leads to the slice (where the slice follows the label), the slice to the
/// write, and until the slice lists the new primary the endpoints are wrong. `noise_micros` is by how much the host makes a stamp late. What is
/// wrong, in words.
pub(super) fn add_up(phases: &Phases, slice_follows_label: bool, noise_micros: u64) -> Result<(), String> {
    let of = |phase: Phase| {
        phases
            .get(&phase)
            .copied()
            .ok_or_else(|| format!("no {:?}", phase.title()))
    };
    let (label, slice, write) = (of(Phase::Label)?, of(Phase::Slice)?, of(Phase::Write)?);
    let (_withdrawn, _emptied, exposure) = (of(Phase::Withdrawn)?, of(Phase::Emptied)?, of(Phase::Exposure)?);
    let late = TOLERANCE_MICROS.saturating_add(i64::try_from(noise_micros).unwrap_or(i64::MAX));
    let (hop, proxy) = (slice - label, write - slice);
    if slice_follows_label && hop < -late {
        return Err(format!("the slice led there {} µs before the label said so", -hop));
    }
    if proxy < -late {
        return Err(format!(
            "a write was acknowledged {} µs before the slice led there",
            -proxy
        ));
    }
    if exposure < slice.max(0) {
        return Err(format!("wrong for {exposure} µs, and not listed for {slice} µs"));
    }
    Ok(())
}
