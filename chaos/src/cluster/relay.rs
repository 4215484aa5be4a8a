//! A way from this process into the cluster's network, which has no uplink: a loopback port of the host whose connections are
//! continued from inside the network namespace. It exists only while this process holds it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::network;

/// A scenario opens tens of connections at once; more than this at the same time wait their turn.
const CONNECTIONS_MAX: usize = 512;

/// Inside one host a connection is made within microseconds or not at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A relay to one address; ends when dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    _passage: Passage,
}

impl Relay {
    /// Listens on a free loopback port of the host and passes connections on to `target` inside the network namespace.
    pub(crate) fn open(network: &Path, target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let network = network.to_owned();
        let passage = Passage::open("relay", listener, CONNECTIONS_MAX, move |near| {
            pass_on(near, network.clone(), target)
        })?;
        Ok(Self {
            address,
            _passage: passage,
        })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn pass_on(mut near: TcpStream, network: PathBuf, target: SocketAddr) -> io::Result<()> {
    let mut far = go_on(&near, network, target).await?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await.map(drop)
}

/// The other half of a connection that came in as `near`: to `target`, from inside the network namespace.
pub(crate) async fn go_on(near: &TcpStream, network: PathBuf, target: SocketAddr) -> io::Result<TcpStream> {
    let connecting = tokio::task::spawn_blocking(move || network::connect(&network, target, CONNECT_LIMIT));
    let far = connecting.await.map_err(io::Error::other)??;
    far.set_nonblocking(true)?;
    let far = TcpStream::from_std(far)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok(far)
}

/// A listener whose connections are each passed on; ends, with all of them, when dropped.
#[derive(Debug)]
pub(crate) struct Passage {
    _stop: DropGuard,
}

impl Passage {
    /// Passes on what comes to `listener`, at most `connections_max` connections at once. A thread and a runtime of its own, called
    /// `name`: it works while the caller blocks, and ends without the caller's runtime.
    pub(crate) fn open<Passing>(
        name: &str,
        listener: TcpListener,
        connections_max: usize,
        pass_on: impl Fn(TcpStream) -> Passing + Send + 'static,
    ) -> io::Result<Self>
    where
        Passing: Future<Output = io::Result<()>> + Send + 'static,
    {
        listener.set_nonblocking(true)?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = serve(listener, connections_max, pass_on) => {}
                }
            });
        })?;
        Ok(Self {
            _stop: stop.drop_guard(),
        })
    }
}

async fn serve<Passing>(listener: TcpListener, connections_max: usize, pass_on: impl Fn(TcpStream) -> Passing)
where
    Passing: Future<Output = io::Result<()>> + Send + 'static,
{
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let places = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    // The semaphore is never closed. A listener that fails (no descriptors left) ends it; its users see refused connections.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((near, _)) = listener.accept().await else { return };
        let passing = pass_on(near);
        connections.spawn(async move {
            // The connecting end sees a broken connection through its own socket, which is all that can be told it.
            passing.await.ok();
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
}
