//! The file: a header, then a line an event, in the order in which they were heard of.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::{Event, FORMAT, Header, History};

/// A file that is no history.
#[derive(Debug, thiserror::Error)]
pub enum BadHistory {
    /// It cannot be read. Look at the path.
    #[error("could not read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line is not what it should be. The file was edited, or is of another program.
    #[error("line {line} of {} is not part of a history", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// It was written by another version of this program; judge it with that one.
    #[error("{} is a history of format {found}; this program reads format {FORMAT}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// There is not even a header in it.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Writes a history while it happens.
#[derive(Debug)]
pub struct Writer(BufWriter<File>);

impl Writer {
    /// Makes the file, and its directory where there is none, and writes the header.
    pub fn create(path: &Path, header: &Header) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut writer = Self(BufWriter::new(File::create(path)?));
        writer.line(header)?;
        Ok(writer)
    }

    /// One more event.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        self.line(event)
    }

    /// Sees to it that everything is in the file.
    pub fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn line(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, value)?;
        self.0.write_all(b"\n")
    }
}

/// Reads a whole file. A last line that was cut off is passed over: the run was killed, and the events lack their `end`.
pub fn read(path: &Path) -> Result<History, BadHistory> {
    let io = |source| BadHistory::Io {
        path: path.to_owned(),
        source,
    };
    let mut lines = BufReader::new(File::open(path).map_err(io)?).lines();
    let first = lines
        .next()
        .ok_or_else(|| BadHistory::Empty { path: path.to_owned() })?;
    let header = header(path, &first.map_err(io)?)?;
    let mut events = Vec::new();
    let mut broken: Option<BadHistory> = None;
    for (index, line) in lines.enumerate() {
        // Something follows the broken line, so it was not the last one.
        if let Some(broken) = broken {
            return Err(broken);
        }
        match serde_json::from_str::<Event>(&line.map_err(io)?) {
            Ok(event) => events.push(event),
            Err(source) => {
                broken = Some(BadHistory::Line {
                    path: path.to_owned(),
                    line: index + 2,
                    source,
                });
            }
        }
    }
    Ok(History::new(header, events))
}

fn header(path: &Path, line: &str) -> Result<Header, BadHistory> {
    let broken = |source| BadHistory::Line {
        path: path.to_owned(),
        line: 1,
        source,
    };
    // The format first: the header of another one may look quite different.
    let value: serde_json::Value = serde_json::from_str(line).map_err(broken)?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(found) if found != u64::from(FORMAT) => Err(BadHistory::Format {
            path: path.to_owned(),
            found,
        }),
        _ => serde_json::from_value(value).map_err(broken),
    }
}
