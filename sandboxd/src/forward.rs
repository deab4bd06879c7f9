//! Services of the machine's loopback that a sandbox finds on its own.
//!
//! Owns the connections between the two, byte for byte, and the bounds on their number. The init makes the listening
//! sockets inside, before the sandbox has a program. Does not know who chose the ports.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Connections at once of one sandbox.
const MAX_OF_ONE: usize = 128;

/// Connections at once of all sandboxes: each takes two of the server's descriptors.
const MAX_OF_ALL: usize = 1024;

/// How long the service may take to accept.
const CONNECT: Duration = Duration::from_secs(10);

/// How long to wait when a connection cannot be accepted: mostly because the server has no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// What bounds the connections of all sandboxes of a server.
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_OF_ALL)))
    }
}

/// The forwarded ports of one sandbox. Dropping it closes their connections.
#[derive(Debug)]
pub(crate) struct Forwards {
    _accepting: JoinSet<()>,
}

impl Forwards {
    /// Carries what connects to these sockets inside to the same port of the machine's loopback.
    pub(crate) fn begin(listeners: Vec<(u16, TcpListener)>, all: &Places) -> Self {
        let own = Places(Arc::new(Semaphore::new(MAX_OF_ONE)));
        let mut accepting = JoinSet::new();
        for (port, listener) in listeners {
            accepting.spawn(accept(listener, port, [own.clone(), all.clone()]));
        }
        Self { _accepting: accepting }
    }
}

async fn accept(listener: TcpListener, port: u16, bounds: [Places; 2]) {
    let mut connections = JoinSet::new();
    loop {
        // One that finds no place waits in the kernel's queue, with the rest of its sandbox's.
        let mut places: Vec<OwnedSemaphorePermit> = Vec::new();
        for Places(bound) in &bounds {
            places.push(bound.clone().acquire_owned().await.expect("the semaphore is never closed"));
        }
        match listener.accept().await {
            Ok((inside, _)) => {
                connections.spawn(async move {
                    carry(inside, port).await;
                    drop(places);
                });
            }
            Err(error) => {
                tracing::debug!(port, %error, "cannot accept a connection of a sandbox");
                tokio::time::sleep(PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(mut inside: TcpStream, port: u16) {
    let places = [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))];
    let outside = tokio::time::timeout(CONNECT, TcpStream::connect(&places[..])).await;
    let Ok(Ok(mut outside)) = outside else { return };
    // Fails for a connection that is over, which the copy will find.
    let _ = (inside.set_nodelay(true), outside.set_nodelay(true));
    let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
}
