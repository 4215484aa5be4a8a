//! A pod whose wall clock is wrong, by libfaketime in an image of its own: `CLOCK_REALTIME` alone, as a clock that was set wrong by hand or
//! lost its time server. The clocks that count since boot go on as they are, as they do on such a machine.

use std::path::{Path, PathBuf};

use super::{Faults, Heal, PodRef, pod_processes};
use crate::cluster::{Cluster, Error};

/// Where the library looks for how wrong the clock is, in the container. The Deployment of the scenario says so.
const FILE: &str = "run/faketime/offset";

/// Sets the wall clock of a controller wrong by so many seconds.
pub fn skew(faults: &mut Faults<'_>, pod: &PodRef, seconds: i64) -> Result<(), Error> {
    let file = file(faults.cluster, pod)?;
    faults.inject(Heal::Clock { file: file.clone() }, || set(&file, seconds))
}

/// The file, as the host sees it.
fn file(cluster: &Cluster, pod: &PodRef) -> Result<PathBuf, Error> {
    let processes = pod_processes(cluster, &pod.uid)?;
    let files = processes
        .iter()
        .map(|process| PathBuf::from(format!("/proc/{}/root/{FILE}", process.pid)));
    let mut inside = files.filter(|file| file.parent().is_some_and(Path::is_dir));
    inside.next().ok_or_else(|| Error::NoSuch {
        what: format!("a container with libfaketime in pod {}", pod.name),
        hint: "its Deployment has to run the image for wrong clocks".to_owned(),
    })
}

/// A container that has ended took its clock along.
pub(super) fn set(file: &Path, seconds: i64) -> Result<(), Error> {
    match std::fs::write(file, format!("{seconds:+}\n")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && seconds == 0 => Ok(()),
        outcome => outcome.map_err(Error::io("write", file)),
    }
}
