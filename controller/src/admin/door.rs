//! How many may ask at once, and for how long: nobody who holds connections open keeps the kubelet out, or eats the file
//! descriptors that the process needs for its own work.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};

/// Connections at once. A kubelet, a Prometheus or two and a few people need a dozen; whoever comes beyond that waits in the
/// kernel's queue.
pub(super) const GUESTS_MAX: usize = 64;

/// How long a connection may last, whatever is done on it. It is many scrapes, and a client simply opens another.
pub(super) const STAY_MAX: Duration = Duration::from_mins(1);

/// A listener that lets a bounded number in.
#[derive(Debug)]
pub(super) struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    stay: Duration,
}

/// A connection that came in, and must go in time.
#[derive(Debug)]
pub(super) struct Guest {
    stream: TcpStream,
    stay: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

// === impl Door ===

impl Door {
    pub(super) fn new(listener: TcpListener, guests: usize, stay: Duration) -> Self {
        let places = Arc::new(Semaphore::new(guests));
        Self { listener, places, stay }
    }
}

impl Listener for Door {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("nobody closes the semaphore");
        // Waits out a lack of file descriptors by itself.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        #[expect(clippy::disallowed_methods, reason = "it only wakes the connection, to be closed")]
        let stay = Box::pin(sleep(self.stay));
        (
            Guest {
                stream,
                stay,
                _place: place,
            },
            address,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

// === impl Guest ===

impl Guest {
    fn must_go(&mut self, cx: &mut Context<'_>) -> bool {
        self.stay.as_mut().poll(cx).is_ready()
    }
}

impl AsyncRead for Guest {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.must_go(cx) {
            // As if the client had hung up: what is being answered is finished.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            // A client that does not read its answer.
            Poll::Pending if self.must_go(cx) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::{Router, routing::get};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_client_that_says_nothing_has_to_go_and_the_next_one_is_served() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = Door::new(listener, 1, Duration::from_millis(50));
        let served = axum::serve(door, Router::new().route("/", get(|| async { "served" })));
        let clients = async {
            let mut silent = TcpStream::connect(address).await.unwrap();
            let mut next = TcpStream::connect(address).await.unwrap();
            next.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
                .await
                .unwrap();
            let mut answer = String::new();
            next.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with("served"), "{answer}");
            assert_eq!(silent.read(&mut [0]).await.unwrap(), 0, "it was hung up on");
        };
        tokio::select! {
            ended = served.into_future() => panic!("{ended:?}"),
            () = clients => (),
        }
    }
}
