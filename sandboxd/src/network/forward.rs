//! Services on the machine's loopback that a sandbox finds on its own loopback.
//!
//! Owns the connections between the two, byte for byte, and the bound on their number. The init makes the listening
//! sockets inside before the sandbox runs a program. Does not know who chose the ports.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Connections at once for one sandbox. Each takes two descriptors of the server.
const MAX_CONNECTIONS: usize = 64;

/// How long the service may take to accept.
const CONNECT: Duration = Duration::from_secs(10);

/// How long to wait after a failed accept. The usual cause is that the server has no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// The forwarded ports of one sandbox. Dropping it closes their connections.
#[derive(Debug)]
pub(crate) struct Forwards {
    _accepting: JoinSet<()>,
}

impl Forwards {
    /// Carries connections to these sockets inside to the same port of the machine's loopback.
    pub(crate) fn begin(listeners: Vec<(u16, TcpListener)>) -> Self {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut accepting = JoinSet::new();
        for (port, listener) in listeners {
            accepting.spawn(accept(listener, port, places.clone()));
        }
        Self { _accepting: accepting }
    }
}

async fn accept(listener: TcpListener, port: u16, places: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((inside, _)) => {
                // At the bound this waits, and further connections wait in the kernel's queue. Only this sandbox is
                // held up.
                let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
                connections.spawn(async move {
                    carry(inside, port).await;
                    drop(place);
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
    // Fails if the connection is over. The copy below then ends at once.
    let _ = (inside.set_nodelay(true), outside.set_nodelay(true));
    let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
}
