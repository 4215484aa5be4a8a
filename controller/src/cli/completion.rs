//! `pgsteer completion SHELL`: what a shell needs to complete the command line.

use clap::{Command, ValueEnum};
use clap_complete::{Shell as Generator, generate};

use super::{Exit, Failure, answer};

/// Arguments of `pgsteer completion`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// For which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

const HELP: &str = "\
Examples:
  pgsteer completion bash > /etc/bash_completion.d/pgsteer
  pgsteer completion zsh > \"${fpath[1]}/_pgsteer\"
  pgsteer completion fish > ~/.config/fish/completions/pgsteer.fish";

/// The shells that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// The friendly interactive shell
    Fish,
}

/// Prints it.
pub fn execute(args: &Args, command: Command) -> Result<Exit, Failure> {
    let Args { shell } = args;
    answer(&script(*shell, command))?;
    Ok(Exit::Yes)
}

/// The script that a shell reads.
pub fn script(shell: Shell, mut command: Command) -> String {
    let generator = match shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    let mut script = Vec::new();
    generate(generator, &mut command, "pgsteer", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_command_can_be_completed_in_every_shell() {
        for shell in Shell::value_variants() {
            let script = script(*shell, Cli::command());
            for command in Cli::command()
                .get_subcommands()
                .filter(|command| !command.is_hide_set())
            {
                assert!(script.contains(command.get_name()), "{shell:?}: {}", command.get_name());
            }
        }
    }
}
