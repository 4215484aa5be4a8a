//! What a throw-away server is like.

use std::{path::Path, path::PathBuf};

use super::Certificate;

/// What a throw-away server is like; the default asks for SCRAM passwords over TCP and has no TLS.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    settings: Vec<(String, String)>,
    hba: Vec<String>,
    certificate: Option<Certificate>,
}

/// Small, quick, and never flushed.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("fsync", "off"),
    ("shared_buffers", "16MB"),
    ("max_wal_senders", "4"),
    ("timezone", "UTC"),
    ("lc_messages", "C"),
    // The default from version 14 on.
    ("password_encryption", "scram-sha-256"),
];

/// The rig itself comes in through the socket, standbys of the rig over loopback, both without a password.
const HBA: &[&str] = &[
    "local all postgres trust",
    "host replication postgres 127.0.0.1/32 trust",
    "host all all 127.0.0.1/32 scram-sha-256",
];

impl Setup {
    /// Sets a parameter of `postgresql.conf`; the last one given counts.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a line of `pg_hba.conf` above those of the rig.
    #[must_use]
    pub fn hba(mut self, line: &str) -> Self {
        self.hba.push(line.to_owned());
        self
    }

    /// Switches TLS on.
    #[must_use]
    pub fn tls(mut self, certificate: Certificate) -> Self {
        self.certificate = Some(certificate);
        self
    }

    pub(super) fn hba_text(&self) -> String {
        let given = self.hba.iter().map(String::as_str);
        given.chain(HBA.iter().copied()).flat_map(|line| [line, "\n"]).collect()
    }

    /// Files to write into `directory`, with their contents. All are for the server's eyes alone.
    pub(super) fn files(&self, directory: &Path) -> Vec<(PathBuf, String)> {
        let mut files = vec![(hba_file(directory), self.hba_text())];
        if let Some(Certificate { certificate, key }) = &self.certificate {
            files.push((certificate_file(directory), certificate.clone()));
            files.push((key_file(directory), key.clone()));
        }
        files
    }

    /// The command line of the server in `directory`.
    pub(super) fn arguments(&self, directory: &Path, data: &Path, port: u16) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut settings: Vec<(String, String)> = SETTINGS
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        settings.push(("port".to_owned(), port.to_string()));
        settings.push(("unix_socket_directories".to_owned(), text(directory)));
        settings.push(("hba_file".to_owned(), text(&hba_file(directory))));
        if self.certificate.is_some() {
            settings.push(("ssl".to_owned(), "on".to_owned()));
            settings.push(("ssl_cert_file".to_owned(), text(&certificate_file(directory))));
            settings.push(("ssl_key_file".to_owned(), text(&key_file(directory))));
        }
        settings.extend(self.settings.iter().cloned());
        let options = settings
            .into_iter()
            .flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]);
        ["-D".to_owned(), text(data)].into_iter().chain(options).collect()
    }
}

fn hba_file(directory: &Path) -> PathBuf {
    directory.join("pg_hba.conf")
}

fn certificate_file(directory: &Path) -> PathBuf {
    directory.join("server.crt")
}

fn key_file(directory: &Path) -> PathBuf {
    directory.join("server.key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_asks_for_comes_before_what_the_rig_needs() {
        let setup = Setup::default()
            .setting("fsync", "on")
            .hba("host all weak 127.0.0.1/32 password");
        let arguments = setup.arguments(Path::new("/d"), Path::new("/d/data"), 5432);
        let at = |argument: &str| arguments.iter().position(|a| a == argument).expect("it is there");
        assert!(at("fsync=off") < at("fsync=on"), "the server takes the last one");
        assert!(
            setup.hba_text().starts_with("host all weak 127.0.0.1/32 password\n"),
            "and the first line that fits"
        );
    }
}
