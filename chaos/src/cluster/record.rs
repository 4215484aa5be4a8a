//! What `up` writes down before it makes anything, so that `down` can end all of it after a crash of the tool.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Error;
use super::layout::{Layout, write};

/// How far a cluster has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// `up` is at work, or died at work.
    Booting,
    /// `up` has ended well.
    Up,
}

/// One cluster. Names and addresses follow from the state directory; the rest is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) phase: Phase,
    pub(crate) nodes: u8,
    /// Which boot of the host this was: after a restart of the host nothing of the cluster runs, and a pid means nothing.
    pub(crate) boot: String,
}

impl Record {
    /// Reads the record; `None` when nothing was ever started here.
    pub(crate) fn read(layout: &Layout) -> Result<Option<Self>, Error> {
        let path = layout.record();
        let content = match std::fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        serde_json::from_slice(&content)
            .map(Some)
            .map_err(|error| Error::Malformed {
                path,
                wrong: error.to_string(),
            })
    }

    /// Writes the record whole or not at all.
    pub(crate) fn write(&self, layout: &Layout) -> Result<(), Error> {
        let path = layout.record();
        let partial = path.with_extension("partial");
        write(&partial, serde_json::json!(self).to_string())?;
        std::fs::rename(&partial, &path).map_err(Error::io("write", &path))
    }

    /// Whether the host has not been restarted since.
    pub(crate) fn is_of_this_boot(&self) -> Result<bool, Error> {
        Ok(self.boot == boot_id()?)
    }
}

/// Names the present boot of the host.
pub(crate) fn boot_id() -> Result<String, Error> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let id = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    Ok(id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_being_written_and_read() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::new(directory.path());
        assert_eq!(Record::read(&layout).expect("readable"), None);
        let record = Record {
            phase: Phase::Booting,
            nodes: 3,
            boot: "b".to_owned(),
        };
        record.write(&layout).expect("written");
        assert_eq!(Record::read(&layout).expect("readable"), Some(record));
    }

    #[test]
    fn a_damaged_record_is_named_not_guessed_at() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::new(directory.path());
        write(&layout.record(), "{").expect("written");
        let error = Record::read(&layout).expect_err("it is cut");
        assert!(error.to_string().contains("cluster.json"), "{error}");
    }
}
