//! `up` around the boot itself: one at a time, on record before anything is made, and cleared away when it fails.

use std::path::PathBuf;

use super::boot::Boot;
use super::build::{Part, Programs};
use super::layout::{Cache, Layout, State};
use super::lock::Lock;
use super::names::{Instance, NODES_MAX};
use super::progress::Progress;
use super::record::{Phase, Record, boot_id};
use super::{Cluster, Error, down, host};

/// Boots a cluster with `nodes` nodes, or the API server alone for 0.
pub(crate) async fn up(cache: &Cache, state: &State, nodes: u8, progress: Progress) -> Result<Cluster, Error> {
    if nodes > NODES_MAX {
        return Err(Error::TooManyNodes {
            asked: nodes,
            most: NODES_MAX,
        });
    }
    if nodes > 0 {
        host::require_root()?;
        host::ensure_packages(progress).await?;
    }
    let lock = Lock::take(&state.lock())?;
    let layout = state.layout();
    clear_the_way(state, &layout, progress, &lock).await?;
    let part = if nodes == 0 { Part::ControlPlane } else { Part::All };
    let programs = Programs::find(cache, part).await?;
    let mut record = Record {
        phase: Phase::Booting,
        nodes,
        boot: boot_id()?,
    };
    record.write(&layout)?;
    let boot = Boot {
        cache,
        layout: &layout,
        instance: Instance::of(state.root()),
        programs: &programs,
        progress,
    };
    let booted = if nodes == 0 {
        boot.alone().await
    } else {
        boot.with_nodes(nodes).await
    };
    if let Err(error) = booted {
        let kept = keep_logs(state, &layout);
        progress.tell(&format!("up failed; the logs are kept in {}", kept.display()));
        // The first failure is the one to tell; `down` tells its own when it is asked again.
        down::take_down(state, &lock).await.ok();
        return Err(error);
    }
    record.phase = Phase::Up;
    record.write(&layout)?;
    drop(lock);
    Cluster::attach(cache, state).await
}

/// Refuses when a cluster is up; ends what an interrupted `up`, or one before the host's last restart, left.
async fn clear_the_way(state: &State, layout: &Layout, progress: Progress, lock: &Lock) -> Result<(), Error> {
    let Some(record) = Record::read(layout)? else {
        return Ok(());
    };
    if record.phase == Phase::Up && record.is_of_this_boot()? {
        return Err(Error::AlreadyUp {
            nodes: record.nodes,
            state: state.root().to_owned(),
        });
    }
    progress.tell("clearing away what an interrupted `up` left");
    down::take_down(state, lock).await
}

/// Moves the logs of a failed boot out of the way of `down`.
fn keep_logs(state: &State, layout: &Layout) -> PathBuf {
    let kept = state.root().join("failed");
    // Without logs of an earlier failure there is nothing to remove, and without logs of this one nothing to keep.
    std::fs::remove_dir_all(&kept).ok();
    std::fs::rename(layout.root().join("log"), &kept).ok();
    kept
}
