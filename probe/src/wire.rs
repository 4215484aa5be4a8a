//! The byte stream under a session, watched: what a server sends is bounded before anything above believes a length in it,
//! and a request for the password in the open is refused before anything above can answer it.
//!
//! ```text
//! TCP ──> (TLS) ──> Watched ──> tokio-postgres
//!                      │ every byte read passes through Frames (lengths, tags, authentication) and Gauge (amounts)
//! ```

use std::{
    convert::Infallible,
    future::{Ready, ready},
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::{target::Password, tls::Secured};

mod frames;

pub(crate) use frames::Refusal;
use frames::{Frames, MayAsk};

/// How much came, and how much may come; shared by the stream and whoever asks over it. Relaxed is enough: one task uses it.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    received: AtomicU64,
    allowed: AtomicU64,
    in_sasl: AtomicBool,
}

impl Gauge {
    /// Bytes that the server has sent so far, TLS's own not counted.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// From now on `bytes` more may come.
    pub(crate) fn allow(&self, bytes: u64) {
        self.allowed
            .store(self.received().saturating_add(bytes), Ordering::Relaxed);
    }

    /// Counts what came; refuses what is more than was allowed.
    pub(crate) fn hear(&self, bytes: u64) -> Result<(), Refusal> {
        let received = self.received().saturating_add(bytes);
        self.received.store(received, Ordering::Relaxed);
        if received > self.allowed.load(Ordering::Relaxed) {
            Err(Refusal::TooMuch)
        } else {
            Ok(())
        }
    }

    /// Whether a SASL exchange was begun and the server has not accepted it.
    pub(crate) fn in_sasl(&self) -> bool {
        self.in_sasl.load(Ordering::Relaxed)
    }
}

/// The stream as the kernel or TLS gives it.
pub(crate) enum Wire {
    /// In the clear.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<Secured>),
}

/// A wire with a watch on what comes in.
pub(crate) struct Watched {
    wire: Wire,
    gauge: Arc<Gauge>,
    frames: Frames,
}

impl Watched {
    /// `verified`: the server's certificate was, so that it may ask for the password in any form.
    pub(crate) fn new(wire: Wire, gauge: Arc<Gauge>, password: &Password, verified: bool) -> Self {
        let frames = Frames::new(MayAsk {
            password: !password.is_empty(),
            in_the_open: verified,
        });
        Self { wire, gauge, frames }
    }

    fn inspect(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.frames.feed(bytes)?;
        self.gauge.in_sasl.store(self.frames.in_sasl(), Ordering::Relaxed);
        self.gauge.hear(bytes.len() as u64)
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        std::task::ready!(match &mut this.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        })?;
        let came = buf.filled().get(before..).unwrap_or_default();
        Poll::Ready(this.inspect(came).map_err(io::Error::other))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

impl TlsStream for Watched {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.wire {
            Wire::Plain(_) => ChannelBinding::none(),
            Wire::Tls(stream) => stream.channel_binding(),
        }
    }
}

/// Hands a stream on as it is: TLS was agreed on before, where its failures can be told apart.
pub(crate) struct AsItIs;

impl TlsConnect<Watched> for AsItIs {
    type Stream = Watched;
    type Error = Infallible;
    type Future = Ready<Result<Watched, Infallible>>;

    fn connect(self, stream: Watched) -> Self::Future {
        ready(Ok(stream))
    }
}
