//! The history while it grows: in memory for whoever waits for something, and in the file, so that a run that is killed leaves what it saw.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::history::{Event, Happening, Header, Heard, History, Writer};
use crate::host_time::HostTime;

/// Clients, observer and audit log give a few hundred lines a second; this is over an hour. What comes later is not kept, and a
/// [`Happening::Gap`] says so.
const EVENTS_MAX: usize = 1_500_000;

/// A history that grows. Clones write into the same one.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Mutex<Growing>>);

#[derive(Debug)]
struct Growing {
    header: Header,
    events: Vec<Event>,
    writer: Writer,
    /// The first failure to write; told at the end.
    failed: Option<io::Error>,
}

impl Journal {
    /// Begins the file.
    pub fn create(path: &Path, header: Header) -> io::Result<Self> {
        let writer = Writer::create(path, &header)?;
        Ok(Self(Arc::new(Mutex::new(Growing {
            header,
            events: Vec::new(),
            writer,
            failed: None,
        }))))
    }

    /// Something that was heard of just now.
    pub fn record(&self, what: Happening) {
        self.with(|growing| {
            // Stamped under the lock, so that these stamps rise.
            growing.push(Event {
                at: HostTime::now(),
                what,
            });
        });
    }

    /// Something that carries a stamp of its own.
    pub fn record_at(&self, at: HostTime, what: Happening) {
        self.with(|growing| growing.push(Event { at, what }));
    }

    /// Looks at everything so far, in the order in which it was heard of.
    pub fn read<T>(&self, look: impl FnOnce(&[Event]) -> T) -> T {
        self.with(|growing| look(&growing.events))
    }

    /// Completes the file and returns what is in it.
    pub fn finish(&self) -> io::Result<History> {
        self.with(|growing| {
            growing.writer.flush()?;
            match growing.failed.take() {
                Some(error) => Err(error),
                None => Ok(History::new(growing.header.clone(), growing.events.clone())),
            }
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Growing) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Growing {
    fn push(&mut self, event: Event) {
        let event = match self.events.len() {
            len if len < EVENTS_MAX => event,
            EVENTS_MAX => Event {
                at: event.at,
                what: Happening::Gap {
                    of: Heard::Recorder,
                    since: event.at,
                    why: format!("more than {EVENTS_MAX} events"),
                },
            },
            _ => return,
        };
        if let Err(error) = self.writer.event(&event) {
            self.failed.get_or_insert(error);
        }
        self.events.push(event);
    }
}
