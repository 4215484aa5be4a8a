//! `pgsteer probe HOST:PORT`: asks one server once, with the same question as the controller, and prints the answer.

use std::{fmt::Write as _, fs, io, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::ValueEnum;
use probe::{Evidence, Password, ProbeError, Report, Target, Tls, UnixMicros, classify};
use serde::Serialize;

use super::{Exit, Failure, answer};
use crate::clock::{BootClock, Clock as _};

/// A name may stand for many servers; this many are asked before it is called a no.
const ADDRESSES_MAX: usize = 4;

/// Arguments of `pgsteer probe`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Whom to ask.
    #[arg(value_name = "HOST:PORT", value_parser = host_and_port, help = SERVER_HELP)]
    pub server: Server,
    /// The role to log in as
    #[arg(long, default_value = "pgsteer")]
    pub user: String,
    /// The database to log in to
    #[arg(long, default_value = "postgres")]
    pub database: String,
    /// File that holds the password; a newline at its end is not part of it. Without it: the environment variable PGPASSWORD
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Taken from the environment, where other users do not see it.
    #[arg(long, env = "PGPASSWORD", hide = true, hide_env_values = true, value_parser = password)]
    pub password: Option<Password>,
    /// How the connection is protected. require: encrypted, the certificate is not verified
    #[arg(long, value_enum, default_value = "require", requires_if("verify-full", "ca_file"))]
    pub tls: TlsMode,
    /// The certificates that verify-full trusts, in PEM
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The name that verify-full expects in the certificate [default: HOST]
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// How long the question may take, with connecting and logging in
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// How the answer is printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

const SERVER_HELP: &str = "The server: a name or an address, and the port of PostgreSQL itself; [::1]:5432 for IPv6";

const HELP: &str = "\
Exit status: 0 it takes writes; 1 it does not (in recovery, starting, nobody listens); 2 wrong usage;
3 could not ask (no answer in time, wrong password, TLS failure).

Examples:
  PGPASSWORD=... pgsteer probe 10.0.0.7:5432
  pgsteer probe pg.example.org:5432 --tls verify-full --ca-file ca.crt --password-file password -o json";

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// See [`Args::tls`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TlsMode {
    /// In clear text
    Disable,
    /// Encrypted; the certificate is not verified
    Require,
    /// Encrypted; certificate and name are verified
    VerifyFull,
}

/// See [`Args::output`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

/// What is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    address: SocketAddr,
    evidence: Evidence,
    took_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ProbeError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Asks, and prints the answer.
pub async fn execute(args: Args) -> Result<Exit, Failure> {
    let Args {
        server,
        user,
        database,
        password_file,
        password,
        tls,
        ca_file,
        server_name,
        timeout,
        output,
    } = args;
    let tls = protection(tls, ca_file, server_name.unwrap_or_else(|| server.host.clone()))?;
    let password = match password_file {
        Some(file) => read_password(&file)?,
        None => password.unwrap_or_default(),
    };
    let addresses = resolve(&server, timeout).await?;
    let target = |address| Target {
        address,
        user: user.clone(),
        database: database.clone(),
        password: password.clone(),
        tls: tls.clone(),
    };
    let mut last = None;
    for address in addresses {
        let asked = BootClock.now();
        let outcome = probe::ask(&target(address), timeout).await;
        let answer = Answer::new(address, BootClock.now().since(asked), outcome);
        // `localhost` has two addresses, and PostgreSQL may listen on one of them.
        let go_on = matches!(answer.error, Some(ProbeError::Refused | ProbeError::Unreachable { .. }));
        last = Some(answer);
        if !go_on {
            break;
        }
    }
    let last = last.with_context(|| format!("{} has no address", server.host))?;
    answer(&last.print(output)?)?;
    Ok(exit(last.evidence))
}

fn protection(mode: TlsMode, ca_file: Option<PathBuf>, server_name: String) -> Result<Tls, Failure> {
    match (mode, ca_file) {
        (TlsMode::Disable, _) => Ok(Tls::Disable),
        (TlsMode::Require, _) => Ok(Tls::Require),
        (TlsMode::VerifyFull, None) => Err(Failure::Usage(anyhow::anyhow!("--tls verify-full needs --ca-file"))),
        (TlsMode::VerifyFull, Some(file)) => {
            let pem = fs::read(&file).with_context(|| format!("cannot read --ca-file {}", file.display()))?;
            let tls = Tls::verify_full(&pem, server_name);
            Ok(tls.with_context(|| format!("cannot verify with --ca-file {}", file.display()))?)
        }
    }
}

fn read_password(file: &PathBuf) -> Result<Password, Failure> {
    let mut secret = fs::read(file).with_context(|| format!("cannot read --password-file {}", file.display()))?;
    if secret.last() == Some(&b'\n') {
        secret.pop();
    }
    Ok(Password::new(secret))
}

async fn resolve(server: &Server, timeout: Duration) -> Result<Vec<SocketAddr>, Failure> {
    let failed = || format!("cannot find an address for {}", server.host);
    let lookup = tokio::net::lookup_host((server.host.as_str(), server.port));
    let found = tokio::time::timeout(timeout, lookup).await;
    let found = found.map_err(io::Error::from).flatten().with_context(failed)?;
    Ok(found.take(ADDRESSES_MAX).collect())
}

const fn exit(evidence: Evidence) -> Exit {
    match evidence {
        Evidence::Writable => Exit::Yes,
        Evidence::InRecovery | Evidence::Down | Evidence::Starting => Exit::No,
        Evidence::Silent | Evidence::Barred | Evidence::Unclear => Exit::CouldNotAsk,
    }
}

// === impl Answer ===

impl Answer {
    fn new(address: SocketAddr, took: Duration, outcome: Result<Report, ProbeError>) -> Self {
        let evidence = classify(&outcome);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (report, error) = match outcome {
            Ok(report) => (Some(report), None),
            Err(error) => (None, Some(error)),
        };
        let reason = error.as_ref().map(ToString::to_string);
        Self {
            address,
            evidence,
            took_ms,
            report,
            error,
            reason,
        }
    }

    fn print(&self, output: Output) -> Result<String, serde_json::Error> {
        Ok(match output {
            Output::Text => self.text(),
            Output::Json => format!("{}\n", serde_json::to_string_pretty(self)?),
        })
    }

    fn text(&self) -> String {
        let mut text = format!("{}: {:?} ({} ms)\n", self.address, self.evidence, self.took_ms);
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            writeln!(text, "  {name:<18} {value}").expect("a String takes whatever is written to it");
        };
        if let Some(report) = &self.report {
            line("timeline", &report.timeline);
            line("lsn", &report.lsn);
            line("system identifier", &report.system_identifier);
            line("server version", &report.server_version_num);
            line("started", &moment(report.postmaster_started));
            if let Some(directory) = &report.data_directory {
                line("data directory", directory);
            }
            if let Some(received) = report.receiver.and_then(|receiver| receiver.received) {
                line("received", &received);
            }
        }
        if let Some(reason) = &self.reason {
            line("reason", reason);
        }
        text
    }
}

fn moment(micros: UnixMicros) -> String {
    jiff::Timestamp::from_microsecond(micros.0).map_or_else(|_| format!("{} us", micros.0), |at| at.to_string())
}

fn host_and_port(text: &str) -> Result<Server, String> {
    let wrong = || format!("{text:?} is not HOST:PORT, such as pg.example.org:5432 or [::1]:5432");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bare = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let port: u16 = port.parse().map_err(|_not_a_port| wrong())?;
    if host.is_empty() || port == 0 || (bare.is_none() && host.contains(':')) {
        return Err(wrong());
    }
    Ok(Server {
        host: host.to_owned(),
        port,
    })
}

#[expect(clippy::unnecessary_wraps, reason = "a value parser returns a Result")]
fn password(text: &str) -> Result<Password, std::convert::Infallible> {
    Ok(Password::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("pg:5432", "pg", 5432),
            ("10.0.0.7:6432", "10.0.0.7", 6432),
            ("[2001:db8::1]:5432", "2001:db8::1", 5432),
        ] {
            assert_eq!(
                host_and_port(text),
                Ok(Server {
                    host: host.to_owned(),
                    port
                }),
                "{text}"
            );
        }
        for wrong in [
            "", "pg", ":5432", "pg:", "pg:0", "pg:65536", "pg:x", "::1:5432", "[]:5432",
        ] {
            assert!(host_and_port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_exit_status_tells_no_from_no_answer() {
        for (evidence, expected) in [
            (Evidence::Writable, Exit::Yes),
            (Evidence::InRecovery, Exit::No),
            (Evidence::Down, Exit::No),
            (Evidence::Starting, Exit::No),
            (Evidence::Silent, Exit::CouldNotAsk),
            (Evidence::Barred, Exit::CouldNotAsk),
            (Evidence::Unclear, Exit::CouldNotAsk),
        ] {
            assert_eq!(exit(evidence), expected, "{evidence:?}");
        }
    }

    #[test]
    fn a_failure_is_printed_with_its_kind_for_programs_and_in_words_for_people() {
        let address = SocketAddr::from(([192, 0, 2, 1], 5432));
        let answer = Answer::new(address, Duration::from_millis(7), Err(ProbeError::Refused));
        let json: serde_json::Value = serde_json::from_str(&answer.print(Output::Json).unwrap()).unwrap();
        assert_eq!(
            (&json["evidence"], &json["error"]["kind"]),
            (&"down".into(), &"refused".into())
        );
        let text = answer.print(Output::Text).unwrap();
        assert!(text.starts_with("192.0.2.1:5432: Down (7 ms)\n"), "{text}");
        assert!(text.contains(&ProbeError::Refused.to_string()), "{text}");
    }
}
