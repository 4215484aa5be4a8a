//! External commands that end: run with a limit, and on failure told with what they said.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Error;
use super::error::tail;

/// No command of the cluster's life (ip, mount, mkfs, ctr) takes longer unless the host is broken; importing the largest image
/// on two busy cores stayed under 30 s.
const COMMAND_LIMIT: Duration = Duration::from_mins(3);

/// A command line in the making.
#[derive(Debug)]
pub(crate) struct Run {
    program: OsString,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    directory: Option<std::path::PathBuf>,
    input: Option<Vec<u8>>,
    limit: Duration,
}

/// A command that ended well.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its standard output.
    pub(crate) out: String,
}

impl Run {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            envs: Vec::new(),
            directory: None,
            input: None,
            limit: COMMAND_LIMIT,
        }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end. A failure's error holds the last lines of what it said.
    pub(crate) async fn run(self) -> Result<Said, Error> {
        let line = self.line();
        let program = self.program.to_string_lossy().into_owned();
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.envs.iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.stdin(if self.input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|source| Error::NoSuchProgram { program, source })?;
        let failed = |status: String, said: String| Error::Command {
            command: line.clone(),
            status,
            said,
        };
        if let (Some(input), Some(mut stdin)) = (self.input, child.stdin.take()) {
            // A command that ends before it has read its input says why through its status.
            stdin.write_all(&input).await.ok();
        }
        let output = match tokio::time::timeout(self.limit, child.wait_with_output()).await {
            Ok(ended) => ended.map_err(|error| failed(error.to_string(), String::new()))?,
            Err(_elapsed) => {
                let limit = humantime::format_duration(self.limit);
                return Err(failed(format!("stopped after {limit}"), String::new()));
            }
        };
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(Said { out });
        }
        let said = format!("{out}{}", String::from_utf8_lossy(&output.stderr));
        Err(failed(output.status.to_string(), tail(&said)))
    }

    fn line(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.args);
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_command_is_told_with_what_it_said() {
        let error = Run::new("sh")
            .args(["-c", "echo the disk is on fire >&2; exit 7"])
            .run()
            .await
            .expect_err("it exits 7");
        let told = error.to_string();
        assert!(told.contains("the disk is on fire") && told.contains('7'), "{told}");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_stopped() {
        let error = Run::new("sleep")
            .arg("600")
            .limit(Duration::from_millis(20))
            .run()
            .await
            .expect_err("it hangs");
        assert!(error.to_string().contains("stopped after 20ms"), "{error}");
    }

    #[tokio::test]
    async fn input_reaches_the_command() {
        let said = Run::new("cat").input("hello").run().await.expect("cat copies");
        assert_eq!(said.out, "hello");
    }
}
