//! One program beside a test, on loopback, without root: it ends when it is dropped, and when the process that started it dies.

use std::path::Path;

use super::Error;
use super::component::{Component, Launcher, Room, Started};
use super::keeper::Keeper;
use super::layout::Layout;

/// A program that runs beside a test.
#[derive(Debug)]
pub struct Beside {
    started: Started,
    _keeper: Keeper,
}

impl Beside {
    /// Starts `program` with its log and its record under `directory`, which must be empty.
    pub fn start(
        directory: &Path,
        name: &str,
        program: &Path,
        args: Vec<String>,
        env: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let layout = Layout::new(directory);
        layout.create()?;
        let keeper = Keeper::new().map_err(Error::io("start a thread for", directory))?;
        let launcher = Launcher {
            layout: &layout,
            cgroups: Vec::new(),
            keeper: Some(&keeper),
        };
        let env = env
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let component = Component {
            name: name.to_owned(),
            program: program.to_owned(),
            args,
            env,
            room: Room::Host,
        };
        let started = launcher.start(&component)?;
        Ok(Self {
            started,
            _keeper: keeper,
        })
    }

    /// Fails once it has ended by itself, with the end of its log.
    pub fn check(&self) -> Result<(), Error> {
        self.started.check().map(drop)
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        self.started.log()
    }
}
