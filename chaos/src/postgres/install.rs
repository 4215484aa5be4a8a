//! The PostgreSQL of this host, and whom to run it as.

use std::{
    fs, io,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use super::Error;

/// Where Debian puts the programs of each major version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Whom root runs PostgreSQL as: the user that Debian's packages make.
const ACCOUNT: &str = "postgres";

/// What programs find on their path. The rest of the environment is not theirs: a stray `PGPORT` would lead them astray.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// No program of PostgreSQL that the rig waits for takes longer, unless the host is broken: `initdb` takes half a second.
const PROGRAM_LIMIT: Duration = Duration::from_mins(1);

/// The last so many bytes of what a program said are shown when it fails.
const SAID_BYTES: usize = 2_000;

/// The programs, and the user to run them as.
#[derive(Debug, Clone)]
pub(super) struct Install {
    bin: PathBuf,
    /// None: as whoever runs the test.
    account: Option<(u32, u32)>,
}

impl Install {
    /// The newest version on this host.
    pub(super) fn find() -> Result<Self, Error> {
        let versions = fs::read_dir(VERSIONS).into_iter().flatten().filter_map(Result::ok);
        let newest = versions
            .filter_map(|entry| {
                Some((
                    entry.file_name().to_str()?.parse::<u32>().ok()?,
                    entry.path().join("bin"),
                ))
            })
            .filter(|(_, bin)| bin.join("postgres").is_file() && bin.join("initdb").is_file())
            .max();
        let (_, bin) = newest.ok_or(Error::NotInstalled { looked_in: VERSIONS })?;
        let account = if rustix::process::geteuid().is_root() {
            let users = fs::read_to_string("/etc/passwd").map_err(Error::file("read", "/etc/passwd"))?;
            Some(account(&users).ok_or(Error::NoAccount { user: ACCOUNT })?)
        } else {
            None
        };
        Ok(Self { bin, account })
    }

    /// Gives a file or directory to the user that PostgreSQL runs as.
    pub(super) fn hand_over(&self, path: &Path) -> Result<(), Error> {
        let Some((user, group)) = self.account else {
            return Ok(());
        };
        chown(path, Some(user), Some(group)).map_err(Error::file("hand over", path))
    }

    /// A command line for one of the programs. The process dies with the thread that starts it, so that nothing outlives a
    /// test that is killed: start it from a test's own thread, not from one that may end earlier.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C");
        if let Some((user, group)) = self.account {
            command
                .arg(format!("--reuid={user}"))
                .arg(format!("--regid={group}"))
                .arg("--clear-groups");
        }
        command.args(["--pdeathsig", "KILL", "--"]).arg(self.bin.join(program));
        command.stdin(Stdio::null()).kill_on_drop(true);
        // A directory that the other user may not enter would be complained about.
        command.current_dir("/");
        command
    }

    /// Runs a program to its end.
    pub(super) async fn run(&self, program: &str, arguments: &[&str]) -> Result<(), Error> {
        let program_path = self.bin.join(program);
        let spawn = |source: io::Error| Error::Spawn {
            program: program_path.clone(),
            source,
        };
        let failed = |status: String, said: &[u8]| {
            let from = said.len().saturating_sub(SAID_BYTES);
            let said = String::from_utf8_lossy(said.get(from..).unwrap_or_default())
                .trim()
                .to_owned();
            Error::Failed {
                program: program_path.clone(),
                status,
                said,
            }
        };
        let running = self.command(program).args(arguments).output();
        match tokio::time::timeout(PROGRAM_LIMIT, running).await {
            Ok(Ok(output)) if output.status.success() => Ok(()),
            Ok(Ok(output)) => Err(failed(output.status.to_string(), &output.stderr)),
            Ok(Err(source)) => Err(spawn(source)),
            Err(_elapsed) => Err(failed(format!("stopped after {PROGRAM_LIMIT:?}"), b"")),
        }
    }
}

/// The user and group of [`ACCOUNT`] in the text of `/etc/passwd`.
fn account(users: &str) -> Option<(u32, u32)> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(ACCOUNT)).then_some(())?;
        let user = fields.nth(1)?.parse().ok()?;
        Some((user, fields.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_found_by_its_whole_name() {
        let users =
            "root:x:0:0:root:/root:/bin/bash\npostgresql:x:7:7::/:\npostgres:x:101:104:x,,,:/var/lib:/bin/bash\n";
        assert_eq!(account(users), Some((101, 104)));
        assert_eq!(account("root:x:0:0::/:\npostgres:x::\n"), None);
    }
}
