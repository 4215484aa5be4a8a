//! A knock: a fresh connection that is ended as soon as the server has asked for a proof of who we are.
//!
//! A kept session hides a postmaster that hangs, a server that is going down, one that is full. A knock shows all of these at a small
//! part of a login's price: the proof alone is 4096 rounds of HMAC for us, and reads of the catalog for the server. PostgreSQL checks
//! whether it takes connections at all (57P03), and whether there is room (53300), before it asks for the proof; and it logs nothing
//! about a client that leaves then, unless `log_connections` asks for it.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    time::timeout,
};

use crate::{
    Phase, ProbeError, Target,
    connect::{APPLICATION_NAME, reach},
    wire::{Gauge, Watched},
};

/// Version 3.0 of the protocol, which every server knows.
const PROTOCOL: i32 = 3 << 16;

/// What is read at once: the answer to a knock has a few dozen bytes.
const BUFFER_BYTES: usize = 512;

/// The messages that matter here.
const TAG_AUTHENTICATION: u8 = b'R';
const TAG_ERROR: u8 = b'E';
const TAG_READY: u8 = b'Z';

/// The kind of an authentication message that asks for nothing more.
const AUTHENTICATED: [u8; 4] = [0; 4];

/// The length that a message carries counts itself.
const LENGTH_BYTES: usize = 4;

/// The farewell of a client that is logged in.
const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

/// Knocks: connects, agrees on TLS, and goes as far as the server's request for a proof. It says that the server takes connections, and
/// nothing of its standing. One deadline covers all of it.
pub async fn knock(target: &Target, deadline: Duration) -> Result<(), ProbeError> {
    let gauge = Arc::new(Gauge::default());
    let mut phase = Phase::Connect;
    let knocked = timeout(deadline, async {
        let mut wire = reach(target, &gauge, &mut phase).await?;
        phase = Phase::Login;
        let sent = wire.write_all(&startup(target)).await;
        sent.map_err(|error| ProbeError::from_wire(&error, &gauge))?;
        let mut wire = BufReader::with_capacity(BUFFER_BYTES, wire);
        let logged_in = welcome(&mut wire, &gauge).await?;
        if logged_in {
            // It would only be told of a broken pipe otherwise. Whether it takes this or not, the socket is closed next.
            wire.write_all(&TERMINATE).await.ok();
        }
        // TLS has a farewell of its own; it is not waited for.
        drop(wire.shutdown().now_or_never());
        Ok(())
    });
    knocked.await.unwrap_or(Err(ProbeError::TimedOut { phase }))
}

/// Who would like to come in.
fn startup(target: &Target) -> Vec<u8> {
    let parameters = [
        ("user", target.user.as_str()),
        ("database", &target.database),
        ("application_name", APPLICATION_NAME),
    ];
    let mut body = PROTOCOL.to_be_bytes().to_vec();
    for (name, value) in parameters {
        for text in [name, value] {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
    }
    body.push(0);
    let length = u32::try_from(LENGTH_BYTES + body.len()).unwrap_or(u32::MAX);
    [length.to_be_bytes().as_slice(), &body].concat()
}

/// Reads until the server wants something of us. True when nothing more stands between us and a session.
async fn welcome(wire: &mut BufReader<Watched>, gauge: &Gauge) -> Result<bool, ProbeError> {
    loop {
        let (tag, body) = message(wire)
            .await
            .map_err(|error| ProbeError::from_wire(&error, gauge))?;
        match tag {
            TAG_AUTHENTICATION if !body.starts_with(&AUTHENTICATED) => return Ok(false),
            TAG_READY => return Ok(true),
            TAG_ERROR => return Err(said(&body)),
            _ => {}
        }
    }
}

/// One message. Its tag and its length have been judged by what watches the wire: the length has a bound.
async fn message(wire: &mut BufReader<Watched>) -> std::io::Result<(u8, Vec<u8>)> {
    let tag = wire.read_u8().await?;
    let length = usize::try_from(wire.read_u32().await?).unwrap_or(usize::MAX);
    let mut body = vec![0; length.saturating_sub(LENGTH_BYTES)];
    wire.read_exact(&mut body).await?;
    Ok((tag, body))
}

/// The server's own error: fields of one letter and a text.
fn said(body: &[u8]) -> ProbeError {
    let field = |letter: u8| {
        let mut fields = body.split(|byte| *byte == 0);
        let found = fields.find_map(|field| field.split_first().filter(|(first, _)| **first == letter));
        found.map_or_else(String::new, |(_, text)| String::from_utf8_lossy(text).into_owned())
    };
    ProbeError::of_server(&field(b'C'), &field(b'M'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Password, Tls};

    #[test]
    fn the_startup_message_names_user_and_database() {
        let target = Target {
            address: ([192, 0, 2, 1], 5432).into(),
            user: "me".to_owned(),
            database: "db".to_owned(),
            password: Password::new("secret"),
            tls: Tls::Disable,
        };
        let message = startup(&target);
        let expected = b"\0\x03\0\0user\0me\0database\0db\0application_name\0pgsteer\0\0";
        assert_eq!(message.get(4..), Some(expected.as_slice()));
        let length = u32::try_from(message.len()).unwrap();
        assert_eq!(message.first_chunk(), Some(&length.to_be_bytes()));
    }

    #[test]
    fn an_error_is_read_by_the_letters_of_its_fields() {
        for (name, body, code, message) in [
            (
                "as PostgreSQL sends it",
                b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0Fpostmaster.c\0\0".as_slice(),
                "57P03",
                "the database system is starting up",
            ),
            ("cut off", b"SFATAL\0C533", "533", ""),
            ("empty", b"", "", ""),
        ] {
            let expected = ProbeError::Sqlstate {
                code: code.to_owned(),
                message: message.to_owned(),
            };
            assert_eq!(said(body), expected, "{name}");
        }
    }
}
