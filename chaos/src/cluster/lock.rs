//! A file lock, so that two commands do not work on the same directory at once. The kernel releases it when its holder dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::Error;
use super::layout::create_dir;

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl Lock {
    /// Takes the lock at once, or tells that another command holds it.
    pub(crate) fn take(path: &Path) -> Result<Self, Error> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(Error::Io {
                doing: "lock",
                path: path.to_owned(),
                source,
            }),
        }
    }
}

fn open(path: &Path) -> Result<File, Error> {
    if let Some(parent) = path.parent() {
        create_dir(parent)?;
    }
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    opened.map_err(Error::io("open the lock file", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_refused_until_the_first_lets_go() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("lock");
        let held = Lock::take(&path).expect("free");
        assert!(matches!(Lock::take(&path), Err(Error::Locked { .. })));
        drop(held);
        assert!(Lock::take(&path).is_ok());
    }
}
