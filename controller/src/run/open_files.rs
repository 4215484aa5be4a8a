//! Room for the sessions: one is kept a pod, and a fresh one comes beside it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Lets this process open as many files as its host allows. Container runtimes start processes with a soft limit of 1024, kept low for
/// programs that use select(2); with more than a thousand pods the probes would run into it, and see nobody.
pub(super) fn allow_all() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let wanted = Rlimit {
        current: limit.maximum,
        ..limit
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => debug!(files = limit.maximum, "the limit of open files was raised"),
        Err(error) => warn!(%error, files = limit.current, "the limit of open files stays as it is"),
    }
}
