//! What accepting a server would change, and what would be given up; or why it cannot be accepted. Pure.

use std::{cmp::Ordering, fmt};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use shared::{ledger::Mark, names, role::Role, status::Member, wal::Timeline};

use crate::{
    cli::{
        advice,
        routes::{Known, takes_writes},
        text,
    },
    reign::RouteKey,
};

/// What a person is shown before the word is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// The route.
    pub key: RouteKey,
    /// The pod that would be accepted.
    pub pod: String,
    /// Its uid: a later pod of the same name is not meant.
    pub uid: String,
    /// What the leader last saw of it.
    pub member: Member,
    /// The mark as it is.
    pub mark: Option<Mark>,
    /// The other pods whose servers take writes.
    pub others: Vec<String>,
}

/// Whether a server can be accepted.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// If it is meant.
    Ask(Box<Preview>),
    /// It is what is accepted already.
    Already,
    /// It cannot be, and why.
    Refused(String),
}

/// Judges by what the leader last wrote; the leader judges again, by what it sees then.
pub fn judge(known: &Known, pod: &Pod) -> Judgement {
    let (key, name) = (known.key(), pod.name_any());
    let refused = |why: String| Judgement::Refused(why);
    let wanted = &known.route.spec.pod_selector.match_labels;
    if !wanted
        .iter()
        .all(|(label, value)| pod.labels().get(label) == Some(value))
    {
        return refused(format!(
            "{name} is not a pod of route {key}: its podSelector does not pick it"
        ));
    }
    if known.paused() {
        return refused(format!(
            "route {key} is paused, and the mark stays as it is: pgsteer resume {key}"
        ));
    }
    let Some(member) = known.members().iter().find(|member| member.pod == name) else {
        return refused(format!("no leader has looked at {name} yet: pgsteer why {key}"));
    };
    if pod
        .annotations()
        .get(names::EXCLUDE)
        .is_some_and(|value| value == "true")
    {
        return refused(format!(
            "a person excluded {name}: take the annotation {} off it first",
            names::EXCLUDE
        ));
    }
    if !takes_writes(member) {
        let its = advice::evidence(&member.evidence);
        return refused(format!(
            "{name} does not take writes, its server {its}: promote it first, or accept one that takes writes"
        ));
    }
    let mark = known.mark();
    if member.role == Some(Role::Primary) && mark.is_some_and(|mark| mark.pod == name) {
        return Judgement::Already;
    }
    if let Some(higher) = known.outranked_by(member) {
        return refused(format!(
            "{} takes writes on timeline {}, {name} on timeline {}: stop the other, or exclude it (annotation {}), first",
            higher.pod,
            text::or_dash(higher.timeline),
            text::or_dash(member.timeline),
            names::EXCLUDE,
        ));
    }
    let others = known
        .members()
        .iter()
        .filter(|other| other.pod != name && takes_writes(other));
    Judgement::Ask(Box::new(Preview {
        key,
        uid: pod.uid().unwrap_or_default(),
        member: member.clone(),
        mark: mark.cloned(),
        others: others.map(|other| other.pod.clone()).collect(),
        pod: name,
    }))
}

// === impl Preview ===

impl Preview {
    /// Whether who said yes to this one also said yes to `other`: only positions, which move all the time, and words may differ.
    pub fn means_the_same(&self, other: &Self) -> bool {
        let settled = |preview: &Self| {
            let mut preview = preview.clone();
            preview.member.why.clear();
            if let Some(mark) = &mut preview.mark {
                mark.lsn = shared::wal::Lsn::default();
            }
            preview
        };
        settled(self) == settled(other)
    }

    /// What would be given up.
    fn lost(&self) -> String {
        let pod = &self.pod;
        let Some(mark) = &self.mark else {
            return format!("There is no mark yet. From then on every other server is measured against {pod}.");
        };
        let Mark {
            timeline,
            lsn,
            pod: last,
            ..
        } = mark;
        let Some(its) = self.member.timeline else {
            return format!(
                "The timeline of {pod} is not known: what {last} wrote up to {lsn} on timeline {timeline} may be given up."
            );
        };
        match its.cmp(timeline) {
            Ordering::Less => format!(
                "The timeline goes DOWN, from {timeline} to {its}: what {last} wrote on timeline {timeline}, up to {lsn} at \
                 least, is given up."
            ),
            Ordering::Equal => format!(
                "The timeline stays {timeline}, but the data is not what wrote it last: what {last} wrote up to {lsn} is given \
                 up as far as {pod} does not have it."
            ),
            Ordering::Greater => format!(
                "The timeline goes up, from {timeline} to {its}: what {last} wrote on timeline {timeline}, up to {lsn} at least, \
                 is given up as far as {pod} had not received it when it was promoted."
            ),
        }
    }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            pod,
            uid,
            member,
            mark,
            others,
        } = self;
        let now = |part: fn(&Mark) -> String| mark.as_ref().map_or_else(|| "-".to_owned(), part);
        let row = |name: &str, now: String, then: String| [name.to_owned(), now, then].map(text::Cell::from).to_vec();
        let its = || "its own".to_owned();
        let timeline = |timeline: Option<Timeline>| timeline.map_or_else(its, |timeline| timeline.to_string());
        let rows = [
            row("pod", now(|mark| mark.pod.clone()), pod.clone()),
            row(
                "timeline",
                now(|mark| mark.timeline.to_string()),
                timeline(member.timeline),
            ),
            row("LSN", now(|mark| mark.lsn.to_string()), its()),
            row(
                "data",
                now(|mark| format!("{:?} {}", mark.data.kind, mark.data.name)),
                its(),
            ),
            row(
                "system identifier",
                now(|mark| mark.system_identifier.to_string()),
                its(),
            ),
        ];
        writeln!(f, "Accept {pod} (uid {uid}) as the right data of route {key}:\n")?;
        write!(f, "{}", text::table(&["THE MARK", "NOW", "THEN"], &rows))?;
        writeln!(f, "\n{}", self.lost())?;
        if !others.is_empty() {
            writeln!(f, "{} also takes writes, and becomes an orphan.", others.join(", "))?;
        }
        if !member.why.is_empty() {
            writeln!(f, "What the leader says of {pod} now: {}", member.why)?;
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests;
