//! A way to a pod through the API server and its kubelet, as `kubectl port-forward` makes one: a loopback port of this host whose
//! connections are continued in the pod. It exists only while this process holds it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::cluster::Error;

/// A console is one connection, and few are open at once; more than this are refused.
const CONNECTIONS_MAX: usize = 64;

/// A forwarded port of a pod; ends when dropped.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Forward {
    /// Listens on a free loopback port and passes connections on to this port of the pod.
    pub fn open(client: &Client, namespace: &str, pod: &str, port: u16) -> Result<Self, Error> {
        let unusable = |error: std::io::Error| Error::NoSuch {
            what: format!("a way to pod {pod}"),
            hint: error.to_string(),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(unusable)?;
        listener.set_nonblocking(true).map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(unusable)?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, pods, pod.to_owned(), port));
        Ok(Self {
            address,
            _serving: serving,
        })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: tokio::net::TcpListener, pods: Api<Pod>, pod: String, port: u16) {
    let mut connections = JoinSet::new();
    // A listener that fails (no descriptors left) ends the way; its users see refused connections.
    while let Ok((near, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if connections.len() < CONNECTIONS_MAX {
            connections.spawn(pass_on(near, pods.clone(), pod.clone(), port));
        }
    }
}

/// The connecting end sees a broken connection through its own socket, which is all that it can be told.
async fn pass_on(mut near: TcpStream, pods: Api<Pod>, pod: String, port: u16) {
    let Ok(mut forwarder) = pods.portforward(&pod, &[port]).await else {
        return;
    };
    let Some(mut far) = forwarder.take_stream(port) else {
        return;
    };
    near.set_nodelay(true).ok();
    tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
}
