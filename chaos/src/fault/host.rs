//! Commands that block until they end, with a limit: what a fault is injected and healed with.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cluster::{Cluster, Error};

/// Seconds after which a command is killed. nft, ip and fsfreeze take milliseconds; kubectl against a busy API server was seen to take ten
/// seconds.
const LIMIT_SECONDS: &str = "60";

/// Runs a command to its end, with this standard input, and returns its standard output.
pub(super) fn run(command: &Command, input: Option<&str>) -> Result<String, Error> {
    let mut limited = Command::new("timeout");
    limited
        .args(["-s", "KILL", LIMIT_SECONDS])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    limited.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let line = std::iter::once(command.get_program()).chain(command.get_args());
    let line = line.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let failed = |status: String, said: &[u8]| Error::Command {
        command: line.clone(),
        status,
        said: String::from_utf8_lossy(said).trim_end().to_owned(),
    };
    let mut child = limited.spawn().map_err(|source| Error::NoSuchProgram {
        program: "timeout (coreutils)".to_owned(),
        source,
    })?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // A command that ends before it has read its input says why through its status.
        stdin.write_all(input.as_bytes()).ok();
    }
    let output = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string(), &[]))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(failed(output.status.to_string(), &output.stderr))
    }
}

/// Runs a program in a network namespace.
pub(super) fn in_network(network: &Path, words: &[&str], input: Option<&str>) -> Result<String, Error> {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", network.display())).args(words);
    run(&command, input)
}

/// Runs a program on a node, with the node's files.
pub(super) fn on_node(cluster: &Cluster, node: &str, words: &[&str]) -> Result<String, Error> {
    run(&cluster.command(Some(node), &owned(words))?, None)
}

/// kubectl with every right.
pub(super) fn kubectl(cluster: &Cluster, words: &[&str], input: Option<&str>) -> Result<String, Error> {
    let words = [&["kubectl", "--request-timeout=20s"], words].concat();
    run(&cluster.command(None, &owned(&words))?, input)
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_reaches_the_command_and_a_failure_is_told_with_what_it_said() {
        assert_eq!(run(&Command::new("cat"), Some("hello")).expect("cat copies"), "hello");
        let mut failing = Command::new("sh");
        failing.args(["-c", "echo the disk is on fire >&2; exit 7"]);
        let told = run(&failing, None).expect_err("it exits 7").to_string();
        assert!(told.contains("the disk is on fire") && told.contains('7'), "{told}");
    }
}
