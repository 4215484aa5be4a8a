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
    _stop: DropGuard,
}

impl Relay {
    /// Listens on a free loopback port of the host and passes connections on to `target` inside the network namespace.
    pub(crate) fn open(network: &Path, target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let (stopped, network) = (stop.clone(), network.to_owned());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // A thread and a runtime of its own: the relay works while the caller blocks, and ends without the caller's runtime.
        std::thread::Builder::new().name("relay".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = serve(listener, network, target) => {}
                }
            });
        })?;
        Ok(Self {
            address,
            _stop: stop.drop_guard(),
        })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: TcpListener, network: PathBuf, target: SocketAddr) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    // The semaphore is never closed. A listener that fails (no descriptors left) ends the relay; its users see refused connections.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((near, _)) = listener.accept().await else { return };
        let network = network.clone();
        connections.spawn(async move {
            // The connecting end sees a broken connection through its own socket, which is all that a relay can tell it.
            pass_on(near, network, target).await.ok();
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn pass_on(mut near: TcpStream, network: PathBuf, target: SocketAddr) -> io::Result<()> {
    let connecting = tokio::task::spawn_blocking(move || network::connect(&network, target, CONNECT_LIMIT));
    let far = connecting.await.map_err(io::Error::other)??;
    far.set_nonblocking(true)?;
    let mut far = TcpStream::from_std(far)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await.map(drop)
}
