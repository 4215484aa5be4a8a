//! Why a question got no answer.

use std::{error::Error as _, fmt, io};

use serde::Serialize;

use crate::wire::{Gauge, Refusal};

/// How far a probe had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Opening the TCP connection.
    Connect,
    /// Agreeing on TLS.
    Tls,
    /// Logging in.
    Login,
    /// Waiting for the answer to the question.
    Query,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Tls => "agreeing on TLS",
            Self::Login => "logging in",
            Self::Query => "asking",
        })
    }
}

/// Why a question got no answer. Plain data, so that evidence can be kept, compared and replayed; the text of what lies
/// underneath is in `reason`. The server is the caller's to name. No variant ever holds a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum ProbeError {
    /// The kernel there says that nobody listens on the port. Check that PostgreSQL runs, and the port.
    #[error("the connection was refused: nobody listens on that port")]
    Refused,
    /// The connection was accepted, and ended before the server's first byte: whoever listened is gone.
    #[error("the connection was reset before the server's first message")]
    Reset,
    /// The deadline passed. A stopped process, a full disk queue and a lost packet all look like this.
    #[error("no answer in time while {phase}")]
    TimedOut {
        /// What it was waiting for.
        phase: Phase,
    },
    /// The network says that there is no way there (or nothing at all came back to the kernel).
    #[error("the server cannot be reached: {reason}")]
    Unreachable {
        /// In the kernel's words.
        reason: String,
    },
    /// TLS was asked for and could not be had: the server has none, or its certificate does not hold. The connection never
    /// falls back to clear text. Fetch credentials and certificate authority anew; if it stays, a person has to act.
    #[error("TLS failed: {reason}")]
    Tls {
        /// What was wrong.
        reason: String,
    },
    /// The server answered with an error of its own.
    #[error("the server answered SQLSTATE {code}: {message}")]
    Sqlstate {
        /// The five characters of PostgreSQL's error code.
        code: String,
        /// The server's words, shortened.
        message: String,
    },
    /// The server wants the password in a form that whoever sits in between could use, and its certificate is not
    /// verified. Nothing was sent.
    #[error(
        "the server asks for a {method} password, which is sent only over TLS with a verified certificate; \
         use scram-sha-256 in pg_hba.conf, or TLS mode VerifyFull"
    )]
    ClearTextPassword {
        /// What was asked for: `clear-text` or `md5`.
        method: &'static str,
    },
    /// The server asks for a password, and there is none.
    #[error("the server asks for a password and none is set")]
    PasswordMissing,
    /// The login cannot be completed: a method that is not supported, or a server that could not prove that it knows the
    /// password.
    #[error("the login cannot be completed: {reason}")]
    Authentication {
        /// What stood in the way.
        reason: String,
    },
    /// The connection ended after the server had spoken. On a kept session this says nothing: ask on a fresh connection.
    #[error("the connection was lost: {reason}")]
    Lost {
        /// How it ended.
        reason: String,
    },
    /// What came back is not PostgreSQL's protocol, or breaks its bounds. Check the port.
    #[error("what answers there does not speak PostgreSQL's protocol: {reason}")]
    NotPostgres {
        /// What came instead.
        reason: String,
    },
    /// PostgreSQL answered, but the answer makes no sense.
    #[error("the answer makes no sense: {reason}")]
    Answer {
        /// Which part of it.
        reason: String,
    },
    /// The probe itself could not even try (no file descriptor, no local port): this says nothing about the server.
    #[error("the question could not be sent from here: {reason}")]
    Local {
        /// In the kernel's words.
        reason: String,
    },
}

/// A server's message is kept up to this many characters: PostgreSQL's own are shorter, and what we log and show must not
/// grow with what a server chooses to say.
const MESSAGE_CHARS_MAX: usize = 300;

impl ProbeError {
    /// Whether the server, or the kernel of its host, answered at all. A refusal is a reply; a time-out is not. Who hears
    /// no reply from anybody should doubt himself before the servers.
    pub fn is_reply(&self) -> bool {
        !matches!(
            self,
            Self::TimedOut { .. } | Self::Unreachable { .. } | Self::Local { .. }
        )
    }

    /// Whether credentials or certificate authority may be outdated: fetch them anew before asking again.
    pub fn wants_new_credentials(&self) -> bool {
        match self {
            Self::Tls { .. } | Self::PasswordMissing => true,
            Self::Sqlstate { code, .. } => code.starts_with("28"),
            _ => false,
        }
    }

    /// The server's own error code, if it was the server that answered.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Sqlstate { code, .. } => Some(code),
            _ => None,
        }
    }

    /// From what the kernel, or the TLS library above it, said about a stream.
    pub(crate) fn from_io(error: &io::Error, gauge: &Gauge) -> Self {
        use io::ErrorKind as K;
        let reason = chain(error);
        match error.kind() {
            K::ConnectionRefused => Self::Refused,
            K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::UnexpectedEof | K::NotConnected => {
                Self::ended(reason, gauge)
            }
            K::TimedOut | K::HostUnreachable | K::NetworkUnreachable | K::NetworkDown => Self::Unreachable { reason },
            _ => Self::Local { reason },
        }
    }

    /// The other side closed the connection.
    pub(crate) fn ended(reason: impl Into<String>, gauge: &Gauge) -> Self {
        if gauge.received() == 0 {
            Self::Reset
        } else {
            Self::Lost { reason: reason.into() }
        }
    }

    /// The server ended it, in these words of its own.
    pub(crate) fn lost(words: &str) -> Self {
        Self::Lost {
            reason: bounded(words.trim_matches(|c: char| c.is_control() || c == ' ')),
        }
    }

    /// The server's own error.
    pub(crate) fn of_server(code: &str, message: &str) -> Self {
        Self::Sqlstate {
            code: bounded(code),
            message: bounded(message),
        }
    }

    /// From a stream that is watched: the kernel's word, TLS's, or a refusal of the watch.
    pub(crate) fn from_wire(error: &io::Error, gauge: &Gauge) -> Self {
        let known = Self::from_stream(error, gauge);
        known.unwrap_or_else(|| Self::from_io(error, gauge))
    }

    /// From tokio-postgres, whose errors tell their kind only by what they hold.
    pub(crate) fn from_postgres(error: &tokio_postgres::Error, gauge: &Gauge) -> Self {
        if let Some(db) = error.as_db_error() {
            return Self::of_server(db.code().code(), db.message());
        }
        if error.is_closed() {
            return Self::ended("the server closed it", gauge);
        }
        if let Some(io) = error.source().and_then(|source| source.downcast_ref::<io::Error>())
            && let Some(known) = Self::from_stream(io, gauge)
        {
            return known;
        }
        let reason = bounded(&chain(error));
        if gauge.in_sasl() {
            // The wire was sound and the server sent no error: it is the exchange itself that failed.
            Self::Authentication { reason }
        } else if gauge.received() == 0 {
            Self::Local { reason }
        } else {
            Self::NotPostgres { reason }
        }
    }

    /// An error of the stream itself, or none when a layer above made it.
    fn from_stream(error: &io::Error, gauge: &Gauge) -> Option<Self> {
        match error.get_ref() {
            Some(inner) => match (inner.downcast_ref::<Refusal>(), inner.downcast_ref::<rustls::Error>()) {
                (Some(refusal), _) => Some(refusal.clone().into()),
                (_, Some(tls)) => Some(Self::Tls {
                    reason: bounded(&chain(tls)),
                }),
                // TLS ends without its farewell when the process behind it is killed.
                _ if error.kind() == io::ErrorKind::UnexpectedEof => Some(Self::ended(chain(error), gauge)),
                _ => None,
            },
            None => Some(Self::from_io(error, gauge)),
        }
    }

    /// From a TLS handshake.
    pub(crate) fn from_handshake(error: &io::Error, gauge: &Gauge) -> Self {
        let about_tls = error
            .get_ref()
            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
        if !about_tls && error.kind() != io::ErrorKind::InvalidInput {
            return Self::from_io(error, gauge);
        }
        let mut reason = bounded(&chain(error));
        if reason.contains("UnsupportedCertVersion") {
            // The usual way to get such a one is an `openssl x509 -req` without extensions.
            reason.push_str(" (a certificate of version 1; VerifyFull needs version 3, with a subjectAltName)");
        }
        Self::Tls { reason }
    }
}

impl From<Refusal> for ProbeError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::PasswordInTheOpen { method } => Self::ClearTextPassword { method },
            Refusal::PasswordMissing => Self::PasswordMissing,
            Refusal::UnknownMethod { .. } => Self::Authentication {
                reason: refusal.to_string(),
            },
            Refusal::TooLong { .. } | Refusal::TooMuch | Refusal::Alien { .. } => Self::NotPostgres {
                reason: refusal.to_string(),
            },
        }
    }
}

/// An error and what lies underneath, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// One line of bounded length, whatever a server sent.
fn bounded(text: &str) -> String {
    text.chars()
        .take(MESSAGE_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_word_decides_between_down_silent_and_our_own_fault() {
        use io::ErrorKind as K;
        let heard = |bytes: u64| {
            let gauge = Gauge::default();
            gauge.allow(u64::MAX);
            gauge.hear(bytes).expect("it is allowed");
            gauge
        };
        for (kind, bytes, expected) in [
            (K::ConnectionRefused, 0, "refused"),
            (K::ConnectionReset, 0, "reset"),
            (K::UnexpectedEof, 0, "reset"),
            (K::BrokenPipe, 0, "reset"),
            (K::ConnectionReset, 1, "lost"),
            (K::UnexpectedEof, 9, "lost"),
            (K::TimedOut, 0, "unreachable"),
            (K::HostUnreachable, 0, "unreachable"),
            (K::NetworkUnreachable, 5, "unreachable"),
            (K::AddrNotAvailable, 0, "local"),
            (K::PermissionDenied, 0, "local"),
        ] {
            let error = ProbeError::from_io(&io::Error::from(kind), &heard(bytes));
            let name = match error {
                ProbeError::Refused => "refused",
                ProbeError::Reset => "reset",
                ProbeError::Lost { .. } => "lost",
                ProbeError::Unreachable { .. } => "unreachable",
                ProbeError::Local { .. } => "local",
                other => panic!("{kind:?}: {other:?}"),
            };
            assert_eq!(name, expected, "{kind:?} after {bytes} bytes");
        }
    }

    #[test]
    fn a_servers_words_stay_on_one_line_of_bounded_length() {
        assert_eq!(bounded("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(bounded(&"\u{e9}".repeat(1_000)).chars().count(), MESSAGE_CHARS_MAX);
    }
}
