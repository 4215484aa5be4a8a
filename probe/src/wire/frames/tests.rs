use super::*;

const SCRAM_ONLY: MayAsk = MayAsk {
    password: true,
    in_the_open: false,
};
const ANYTHING: MayAsk = MayAsk {
    password: true,
    in_the_open: true,
};
const NOTHING: MayAsk = MayAsk {
    password: false,
    in_the_open: true,
};

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

fn request(kind: u32, rest: &[u8]) -> Vec<u8> {
    message(b'R', &[&kind.to_be_bytes()[..], rest].concat())
}

/// Feeds the bytes in pieces of every size: the network may cut anywhere.
fn feed(may: MayAsk, bytes: &[u8]) -> Result<(), Refusal> {
    let whole = Frames::new(may).feed(bytes);
    for size in 1..bytes.len().min(16) {
        let mut frames = Frames::new(may);
        let pieces = bytes.chunks(size).try_for_each(|piece| frames.feed(piece));
        assert_eq!(
            pieces.is_ok(),
            whole.is_ok(),
            "in pieces of {size}: {pieces:?}, at once: {whole:?}"
        );
    }
    whole
}

#[test]
fn a_login_and_an_answer_pass() {
    let stream = [
        request(authentication::SASL, b"SCRAM-SHA-256\0\0"),
        request(authentication::SASL_CONTINUE, b"r=,s=,i="),
        request(authentication::SASL_FINAL, b"v="),
        request(authentication::OK, b""),
        message(b'S', b"in_hot_standby\0off\0"),
        message(b'K', &[0; 8]),
        message(b'Z', b"I"),
        message(b'T', &[0; 300]),
        message(b'D', &[b'R'; 300]),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
    ]
    .concat();
    assert_eq!(feed(SCRAM_ONLY, &stream), Ok(()));
}

#[test]
fn a_password_goes_in_the_open_only_where_that_is_allowed() {
    for (kind, method) in [(authentication::CLEAR_TEXT, "clear-text"), (authentication::MD5, "md5")] {
        let asked = request(kind, b"salt");
        assert_eq!(feed(SCRAM_ONLY, &asked), Err(Refusal::PasswordInTheOpen { method }));
        assert_eq!(feed(ANYTHING, &asked), Ok(()));
        assert_eq!(feed(NOTHING, &asked), Err(Refusal::PasswordMissing));
    }
    assert_eq!(
        feed(NOTHING, &request(authentication::SASL, b"")),
        Err(Refusal::PasswordMissing)
    );
    assert_eq!(feed(NOTHING, &request(authentication::OK, b"")), Ok(()));
    for method in [2, 6, 7, 9, 4_711] {
        assert_eq!(
            feed(ANYTHING, &request(method, b"")),
            Err(Refusal::UnknownMethod { method })
        );
    }
}

#[test]
fn a_second_request_in_the_same_stream_is_judged_too() {
    let stream = [
        request(authentication::SASL, b"x"),
        request(authentication::CLEAR_TEXT, b""),
    ]
    .concat();
    assert_eq!(
        feed(SCRAM_ONLY, &stream),
        Err(Refusal::PasswordInTheOpen { method: "clear-text" })
    );
}

#[test]
fn other_protocols_are_recognised_at_their_first_bytes() {
    for alien in [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"220 mail.example.org ESMTP",
        b"-ERR unknown command",
        b"J\0\0\0\n8.0.36\0",
        b"NOPE, not at all",
        b"\x16\x03\x01\x02\x00",
        b"\0",
        b"E\0\0\0\x03",
        b"R\0\0\0\x05xxxxx",
    ] {
        assert!(
            matches!(feed(SCRAM_ONLY, alien), Err(Refusal::Alien { .. })),
            "{}",
            alien.escape_ascii()
        );
    }
    let shown = feed(SCRAM_ONLY, b"HTTP/1.1 400 Bad Request\r\n")
        .unwrap_err()
        .to_string();
    assert_eq!(shown, "it sent \"HTTP/1.1 400 Bad Request\"");
}

#[test]
fn a_length_is_not_believed_beyond_the_bound() {
    let longest = [&b"E"[..], &MESSAGE_BYTES_MAX.to_be_bytes()].concat();
    assert_eq!(feed(SCRAM_ONLY, &longest), Ok(()));
    let longer = [&b"E"[..], &(MESSAGE_BYTES_MAX + 1).to_be_bytes()].concat();
    assert_eq!(
        feed(SCRAM_ONLY, &longer),
        Err(Refusal::TooLong {
            bytes: MESSAGE_BYTES_MAX + 1
        })
    );
    assert!(feed(SCRAM_ONLY, b"E\xff\xff\xff\xff").is_err());
}

#[test]
fn sasl_counts_as_under_way_until_it_is_accepted() {
    let mut frames = Frames::new(SCRAM_ONLY);
    frames
        .feed(&request(authentication::SASL, b"SCRAM-SHA-256\0\0"))
        .unwrap();
    frames.feed(&request(authentication::SASL_CONTINUE, b"r=")).unwrap();
    assert!(frames.in_sasl());
    frames.feed(&request(authentication::OK, b"")).unwrap();
    assert!(!frames.in_sasl());
}
