//! One question to a program on loopback by HTTP: enough for the query interfaces of Jaeger and Prometheus, and for an endpoint of
//! the accused.

use std::{fmt::Write as _, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// What answers on loopback answers within milliseconds; the rest is a busy host.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// More than any answer that a test asks for.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// The status and the body of the answer to `GET path`. `accept` is what it may look like, `*/*` for anything.
pub async fn get(address: SocketAddr, path: &str, accept: &str) -> io::Result<(u16, String)> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        // Version 1.0: the answer ends with the connection, and comes in one piece.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        parse(&answer)
    };
    timeout(ANSWER_LIMIT, asked)
        .await
        .unwrap_or_else(|_elapsed| Err(io::Error::other(format!("no answer within {ANSWER_LIMIT:?}"))))
}

fn parse(answer: &[u8]) -> io::Result<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::other(format!("no HTTP answer: {text:?}")))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no HTTP status: {head:?}")))?;
    Ok((status, body.to_owned()))
}

/// Name and value pairs as the part of a URL behind the question mark.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let encoded = pairs.iter().map(|(name, value)| format!("{name}={}", encode(value)));
    encoded.collect::<Vec<_>>().join("&")
}

fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(encoded, "%{byte:02X}").ok();
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_survives_the_way_into_a_url() {
        let query = query(&[("query", "sum(a{b=\"c d\"}) > 1"), ("limit", "5")]);
        assert_eq!(query, "query=sum%28a%7Bb%3D%22c%20d%22%7D%29%20%3E%201&limit=5");
    }

    #[test]
    fn an_answer_is_a_status_and_a_body() {
        let answer = b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/plain\r\n\r\nnot ready\n";
        assert_eq!(parse(answer).expect("an answer"), (503, "not ready\n".to_owned()));
        assert!(parse(b"nonsense").is_err());
    }
}
