//! I1: never two pods labelled primary, in what the watch saw and in what the API server answered.

use std::collections::BTreeSet;

use super::{Breach, Facts, Finding};
use crate::history::{Event, Happening, RoleEdit};
use crate::host_time::HostTime;
use crate::install::PRIMARY;

pub(super) fn check(facts: &Facts<'_>) -> Finding {
    let mut watched = Primaries::default();
    // A watch that was broken misses what changed twice; the log of the API server's answers does not.
    let mut answered = Primaries::default();
    let mut known = BTreeSet::new();
    for event in &facts.history.events {
        watched.watch(event);
        answered.hear(event, &mut known);
    }
    let most = watched.most.max(answered.most);
    let mut breaches = watched.breaches;
    breaches.extend(answered.breaches);
    Finding {
        rule: "one-primary-label",
        text: "never two pods labelled primary",
        seen: format!("at most {most} at once"),
        breaches,
    }
}

/// The pods labelled primary, and when they were too many.
#[derive(Debug, Default)]
struct Primaries<'a> {
    now: BTreeSet<&'a str>,
    most: usize,
    breaches: Vec<Breach>,
}

impl<'a> Primaries<'a> {
    fn watch(&mut self, event: &'a Event) {
        match &event.what {
            Happening::Pod(pod) if pod.role.as_deref() == Some(PRIMARY) => {
                self.add(event.at, &pod.pod, "the watch saw");
            }
            Happening::Pod(pod) => self.remove(&pod.pod),
            Happening::PodGone { pod, .. } => self.remove(pod),
            _ => {}
        }
    }

    /// What is known from the watch before the first answer counts once a pod; from then on answers alone do.
    fn hear(&mut self, event: &'a Event, known: &mut BTreeSet<&'a str>) {
        match &event.what {
            Happening::Pod(pod) if known.insert(&pod.pod) && pod.role.as_deref() == Some(PRIMARY) => {
                self.add(event.at, &pod.pod, "the API server was left with");
            }
            Happening::PodGone { pod, .. } => self.remove(pod),
            Happening::Write(write) if write.resource == "pods" && (200..300).contains(&write.code) => {
                let is_set = write.role == RoleEdit::To(PRIMARY.to_owned());
                if is_set {
                    self.add(event.at, &write.name, "the API server has accepted");
                } else if !write.role.is_none() || write.verb == "delete" {
                    self.remove(&write.name);
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, at: HostTime, pod: &'a str, who: &str) {
        let is_new = self.now.insert(pod);
        self.most = self.most.max(self.now.len());
        if is_new && self.now.len() > 1 {
            let pods: Vec<&str> = self.now.iter().copied().collect();
            let seen = format!("{who} {} pods labelled primary: {}", pods.len(), pods.join(", "));
            self.breaches.push(Breach { at, seen });
        }
    }

    fn remove(&mut self, pod: &str) {
        self.now.remove(pod);
    }
}
