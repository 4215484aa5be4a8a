//! The fence: no write of an ended reign is accepted. Read from the API server's audit log alone: the stamp that a request carried, and
//! the pod that its token was made for.

use std::collections::BTreeMap;

use super::{Breach, Facts, Finding};
use crate::history::{AuditedWrite, Happening, Heard, RoleEdit};
use crate::host_time::HostTime;
use crate::install::PRIMARY;

pub(super) fn check(facts: &Facts<'_>) -> Finding {
    let mut fence = Fence::default();
    let is_deaf = |what: &Happening| {
        matches!(
            what,
            Happening::Gap {
                of: Heard::AuditLog,
                ..
            }
        )
    };
    let deaf = facts.history.events.iter().any(|event| is_deaf(&event.what));
    for event in &facts.history.events {
        if let Happening::Write(write) = &event.what {
            fence.take(event.at, write);
        }
    }
    let reigns = fence.writers.len();
    Finding {
        rule: "no-write-of-an-ended-reign",
        text: "no write is accepted from an ended reign, and each reign's writes come from one pod",
        seen: if deaf && fence.accepted == 0 {
            "not judged: there is no audit log here".to_owned()
        } else {
            format!(
                "{} stamped writes accepted, {} refused, of {reigns} reigns",
                fence.accepted, fence.refused
            )
        },
        breaches: fence.breaches,
    }
}

/// `<term>.<n>.<8 hex of the holder>`, as docs/architecture.md has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp<'a> {
    term: u32,
    holder: &'a str,
}

impl<'a> Stamp<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (term, rest) = text.split_once('.')?;
        let (_, holder) = rest.split_once('.')?;
        Some(Self {
            term: term.parse().ok()?,
            holder,
        })
    }
}

#[derive(Debug, Default)]
struct Fence<'a> {
    /// The highest term that each object has accepted.
    terms: BTreeMap<(&'a str, &'a str), u32>,
    /// Who wrote under each term: the stamp's holder and the token's pod.
    writers: BTreeMap<u32, (&'a str, Option<&'a str>)>,
    /// The highest term that has granted the primary role: by then it had stamped every pod.
    granted: Option<u32>,
    accepted: usize,
    refused: usize,
    breaches: Vec<Breach>,
}

impl<'a> Fence<'a> {
    fn take(&mut self, at: HostTime, write: &'a AuditedWrite) {
        // Status is for people; a late one misleads nobody's connection.
        let Some(stamp) = write
            .stamp
            .as_deref()
            .and_then(Stamp::of)
            .filter(|_| write.subresource.is_none())
        else {
            return;
        };
        if !(200..300).contains(&write.code) {
            self.refused += 1;
            return;
        }
        self.accepted += 1;
        let object = (write.resource.as_str(), write.name.as_str());
        let before = self.terms.get(&object).copied().unwrap_or(0);
        if stamp.term < before {
            self.breach(
                at,
                write,
                &format!("after the object had been written under term {before}"),
            );
        } else if self.granted.is_some_and(|granted| stamp.term < granted) {
            self.breach(
                at,
                write,
                &format!("after term {} had granted the role", self.granted.unwrap_or(0)),
            );
        }
        self.terms.insert(object, stamp.term.max(before));
        let writer = (stamp.holder, write.from_pod.as_deref());
        let first = *self.writers.entry(stamp.term).or_insert(writer);
        if first != writer {
            let (holder, pod) = first;
            let seen = format!(
                "although {holder} ({}) wrote under that term before",
                pod.unwrap_or("no pod")
            );
            self.breach(at, write, &seen);
        }
        if write.role == RoleEdit::To(PRIMARY.to_owned()) {
            self.granted = self.granted.max(Some(stamp.term));
        }
    }

    fn breach(&mut self, at: HostTime, write: &AuditedWrite, why: &str) {
        let seen = format!(
            "{} of {}/{} under stamp {} by {} accepted {why}",
            write.verb,
            write.resource,
            write.name,
            write.stamp.as_deref().unwrap_or_default(),
            write.from_pod.as_deref().unwrap_or("no pod"),
        );
        self.breaches.push(Breach { at, seen });
    }
}
