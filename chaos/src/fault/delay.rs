//! A slow link: what a pod sends and receives over TCP passes through a proxy that keeps every piece for a while. Not every kernel has
//! netem, and a proxy works on all.
//!
//! ```text
//! pod ── its node: redirect ──> proxy, which waits ──> where the pod wanted to go (a Service's address, a pod's)
//! ```
//! Connections that are there already are ended with a reset: they would go on past the proxy.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::ip_original_dst;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::channel;
use tokio::time::Instant;

use super::{Faults, Heal, Held, PodRef, host};
use crate::cluster::relay::{Passage, go_on};
use crate::cluster::{Error, network};

/// A controller has a handful of connections; more than these wait their turn.
const CONNECTIONS_MAX: usize = 256;
/// Pieces under way in one direction of one connection: at 200 ms a piece and 16 KiB each, 5 MB a second.
const PIECES_MAX: usize = 64;
const PIECE_BYTES: usize = 16 * 1024;

/// A proxy on a node; ends when dropped.
#[derive(Debug)]
struct Proxy {
    _passage: Passage,
}

impl Held for Proxy {}

/// Makes a pod's TCP connections slow: every piece arrives so much later, each way.
pub fn slow_pod(faults: &mut Faults<'_>, pod: &PodRef, delay: Duration) -> Result<(), Error> {
    let node = faults.cluster.node_network(&pod.node)?;
    let table = format!("pgsteer_slow_{}", faults.next);
    let heal = Heal::Pass {
        network: node.clone(),
        table: table.clone(),
    };
    faults.inject_held(heal, || {
        let (proxy, port) = Proxy::open(&node, delay).map_err(Error::io("open a proxy in", &node))?;
        let rules = rules(&table, pod, port);
        host::in_network(&node, &["nft", "-f", "-"], Some(&rules))?;
        Ok(Some(Box::new(proxy)))
    })
}

/// New connections of the pod go to the proxy, before kube-proxy looks at them; what belongs to an older one is refused.
fn rules(table: &str, pod: &PodRef, port: u16) -> String {
    let address = pod.address;
    format!(
        "table ip {table} {{
  chain redirected {{
    type nat hook prerouting priority -150;
    ip saddr {address} ip protocol tcp redirect to :{port}
  }}
  chain passed {{
    type filter hook forward priority -300;
    ip saddr {address} ip protocol tcp reject with tcp reset
    ip daddr {address} ip protocol tcp ct direction reply reject with tcp reset
  }}
}}
"
    )
}

impl Proxy {
    /// Listens on a free port of the node, and passes on what comes, late.
    fn open(node: &Path, delay: Duration) -> io::Result<(Self, u16)> {
        let listener = network::within(node, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
        let port = listener.local_addr()?.port();
        let node = node.to_owned();
        let passage = Passage::open("slow link", listener, CONNECTIONS_MAX, move |near| {
            pass_on(near, node.clone(), delay)
        })?;
        Ok((Self { _passage: passage }, port))
    }
}

async fn pass_on(near: TcpStream, node: PathBuf, delay: Duration) -> io::Result<()> {
    let wanted: SocketAddr = ip_original_dst(&near)?.into();
    let far = go_on(&near, node, wanted).await?;
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let both = (copy(near_read, far_write, delay), copy(far_read, near_write, delay));
    tokio::try_join!(both.0, both.1).map(drop)
}

/// Every piece is written so long after it was read.
async fn copy(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    delay: Duration,
) -> io::Result<()> {
    let (pieces, mut late) = channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let read = async move {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let bytes = from.read(&mut buffer).await?;
            if bytes == 0 {
                return Ok(());
            }
            let due = now() + delay;
            // The writing end has failed, and tells why.
            if pieces.send((due, buffer[..bytes].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = late.recv().await {
            tokio::time::sleep_until(due).await;
            to.write_all(&piece).await?;
        }
        to.shutdown().await
    };
    let ends: (io::Result<()>, io::Result<()>) = tokio::join!(read, write);
    ends.0.and(ends.1)
}

#[expect(clippy::disallowed_methods, reason = "a link has no Clock; it is slow by the host's")]
fn now() -> Instant {
    Instant::now()
}
