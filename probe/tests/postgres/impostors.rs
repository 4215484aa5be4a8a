//! Things that listen where PostgreSQL should.

use std::{net::SocketAddr, time::Duration};

use probe::{Evidence, Phase, ProbeError, Standing, Target, Tls, ask, classify};
use shared::wal::Timeline;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{PASSWORD, PATIENT, SHORT, at};

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.unwrap().0
}

/// What the probe makes of a server that answers its first words with `words` and then keeps quiet; and what it said.
async fn answer_to(words: &[u8], tls: Tls) -> (Result<probe::Report, ProbeError>, Vec<u8>) {
    let (listener, address) = listen().await;
    let target = Target { tls, ..at(address) };
    let server = async {
        let mut stream = accept(&listener).await;
        let mut said = vec![0; 1024];
        let len = stream.read(&mut said).await.unwrap();
        said.truncate(len);
        // Whether it is all taken is up to the probe.
        drop(stream.write_all(words).await);
        drop(stream.read_to_end(&mut said).await);
        said
    };
    tokio::join!(ask(&target, Duration::from_secs(2)), server)
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat()
}

#[tokio::test]
async fn nobody_there_is_down() {
    let (listener, address) = listen().await;
    drop(listener);
    let answer = ask(&at(address), PATIENT).await;
    assert_eq!((classify(&answer), answer), (Evidence::Down, Err(ProbeError::Refused)));
}

#[tokio::test]
async fn a_connection_that_ends_before_a_word_is_down() {
    for tls in [Tls::Disable, Tls::Require] {
        let (listener, address) = listen().await;
        let target = Target { tls, ..at(address) };
        let (answer, ()) = tokio::join!(ask(&target, PATIENT), async { drop(accept(&listener).await) });
        assert_eq!((classify(&answer), answer), (Evidence::Down, Err(ProbeError::Reset)));
    }
}

#[tokio::test]
async fn a_connection_that_ends_after_a_word_is_unclear() {
    for (tls, word) in [(Tls::Disable, &message(b'R', &[0; 4])[..]), (Tls::Require, b"S")] {
        let (listener, address) = listen().await;
        let target = Target { tls, ..at(address) };
        let server = async {
            let mut stream = accept(&listener).await;
            stream.read_exact(&mut [0; 8]).await.unwrap();
            stream.write_all(word).await.unwrap();
        };
        let (answer, ()) = tokio::join!(ask(&target, PATIENT), server);
        assert_eq!(classify(&answer), Evidence::Unclear, "{answer:?}");
        assert!(matches!(answer, Err(ProbeError::Lost { .. })), "{answer:?}");
    }
}

#[tokio::test]
async fn one_that_accepts_and_never_speaks_is_silent() {
    for (tls, phase) in [(Tls::Disable, Phase::Login), (Tls::Require, Phase::Tls)] {
        let (listener, address) = listen().await;
        let target = Target { tls, ..at(address) };
        let (answer, _held) = tokio::join!(ask(&target, SHORT), accept(&listener));
        assert_eq!(
            (classify(&answer), answer),
            (Evidence::Silent, Err(ProbeError::TimedOut { phase }))
        );
    }
}

#[tokio::test]
async fn another_protocol_is_recognised_at_once_and_named() {
    let protocols: [(&[u8], &str); 4] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "SSH-2.0"),
        (b"J\0\0\0\n8.0.36\0", "8.0.36"),
        (b"-ERR unknown command\r\n", "-ERR"),
    ];
    for (words, name) in protocols {
        for tls in [Tls::Disable, Tls::Require] {
            let (answer, _) = answer_to(words, tls.clone()).await;
            assert_eq!(classify(&answer), Evidence::Unclear, "{answer:?}");
            let Err(ProbeError::NotPostgres { reason }) = answer else {
                panic!("{tls:?} {answer:?}")
            };
            assert!(reason.contains(name), "{reason}");
        }
    }
}

#[tokio::test]
async fn an_impostor_gets_neither_the_password_nor_its_hash() {
    for (kind, method) in [(3_u32, "clear-text"), (5, "md5")] {
        let request = message(b'R', &[&kind.to_be_bytes()[..], b"salt"].concat());
        let (answer, said) = answer_to(&request, Tls::Disable).await;
        assert_eq!(answer, Err(ProbeError::ClearTextPassword { method }));
        let said = said.escape_ascii().to_string();
        assert!(
            said.contains("pgsteer") && !said.contains(PASSWORD) && !said.contains("md5"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_flood_is_cut_off_before_the_deadline() {
    let notice = message(
        b'N',
        &[&b"SNOTICE\0VNOTICE\0C00000\0M"[..], &b"x".repeat(60_000), b"\0\0"].concat(),
    );
    let flood = [message(b'R', &[0; 4]), notice.repeat(20)].concat();
    let (answer, _) = answer_to(&flood, Tls::Disable).await;
    let Err(ProbeError::NotPostgres { reason }) = &answer else {
        panic!("{answer:?}")
    };
    assert!(reason.contains("more data"), "{reason}");
    let endless = [&b"E"[..], &u32::MAX.to_be_bytes()].concat();
    let (answer, _) = answer_to(&endless, Tls::Disable).await;
    assert!(matches!(answer, Err(ProbeError::NotPostgres { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_server_that_cannot_prove_that_it_knows_the_password_is_not_believed() {
    let sasl = message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
    let forged = message(b'R', b"\0\0\0\x0br=somebody else's nonce,s=c2FsdA==,i=4096");
    let (answer, _) = answer_to(&[sasl, forged].concat(), Tls::Disable).await;
    assert!(matches!(answer, Err(ProbeError::Authentication { .. })), "{answer:?}");
    assert_eq!(classify(&answer), Evidence::Barred);
    let (answer, _) = answer_to(&message(b'R', b"\0\0\0\x07"), Tls::Disable).await;
    assert!(
        matches!(answer, Err(ProbeError::Authentication { .. })),
        "GSSAPI: {answer:?}"
    );
}

#[tokio::test]
async fn a_server_that_cannot_even_start_a_session_says_so_in_words() {
    let (answer, _) = answer_to(
        b"Ecould not fork new process for connection: out of memory\n\0",
        Tls::Require,
    )
    .await;
    let Err(ProbeError::Lost { reason }) = &answer else {
        panic!("{answer:?}")
    };
    assert_eq!(reason, "could not fork new process for connection: out of memory");
}

/// A row of text as PostgreSQL sends it, with its description before and what ends an answer behind.
fn answer_row(columns: &[(&str, &str)], report: &str) -> Vec<u8> {
    let count = u16::try_from(columns.len()).unwrap().to_be_bytes();
    let description = columns
        .iter()
        .map(|(name, _)| [name.as_bytes(), b"\0", &[0; 18][..]].concat());
    let values = columns.iter().map(|(_, value)| {
        let length = u32::try_from(value.len()).unwrap().to_be_bytes();
        [&length[..], value.as_bytes()].concat()
    });
    [
        message(b'T', &[&count[..], &description.collect::<Vec<_>>().concat()].concat()),
        message(b'D', &[&count[..], &values.collect::<Vec<_>>().concat()].concat()),
        message(b'C', b"SELECT 1\0"),
        hot_standby(report),
        message(b'Z', b"I"),
    ]
    .concat()
}

fn hot_standby(value: &str) -> Vec<u8> {
    message(b'S', format!("in_hot_standby\0{value}\0").as_bytes())
}

/// What the probe makes of a standby that gives these answers, each (in recovery, `in_hot_standby` behind it); and how many of
/// them it asked for.
async fn answers_of_a_standby(answers: &[(&str, &str)]) -> (Result<probe::Report, ProbeError>, usize) {
    let (listener, address) = listen().await;
    let server = async {
        let mut stream = accept(&listener).await;
        let mut said = [0; 4096];
        assert!(stream.read(&mut said).await.unwrap() > 0, "the probe speaks first");
        let login = [message(b'R', &[0; 4]), hot_standby("on"), message(b'Z', b"I")].concat();
        stream.write_all(&login).await.unwrap();
        let mut asked = 0;
        for (in_recovery, report) in answers {
            let len = stream.read(&mut said).await.unwrap();
            if said[..len].first() != Some(&b'Q') {
                break;
            }
            asked += 1;
            let row = [
                ("in_recovery", *in_recovery),
                ("system_identifier", "7000"),
                ("wal_file", "000000020000000000000001"),
                ("control_timeline", "1"),
                ("lsn", "0/3000148"),
                ("receiver_runs", "f"),
                ("started_us", "1"),
                ("server_version_num", "150014"),
                ("may_list_wal", "f"),
            ];
            stream.write_all(&answer_row(&row, report)).await.unwrap();
        }
        asked
    };
    let target = at(address);
    tokio::join!(ask(&target, PATIENT), server)
}

#[tokio::test]
async fn a_promotion_within_an_answer_is_asked_about_again() {
    let (answer, asked) = answers_of_a_standby(&[("t", "off"), ("f", "off"), ("f", "off")]).await;
    let report = answer.unwrap();
    assert_eq!(
        (report.standing, report.timeline, asked),
        (Standing::Writable, Timeline(2), 2)
    );
    let (answer, asked) = answers_of_a_standby(&[("t", "on"), ("f", "off")]).await;
    assert_eq!(
        (answer.unwrap().standing, asked),
        (Standing::InRecovery, 1),
        "nothing happened: once is enough"
    );
}

#[tokio::test]
async fn a_server_that_contradicts_itself_is_unclear() {
    let (answer, asked) = answers_of_a_standby(&[("f", "on"); 5]).await;
    assert_eq!((classify(&answer), asked), (Evidence::Unclear, 2), "{answer:?}");
    assert!(matches!(answer, Err(ProbeError::Answer { .. })), "{answer:?}");
}
