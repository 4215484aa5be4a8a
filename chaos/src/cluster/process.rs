//! Processes of the host, named so that a number used again by the kernel is never mistaken for the process that had it first.

use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Error;

/// One process, as one line of `/proc/<pid>/stat` tells it. The pair of pid and start time is unique until the host restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number now.
    pub pid: i32,
    /// Its parent's number.
    pub parent: i32,
    /// The name of its program, at most 15 bytes.
    pub name: String,
    /// Whether it has ended and only its parent has not looked yet.
    pub is_zombie: bool,
    /// Clock ticks from the host's boot to its start.
    pub started: u64,
}

impl Process {
    /// Reads a line of `/proc/<pid>/stat`; `None` when it is not one.
    pub fn parse(stat: &str) -> Option<Self> {
        // The name is in parentheses and may itself hold spaces and parentheses.
        let (pid, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(Self {
            pid: pid.trim().parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            name: name.to_owned(),
            is_zombie: matches!(*fields.first()?, "Z" | "X"),
            started: fields.get(STARTED_FIELD)?.parse().ok()?,
        })
    }

    /// The process that has this number now.
    pub fn find(pid: i32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The number it has in the innermost of its process namespaces: 1 is the first of a container. `None` when it is gone.
    pub(crate) fn number_inside(&self) -> Option<i32> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        number_inside(&status).filter(|_| self.is_alive())
    }

    /// The process that a component wrote down about itself; `None` when it never came to that.
    pub(crate) fn recorded(path: &Path) -> Result<Option<Self>, Error> {
        match std::fs::read_to_string(path) {
            Ok(stat) => {
                let malformed = || Error::Malformed {
                    path: path.to_owned(),
                    wrong: "not a line of /proc/<pid>/stat".to_owned(),
                };
                Self::parse(&stat).map(Some).ok_or_else(malformed)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    /// Whether this very process still runs.
    pub fn is_alive(&self) -> bool {
        Self::find(self.pid).is_some_and(|now| now.started == self.started && !now.is_zombie)
    }

    /// Sends a signal to this very process. `false` when it had ended already.
    pub fn signal(&self, signal: Signal) -> std::io::Result<bool> {
        signal_if(self.pid, signal, || self.is_alive())
    }

    /// Blocks until this very process has ended, at most `limit`; whether it has. One that waits for a disk ends when that has answered.
    pub(crate) fn ends_within(&self, limit: Duration) -> std::io::Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(true);
        };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        if !self.is_alive() {
            return Ok(true);
        }
        let limit = Timespec::try_from(limit).map_err(std::io::Error::other)?;
        // Readable means ended, also when its parent has not looked yet.
        let ended = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit));
        match ended {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(!self.is_alive()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The last number of the line `NSpid` of `/proc/<pid>/status`.
fn number_inside(status: &str) -> Option<i32> {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_whitespace().next_back()?.parse().ok()
}

/// Sends a signal to whatever has this number, if it is still the one that was meant. `false` when nothing was sent.
pub(crate) fn signal_if(pid: i32, signal: Signal, is_meant: impl Fn() -> bool) -> std::io::Result<bool> {
    let Some(pid) = Pid::from_raw(pid) else {
        return Ok(false);
    };
    // The descriptor holds on to whatever has the number now; looking at it after that rules out a stranger.
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    if !is_meant() {
        return Ok(false);
    }
    match pidfd_send_signal(handle, signal) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// `starttime` is field 22 of the line; the fields here begin with field 3.
const STARTED_FIELD: usize = 22 - 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1 1";
        let process = Process::parse(stat).expect("a whole line");
        assert_eq!(
            (process.pid, process.parent, process.name.as_str()),
            (42, 7, "a) b (c)")
        );
        assert_eq!((process.started, process.is_zombie), (987_654, false));
    }

    #[test]
    fn a_cut_line_is_no_process() {
        assert_eq!(Process::parse("42 (sh) S 7 42"), None);
        assert_eq!(Process::parse(""), None);
    }

    #[test]
    fn the_number_in_the_innermost_namespace_is_the_last() {
        assert_eq!(
            number_inside("Name:\tpostgres\nNSpid:\t4711\t88\t1\nThreads:\t1\n"),
            Some(1)
        );
        assert_eq!(number_inside("Name:\tsleep\nNSpid:\t4711\n"), Some(4711));
        assert_eq!(number_inside("Name:\tcut\n"), None);
    }

    #[test]
    fn a_process_that_runs_on_is_waited_for_no_longer_than_the_limit_and_one_that_is_killed_to_its_end() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .expect("sleep starts");
        let process = Process::find(i32::try_from(child.id()).expect("pids are small")).expect("it runs");
        assert!(!process.ends_within(Duration::from_millis(1)).expect("it can be polled"));
        process.signal(Signal::KILL).expect("it is ours");
        assert!(process.ends_within(Duration::from_mins(1)).expect("it can be polled"));
        child.wait().expect("it has ended");
        assert!(
            process
                .ends_within(Duration::ZERO)
                .expect("a process that is gone has ended")
        );
    }

    #[test]
    fn a_reused_number_is_another_process() {
        let own = Process::find(i32::try_from(std::process::id()).expect("pids are small")).expect("this process");
        assert!(own.is_alive());
        let earlier = Process {
            started: own.started - 1,
            ..own
        };
        assert!(!earlier.is_alive());
        // Signal 0 would be harmless; a real one must not be sent to a stranger either.
        assert!(!earlier.signal(Signal::KILL).expect("nothing is sent"));
    }
}
