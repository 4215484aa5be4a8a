//! Whom to ask, and as whom.

use std::{fmt, net::SocketAddr};

use crate::tls::Tls;

/// One PostgreSQL server, and the login that the probe uses there.
///
/// The role needs `LOGIN` and nothing else; with `pg_monitor` the report is fuller (see [`crate::Report`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where PostgreSQL itself listens: not a pooler, which would answer for another server.
    pub address: SocketAddr,
    /// The role to log in as.
    pub user: String,
    /// The database to log in to; any will do, the question is about the server.
    pub database: String,
    /// The role's password; empty when the server asks for none.
    pub password: Password,
    /// How the connection is protected.
    pub tls: Tls,
}

/// A password; it shows in no log, no error and no `Debug` output.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Password(Vec<u8>);

impl Password {
    /// The password, byte for byte as the server knows it: a trailing newline of a file is the caller's to remove.
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(secret.into())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() {
            "Password(none)"
        } else {
            "Password(redacted)"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_does_not_show_in_debug_output() {
        let target = Target {
            address: SocketAddr::from(([192, 0, 2, 1], 5432)),
            user: "pgsteer".to_owned(),
            database: "postgres".to_owned(),
            password: Password::new("hunter2"),
            tls: Tls::Disable,
        };
        let shown = format!("{target:?}");
        assert!(shown.contains("pgsteer") && shown.contains("redacted"), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
    }
}
