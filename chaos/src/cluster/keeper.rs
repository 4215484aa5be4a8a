//! Keeps the children of a test: they end when it is dropped, and also when this process dies in any way.
//!
//! The kernel's parent-death signal fires when the *thread* that forked ends, not the process, and a test's thread ends long before
//! a cluster that several tests share. So one thread of the keeper's own forks all children and lives as long as they shall.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

struct Request {
    command: Command,
    answer: Sender<io::Result<()>>,
}

/// Forks children and ends them all when dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    requests: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn new() -> io::Result<Self> {
        let (requests, inbox) = channel();
        let thread = std::thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || keep(&inbox))?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    /// Starts a command as a child of the keeper's thread.
    pub(crate) fn spawn(&self, command: Command) -> io::Result<()> {
        let gone = || io::Error::other("the keeper's thread has ended");
        let (answer, answered) = channel();
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send(Request { command, answer }).map_err(|_closed| gone())?;
        answered.recv().map_err(|_closed| gone())?
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Without a sender the thread's loop ends, and it ends the children.
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn keep(inbox: &Receiver<Request>) {
    let mut children: Vec<Child> = Vec::new();
    while let Ok(Request { mut command, answer }) = inbox.recv() {
        let spawned = command.spawn().map(|child| children.push(child));
        // Nobody waits for the answer any more: the child ends with the others.
        answer.send(spawned).ok();
    }
    // The last started ends first, so that nothing logs that what it stands on has gone.
    for child in children.iter_mut().rev() {
        // Killing fails only when the child has ended, which is what is wanted.
        child.kill().ok();
        child.wait().ok();
    }
}
