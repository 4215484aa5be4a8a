//! A fresh connection: TCP, TLS, login, each with errors of its own.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_postgres::{
    Client, Config, Connection,
    config::{SslMode, SslNegotiation},
    tls::{MakeTlsConnect, TlsConnect},
};

use crate::{
    Phase, ProbeError, Target,
    wire::{AsItIs, Gauge, Refusal, Watched, Wire},
};

/// What a login may bring: a dozen parameters and a notice or two take about 1 KiB. A server that sends more is not
/// listened to for as long as the deadline lasts.
const LOGIN_BYTES_MAX: u64 = 256 * 1024;

/// The name under which people find our sessions in `pg_stat_activity`.
pub(crate) const APPLICATION_NAME: &str = "pgsteer";

/// The request for TLS: a length of 8 and the number that PostgreSQL's protocol has for it.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// The server's answer to [`SSL_REQUEST`] is one byte, or an error in words; of those so many bytes are kept.
const SSL_ANSWER_BYTES_MAX: usize = 200;

/// A session that is logged in.
pub(crate) struct Live {
    pub(crate) client: Client,
    pub(crate) connection: Connection<Watched, Watched>,
}

/// Connects and logs in. `phase` says how far it came, for when the caller's deadline ends it.
pub(crate) async fn connect(
    target: &Target,
    deadline: Duration,
    gauge: &Arc<Gauge>,
    phase: &mut Phase,
) -> Result<Live, ProbeError> {
    let watched = reach(target, gauge, phase).await?;
    *phase = Phase::Login;
    let login = login(target, deadline).connect_raw(watched, AsItIs).await;
    let (client, connection) = login.map_err(|error| ProbeError::from_postgres(&error, gauge))?;
    Ok(Live { client, connection })
}

/// Connects, with TLS where the target says so, and goes no further.
pub(crate) async fn reach(target: &Target, gauge: &Arc<Gauge>, phase: &mut Phase) -> Result<Watched, ProbeError> {
    gauge.allow(LOGIN_BYTES_MAX);
    *phase = Phase::Connect;
    let stream = TcpStream::connect(target.address)
        .await
        .map_err(|error| ProbeError::from_io(&error, gauge))?;
    // Every message is an answer that somebody waits for.
    stream
        .set_nodelay(true)
        .map_err(|error| ProbeError::from_io(&error, gauge))?;
    *phase = Phase::Tls;
    let wire = secure(stream, target, gauge).await?;
    Ok(Watched::new(
        wire,
        Arc::clone(gauge),
        &target.password,
        target.tls.verifies(),
    ))
}

/// Puts TLS around the stream where the target says so, and never hands back less than was asked for.
async fn secure(mut stream: TcpStream, target: &Target, gauge: &Gauge) -> Result<Wire, ProbeError> {
    let Some((mut connector, name)) = target.tls.connector(target.address.ip()) else {
        return Ok(Wire::Plain(stream));
    };
    let failed = |error: &std::io::Error| ProbeError::from_io(error, gauge);
    stream.write_all(&SSL_REQUEST).await.map_err(|error| failed(&error))?;
    let mut answer = [0; SSL_ANSWER_BYTES_MAX];
    let len = stream.read(&mut answer).await.map_err(|error| failed(&error))?;
    let answer = answer.get(..len).unwrap_or_default();
    gauge.hear(len as u64)?;
    match answer {
        [] => return Err(ProbeError::ended("the server closed it", gauge)),
        // Exactly one byte: what came with it in the clear must not be taken for something that came under TLS.
        b"S" => {}
        b"N" => {
            return Err(ProbeError::Tls {
                reason: "the server has TLS switched off (ssl = off)".to_owned(),
            });
        }
        // The postmaster could not even start a process for us, and says so in the protocol's oldest form.
        [b'E', words @ ..] => return Err(ProbeError::lost(&String::from_utf8_lossy(words))),
        _ => return Err(Refusal::alien(answer).into()),
    }
    let Ok(connect) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut connector, &name);
    let secured = connect
        .connect(stream)
        .await
        .map_err(|error| ProbeError::from_handshake(&error, gauge))?;
    Ok(Wire::Tls(Box::new(secured)))
}

fn login(target: &Target, deadline: Duration) -> Config {
    let mut config = Config::new();
    config
        .user(&target.user)
        .dbname(&target.database)
        .application_name(APPLICATION_NAME)
        .options(options(deadline))
        // The stream comes with its TLS: there is nothing to negotiate.
        .ssl_mode(SslMode::Require)
        .ssl_negotiation(SslNegotiation::Direct);
    if !target.password.is_empty() {
        config.password(target.password.expose());
    }
    config
}

/// Settings of the session, whatever the role or the database would set. Only such as every version from 12 on knows: a
/// name that a server does not know would end the login.
///
/// The server gives up on the statement when we do, a little earlier on a lock (the answer then names it), and finds a
/// prober that vanished without a farewell within about 15 seconds. Serializable transactions, which a database may have
/// as its default, are refused by a standby.
fn options(deadline: Duration) -> String {
    let statement_ms = deadline.as_millis().clamp(1, i32::MAX as u128);
    let lock_ms = (statement_ms / 2).max(1);
    format!(
        "-c search_path=pg_catalog -c default_transaction_isolation=read\\ committed -c statement_timeout={statement_ms} -c lock_timeout={lock_ms} \
         -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=5"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_gives_up_when_we_do_and_on_a_lock_before() {
        let of = |deadline| options(deadline);
        assert!(of(Duration::from_millis(500)).contains("-c statement_timeout=500 -c lock_timeout=250 "));
        // Zero would mean no limit at all.
        assert!(of(Duration::ZERO).contains("-c statement_timeout=1 -c lock_timeout=1 "));
        assert!(of(Duration::MAX).contains("-c statement_timeout=2147483647 "));
    }
}
