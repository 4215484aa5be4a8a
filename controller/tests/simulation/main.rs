//! Seeded simulation of the shipped code.
//!
//! Everything of a replica runs as it is shipped: the elector with kube-leader-election, the informers, the probe loop, `decide`, the
//! writer. Simulated are what lies outside: the API server, the servers' answers, clocks, chance, and the host that stops a process
//! between two instructions. One seed is one story; the same seed is the same story, to the last message.
//!
//! ```text
//! story ──> trouble, failover ──> hosts, servers, network          (what goes wrong, and who is promoted)
//! replica (shipped code) ──request──> flight ──> api_server ──> watches ──> replica
//!          `──question──> session ──> postgres                     judge: looks at every commit, every request, every answer
//! ```

#![expect(
    clippy::print_stdout,
    reason = "a test program of its own: what it prints is its report"
)]

mod api_server;
mod command;
mod failover;
mod faults;
mod flight;
mod host;
mod judge;
mod objects;
mod postgres;
mod replica;
mod seed;
mod session;
mod settled;
mod slices;
mod standstill;
mod story;
mod trace;
mod trouble;
mod watches;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    command::execute(&args)
}
