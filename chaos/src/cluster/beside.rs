//! One program beside a test, on loopback, without root: it ends when it is dropped, and when the process that started it dies.

use std::path::Path;
use std::time::Duration;

use super::Error;
use super::component::{Component, Launcher, Room, Started};
use super::keeper::Keeper;
use super::layout::Layout;
use crate::wait::wait_for;

/// It starts within a second or two; the rest is a busy host.
const START_LIMIT: Duration = Duration::from_mins(1);

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

    /// Waits until `look` finds that it is ready for work. Fails early when it has ended by itself.
    pub async fn until_ready<F, Look>(&self, what: &str, mut look: F) -> Result<(), Error>
    where
        F: FnMut() -> Look,
        Look: Future<Output = Result<(), String>>,
    {
        let ready = wait_for(what, START_LIMIT, || {
            let ended = self.started.check().err();
            let looking = look();
            async {
                match ended {
                    Some(error) => Ok(Err(error)),
                    None => looking.await.map(Ok),
                }
            }
        });
        let log = self.started.log().to_owned();
        ready.await.map_err(|timed_out| Error::timed_out(timed_out, &[log]))?
    }
}
