//! When a change was made, where the API server's audit log tells: on a busy host a watch hears of it hundreds of milliseconds later.

use std::collections::BTreeSet;

use crate::history::{AuditedWrite, Happening, History, PodSeen, RoleEdit, ServiceOf};
use crate::host_time::HostTime;

/// Every accepted write, in the order of the answers.
#[derive(Debug)]
pub(super) struct Answers<'a>(Vec<(HostTime, &'a AuditedWrite)>);

impl<'a> Answers<'a> {
    pub(super) fn of(history: &'a History) -> Self {
        let accepted = history.events.iter().filter_map(|event| match &event.what {
            Happening::Write(write) if (200..300).contains(&write.code) => Some((event.at, write)),
            _ => None,
        });
        Self(accepted.collect())
    }

    /// When the label that a watch heard of was written: the answer's moment. `before`: when it last changed.
    pub(super) fn of_label(&self, heard: HostTime, before: Option<HostTime>, seen: &PodSeen) -> HostTime {
        let edit = seen.role.clone().map_or(RoleEdit::Off, RoleEdit::To);
        let writes = |write: &AuditedWrite| write.resource == "pods" && write.name == seen.pod && write.role == edit;
        self.last(heard, before, writes)
            .map_or(heard, |(answered, _)| answered.min(heard))
    }

    /// When the endpoints that a watch heard of were written: the request's moment, because a watch that is quicker than the answer
    /// may have told kube-proxy already; where there are none any more, the answer's, for the same reason. `before`: when they last changed.
    pub(super) fn of_endpoints(
        &self,
        heard: HostTime,
        before: Option<HostTime>,
        service: ServiceOf,
        ready: &BTreeSet<String>,
    ) -> HostTime {
        let writes = |write: &AuditedWrite| {
            let endpoints = write.endpoints.as_ref();
            endpoints.is_some_and(|written| written.service == service && written.ready == *ready)
        };
        let written = self.last(heard, before, writes);
        written.map_or(heard, |(answered, write)| {
            let at = if ready.is_empty() { answered } else { write.received };
            at.min(heard)
        })
    }

    /// The last write of a kind whose request came before this moment. A watch that broke with its API server may hear of it much later, so
    /// only the change before bounds how old it can be.
    fn last(
        &self,
        heard: HostTime,
        before: Option<HostTime>,
        is_meant: impl Fn(&AuditedWrite) -> bool,
    ) -> Option<(HostTime, &'a AuditedWrite)> {
        let is_later = |answered: HostTime| before.is_none_or(|before| answered > before);
        let mut meant = self
            .0
            .iter()
            .rev()
            .filter(|(answered, write)| write.received <= heard && is_later(*answered) && is_meant(write));
        meant.next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Story, address, ms};
    use super::super::{Facts, Track};
    use crate::history::{Happening, RoleEdit, ServiceOf, WrittenEndpoints};

    fn withdrawn(facts: &Facts<'_>) -> Vec<u64> {
        let labels: &Track<_> = &facts.pods["uid-a"].role;
        labels.changes().map(|(at, _, _)| at.0 / 1_000_000).collect()
    }

    #[test]
    fn a_label_has_the_moment_of_the_answer_and_not_of_the_watch_that_lagged() {
        let history = Story::sound().history();
        assert_eq!(withdrawn(&Facts::of(&history)), [10_015, 16_100]);
        let mut story = Story::sound();
        story.drop_where(|_, what| matches!(what, Happening::Write(_)));
        let history = story.history();
        assert_eq!(withdrawn(&Facts::of(&history)), [10_020, 16_100]);
    }

    /// The writes go to the second server since 10,380 ms by the audit log.
    fn audited() -> Story {
        let mut story = Story::sound();
        story.edited(10_380, "slice", RoleEdit::None, "3.8.0badcafe");
        if let Some(Happening::Write(write)) = story.events.last_mut().map(|event| &mut event.what) {
            write.resource = "endpointslices".to_owned();
            write.endpoints = Some(WrittenEndpoints {
                service: ServiceOf::Writes,
                ready: [address("b")].into(),
            });
        }
        story
    }

    #[test]
    fn endpoints_begin_with_the_request_that_wrote_them() {
        let history = audited().history();
        let facts = Facts::of(&history);
        let changes: Vec<_> = facts.ready[&ServiceOf::Writes].changes().map(|(at, _, _)| at).collect();
        assert_eq!(changes, [ms(10_050), ms(10_377)]);
    }

    #[test]
    fn a_watch_that_was_broken_hears_late_and_the_request_still_counts() {
        let mut story = audited();
        story.drop_where(|at, what| at == 10_400 && matches!(what, Happening::Endpoints { .. }));
        story.endpoints(22_000, ServiceOf::Writes, &["b"]);
        let history = story.history();
        let facts = Facts::of(&history);
        let changes: Vec<_> = facts.ready[&ServiceOf::Writes].changes().map(|(at, _, _)| at).collect();
        assert_eq!(changes, [ms(10_050), ms(10_377)]);
    }
}
