//! Message boundaries of PostgreSQL's protocol, as far as they must be known to bound and refuse.

/// The longest message that is believed. Our answers and PostgreSQL's errors have a few hundred bytes, rarely a few
/// thousand; a length above this is another protocol, or malice.
const MESSAGE_BYTES_MAX: u32 = 64 * 1024;

/// The messages that a server may send us: authentication, key data, negotiation, parameter status, notice, error, ready,
/// row description, row, command complete, empty query, notification.
const TAGS: &[u8] = b"RKvSNEZTDCIA";

/// Enough of an alien's words to recognise it by.
const SAMPLE_BYTES: usize = 24;

const TAG_AUTHENTICATION: u8 = b'R';
const HEADER_BYTES: usize = 5;

/// Kinds of authentication request.
mod authentication {
    pub(super) const OK: u32 = 0;
    pub(super) const CLEAR_TEXT: u32 = 3;
    pub(super) const MD5: u32 = 5;
    pub(super) const SASL: u32 = 10;
    pub(super) const SASL_CONTINUE: u32 = 11;
    pub(super) const SASL_FINAL: u32 = 12;
}

/// Why the stream is cut off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// A request for the password in a form that may not be sent here.
    #[error("the server asks for a {method} password")]
    PasswordInTheOpen { method: &'static str },
    /// A request for a password that we do not have.
    #[error("the server asks for a password")]
    PasswordMissing,
    /// A request for something that we cannot do.
    #[error(
        "the server asks for authentication method {method}, of which this program knows nothing; use scram-sha-256"
    )]
    UnknownMethod { method: u32 },
    /// A message longer than any that PostgreSQL has for us.
    #[error("a message of {bytes} bytes")]
    TooLong { bytes: u32 },
    /// More than any answer to our question takes.
    #[error("more data than any answer takes")]
    TooMuch,
    /// No message of PostgreSQL begins like this.
    #[error("it sent \"{sample}\"")]
    Alien { sample: String },
}

impl Refusal {
    /// From the first bytes of something that is not PostgreSQL.
    pub(crate) fn alien(bytes: &[u8]) -> Self {
        Self::Alien {
            sample: bytes
                .iter()
                .take(SAMPLE_BYTES)
                .copied()
                .collect::<Vec<_>>()
                .escape_ascii()
                .to_string(),
        }
    }
}

/// What the server may ask of us.
#[derive(Debug, Clone, Copy)]
pub(super) struct MayAsk {
    /// There is a password.
    pub(super) password: bool,
    /// It may be sent in clear text or as an MD5 hash.
    pub(super) in_the_open: bool,
}

/// Where in the stream of messages the next byte belongs.
#[derive(Debug, Clone, Copy)]
enum At {
    /// In the tag and length of a message, of which so many bytes are known.
    Header { seen: [u8; HEADER_BYTES], len: usize },
    /// In the kind of an authentication request; `rest` bytes of body follow it.
    Authentication { seen: [u8; 4], len: usize, rest: u32 },
    /// In a body that is of no interest, with so many bytes to come.
    Body { rest: u32 },
}

const START: At = At::Header {
    seen: [0; HEADER_BYTES],
    len: 0,
};

/// Follows the messages of a server.
#[derive(Debug)]
pub(super) struct Frames {
    at: At,
    may: MayAsk,
    in_sasl: bool,
}

impl Frames {
    pub(super) fn new(may: MayAsk) -> Self {
        Self {
            at: START,
            may,
            in_sasl: false,
        }
    }

    /// Whether a SASL exchange was begun and not yet accepted.
    pub(super) fn in_sasl(&self) -> bool {
        self.in_sasl
    }

    /// Takes the next bytes, however they were cut.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while let Some((&byte, after)) = bytes.split_first() {
            match &mut self.at {
                At::Header { seen, len } => {
                    if *len == 0 && !TAGS.contains(&byte) {
                        return Err(Refusal::alien(bytes));
                    }
                    seen[*len] = byte;
                    *len += 1;
                    bytes = after;
                    if *len == HEADER_BYTES {
                        self.at = body(*seen, bytes)?;
                    }
                }
                At::Authentication { seen, len, rest } => {
                    seen[*len] = byte;
                    *len += 1;
                    bytes = after;
                    if *len == seen.len() {
                        let kind = u32::from_be_bytes(*seen);
                        self.at = skip(*rest);
                        self.authentication(kind)?;
                    }
                }
                At::Body { rest } => {
                    let here = bytes.len().min(*rest as usize);
                    bytes = bytes.get(here..).unwrap_or_default();
                    self.at = skip(*rest - u32::try_from(here).unwrap_or(*rest));
                }
            }
        }
        Ok(())
    }

    fn authentication(&mut self, kind: u32) -> Result<(), Refusal> {
        use authentication::{CLEAR_TEXT, MD5, OK, SASL, SASL_CONTINUE, SASL_FINAL};
        match kind {
            OK => self.in_sasl = false,
            CLEAR_TEXT | MD5 | SASL if !self.may.password => return Err(Refusal::PasswordMissing),
            CLEAR_TEXT if !self.may.in_the_open => return Err(Refusal::PasswordInTheOpen { method: "clear-text" }),
            MD5 if !self.may.in_the_open => return Err(Refusal::PasswordInTheOpen { method: "md5" }),
            CLEAR_TEXT | MD5 | SASL_CONTINUE | SASL_FINAL => {}
            SASL => self.in_sasl = true,
            method => return Err(Refusal::UnknownMethod { method }),
        }
        Ok(())
    }
}

/// What follows a header; `after` are the bytes behind it, for the sample only.
fn body(header: [u8; HEADER_BYTES], after: &[u8]) -> Result<At, Refusal> {
    let [tag, length @ ..] = header;
    let alien = || Refusal::alien(&[&header, after].concat());
    let bytes = u32::from_be_bytes(length);
    if length.iter().all(|b| b.is_ascii_graphic() || *b == b' ') {
        return Err(alien()); // A length spelt in letters: somebody speaks text.
    }
    // The length counts itself: four bytes.
    let rest = bytes.checked_sub(4).ok_or_else(alien)?;
    if bytes > MESSAGE_BYTES_MAX {
        return Err(Refusal::TooLong { bytes });
    }
    if tag == TAG_AUTHENTICATION {
        let rest = rest.checked_sub(4).ok_or_else(alien)?;
        return Ok(At::Authentication {
            seen: [0; 4],
            len: 0,
            rest,
        });
    }
    Ok(skip(rest))
}

fn skip(rest: u32) -> At {
    if rest == 0 { START } else { At::Body { rest } }
}

#[cfg(test)]
mod tests;
