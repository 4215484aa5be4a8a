//! Faults, played on the real pieces of the embedded cluster: processes by their control group, packets by rules in a node's network
//! namespace, disks, components of the cluster, and what a person with every right can do wrong.
//!
//! ```text
//! Faults::inject:  how it heals -> on record -> the fault
//! Faults::heal, or drop, or the next run after a crash:  how it healed <- from the record, latest first
//! ```
//!
//! Everything blocks for milliseconds, or runs a command with a limit, so that healing works when a run is dropped half-way.
//!
//! Processes are found through their pod's control group, by the pod's uid, never by a program's name alone: another PostgreSQL on
//! the same host is not in it.

pub mod clock;
pub mod component;
pub mod cpu;
pub mod delay;
mod heal;
mod host;
pub mod network;
pub mod node;
pub mod object;
mod pod;
pub mod server;
#[cfg(test)]
mod tests;
pub mod volume;

use std::path::PathBuf;

pub use component::{freeze_component, thaw_component};
pub use heal::Heal;
pub use pod::{
    PodRef, controller, controllers, freeze_pod, kill_controller, kill_postmaster, lasting_name, pod_processes, pods,
    postmaster, terminate, thaw_pod,
};

use crate::cluster::{Cluster, Error};

/// The faults of one run that are not healed yet. Dropping it heals them.
#[derive(Debug)]
pub struct Faults<'a> {
    cluster: &'a Cluster,
    open: Vec<Open>,
    /// Names the next record; rises, so that records sort by age.
    next: u32,
}

/// One fault that is not healed yet.
#[derive(Debug)]
struct Open {
    heal: Heal,
    record: PathBuf,
    /// What lives in this process and ends with the fault.
    held: Option<Box<dyn Held>>,
}

/// Something that a fault keeps alive until it is healed: sessions, a proxy.
pub trait Held: std::fmt::Debug + Send {}

impl<'a> Faults<'a> {
    /// None yet. What a run that died left behind is healed first.
    pub fn new(cluster: &'a Cluster) -> Result<Self, Error> {
        let mut faults = Self {
            cluster,
            open: left_behind(cluster)?,
            next: 0,
        };
        faults.heal()?;
        Ok(faults)
    }

    /// Injects a fault. How it heals is on record before it is there; where injecting fails half-way, it is healed at once.
    ///
    /// # Errors
    /// What `inject` says, or that the record cannot be written: then nothing was done.
    pub fn inject(&mut self, heal: Heal, inject: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        self.inject_held(heal, || inject().map(|()| None))
    }

    /// As [`Faults::inject`], for a fault that keeps something of this process.
    pub fn inject_held(
        &mut self,
        heal: Heal,
        inject: impl FnOnce() -> Result<Option<Box<dyn Held>>, Error>,
    ) -> Result<(), Error> {
        let record = self.cluster.faults().join(format!("{:06}.json", self.next));
        self.next += 1;
        crate::cluster::write(&record, serde_json::json!(heal).to_string())?;
        let mut open = Open {
            heal,
            record,
            held: None,
        };
        match inject() {
            Ok(held) => {
                open.held = held;
                self.open.push(open);
                Ok(())
            }
            Err(error) => {
                // The first failure is the one to tell; what cannot be healed now is tried again when the run ends.
                if open.heal.heal(self.cluster).is_ok() {
                    std::fs::remove_file(&open.record).ok();
                } else {
                    self.open.push(open);
                }
                Err(error)
            }
        }
    }

    /// Heals all of them, latest first. All are tried; the first failure is told, and what failed stays on record.
    pub fn heal(&mut self) -> Result<(), Error> {
        let mut first = Ok(());
        let mut kept = Vec::new();
        while let Some(mut open) = self.open.pop() {
            drop(open.held.take());
            match open.heal.heal(self.cluster) {
                Ok(()) => {
                    std::fs::remove_file(&open.record).map_err(Error::io("remove", &open.record))?;
                }
                Err(error) => {
                    kept.push(open);
                    first = first.and(Err(error));
                }
            }
        }
        kept.reverse();
        self.open = kept;
        first
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether everything has healed.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Heals the latest so many.
    pub fn heal_last(&mut self, count: usize) -> Result<(), Error> {
        let earlier = self.open.len().saturating_sub(count);
        let latest = self.open.split_off(earlier);
        let earlier = std::mem::replace(&mut self.open, latest);
        let healed = self.heal();
        self.open.splice(0..0, earlier);
        healed
    }

    /// Heals the oldest so many.
    pub fn heal_first(&mut self, count: usize) -> Result<(), Error> {
        let later = self.open.split_off(count.min(self.open.len()));
        let healed = self.heal();
        self.open.extend(later);
        healed
    }
}

impl Drop for Faults<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.heal() {
            let error = anyhow::Error::from(error);
            tracing::error!(error = format!("{error:#}"), "a fault could not be healed");
        }
    }
}

/// What is on record of a run that died, oldest first.
fn left_behind(cluster: &Cluster) -> Result<Vec<Open>, Error> {
    let directory = cluster.faults();
    let Ok(entries) = std::fs::read_dir(&directory) else {
        return Ok(Vec::new());
    };
    let mut records: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    records.sort();
    let open = |record: PathBuf| {
        let content = std::fs::read(&record).map_err(Error::io("read", &record))?;
        let heal = serde_json::from_slice(&content).map_err(|error| Error::Malformed {
            path: record.clone(),
            wrong: error.to_string(),
        })?;
        Ok(Open {
            heal,
            record,
            held: None,
        })
    };
    records.into_iter().map(open).collect()
}
