//! The command line: `pgsteer run | crd | probe | status | why | plan | history | accept | pause | resume | completion`; under the name
//! `kubectl-pgsteer` a plugin of kubectl.
//!
//! Each command is a module: its arguments, and what it does with them. Answers go to standard output, everything else to
//! standard error. The exit status is the answer in a number: see [`Exit`].

pub mod accept;
mod advice;
pub mod completion;
pub mod crd;
pub mod history;
mod leader;
pub mod pause;
pub mod plan;
pub mod probe;
pub mod reach;
pub mod routes;
pub mod run;
pub mod status;
mod text;
pub mod why;

use std::{
    ffi::OsStr,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::chain::Chain;

/// Keeps the write and the read Service of a PostgreSQL cluster on Kubernetes true.
///
/// Asks every server whether it takes writes, labels its pod, and the Services follow.
#[derive(Debug, Parser)]
#[command(name = "pgsteer", version, max_term_width = 110, after_help = EXIT_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_HELP: &str = "\
Exit status: 0 yes, 1 no, 2 wrong usage, 3 could not ask.

Examples:
  pgsteer status
  pgsteer status --watch
  pgsteer why shop/orders
  pgsteer plan
  pgsteer crd | kubectl apply --server-side -f -
  pgsteer probe 10.0.0.7:5432 --user pgsteer --password-file /run/secrets/password
  pgsteer run --log-format json --otlp-endpoint http://jaeger:4317";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the controller: contend for the Lease, and while leading keep every route's labels true
    Run(Box<run::Args>),
    /// Print the custom resource definitions as YAML
    Crd(crd::Args),
    /// Ask one PostgreSQL server once whether it takes writes
    Probe(probe::Args),
    /// Show where every route stands, pod by pod
    Status(status::Args),
    /// Explain in words where a route stands, why each pod has its label, and what to do
    Why(why::Args),
    /// Show what the leader would do if nothing else changed; nothing is changed
    Plan(plan::Args),
    /// Show the last changes of a route's primary, how long their parts took, and how long clients were hurt
    History(history::Args),
    /// Say that one server's data is the truth from now on, also where it is older
    Accept(accept::Args),
    /// Leave a route's labels as they are, whatever happens
    Pause(pause::Args),
    /// Look after a paused route again
    Resume(pause::Args),
    /// Print what a shell needs to complete this command line
    Completion(completion::Args),
}

/// What a command's exit status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Yes: writable, done, ended as asked.
    Yes,
    /// A clear no: not writable, refused.
    No,
    /// The command was used wrongly.
    Usage,
    /// There was no answer to be had.
    CouldNotAsk,
}

/// Why a command has no answer.
#[derive(Debug)]
pub enum Failure {
    /// It was used wrongly: change the flags.
    Usage(anyhow::Error),
    /// It could not ask: the error says what stood in the way.
    CouldNotAsk(anyhow::Error),
}

/// The name under which kubectl finds the program and calls it `kubectl pgsteer`.
const PLUGIN: &str = "kubectl-pgsteer";

/// The command line as it is called: kubectl's plugin has another name, in its help and its examples too.
pub fn command(program: Option<&OsStr>) -> clap::Command {
    let called = program.map(Path::new).and_then(Path::file_stem);
    let command = Cli::command();
    if called.is_some_and(|name| name == PLUGIN) {
        as_plugin(command.bin_name("kubectl pgsteer"))
    } else {
        command
    }
}

fn as_plugin(command: clap::Command) -> clap::Command {
    let help = command.get_after_help().map(ToString::to_string);
    let command = match help {
        Some(help) => command.after_help(help.replace("  pgsteer ", "  kubectl pgsteer ")),
        None => command,
    };
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    names
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, as_plugin))
}

/// What the process was called with; wrong usage ends it with status 2, `--help` with 0.
pub fn parse() -> Cli {
    let arguments: Vec<_> = std::env::args_os().collect();
    let matches = command(arguments.first().map(AsRef::as_ref)).get_matches_from(arguments);
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Does what the command line says, and reports a failure on standard error.
pub fn execute(cli: Cli) -> Exit {
    let Cli { command } = cli;
    let outcome = match command {
        Command::Run(args) => within_runtime(run::execute(*args)),
        Command::Crd(args) => crd::execute(&args),
        Command::Probe(args) => within_runtime(probe::execute(args)),
        Command::Status(args) => within_runtime(status::execute(args)),
        Command::Why(args) => within_runtime(why::execute(args)),
        Command::Plan(args) => within_runtime(plan::execute(args)),
        Command::History(args) => within_runtime(history::execute(args)),
        Command::Accept(args) => within_runtime(accept::execute(args)),
        Command::Pause(args) => within_runtime(pause::execute(args, true)),
        Command::Resume(args) => within_runtime(pause::execute(args, false)),
        Command::Completion(args) => completion::execute(&args, Cli::command()),
    };
    let (exit, error) = match outcome {
        Ok(exit) => return exit,
        Err(Failure::Usage(error)) => (Exit::Usage, error),
        Err(Failure::CouldNotAsk(error)) => (Exit::CouldNotAsk, error),
    };
    // Nobody is left to tell when standard error is closed too.
    writeln!(io::stderr(), "pgsteer: {}", Chain(error.as_ref())).unwrap_or_default();
    exit
}

fn within_runtime(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(command);
    // A name server that does not answer holds a thread for many seconds: it must not hold up the end.
    runtime.shutdown_background();
    outcome
}

/// It was used wrongly, in a way that the flags themselves do not show.
fn usage(text: impl std::fmt::Display) -> Failure {
    Failure::Usage(anyhow::anyhow!("{text}"))
}

/// Writes an answer to standard output: in colour on a terminal that has any, unless `NO_COLOR` is set.
fn answer(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

// === impl Exit ===

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Yes => 0,
            Exit::No => 1,
            Exit::Usage => 2,
            Exit::CouldNotAsk => 3,
        })
    }
}

// === impl Failure ===

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::CouldNotAsk(error.into())
    }
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
pub(crate) use fixtures::live as live_fixture;
#[cfg(test)]
mod tests;
