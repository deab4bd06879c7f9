//! A line between a client and a broker that is slow and long: bytes leave it
//! at its rate, and arrive after its delay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

/// Bytes that travel together.
const PACKET: usize = 8 * 1024;

/// Bytes that wait at the near end for their turn, as in a home's router.
const QUEUE: usize = 128 * 1024;

/// What the line's own sockets hold, so that little waits outside the line.
const SOCKET: u32 = 64 * 1024;

/// Carries connections to a broker until it is dropped.
pub struct Line {
    url: String,
    carried: Arc<AtomicU64>,
    _accept: AbortOnDropHandle<()>,
}

impl Line {
    /// With so many bits a second each way, and so long from here to there and
    /// back.
    pub async fn start(broker: &str, bits: u64, round_trip: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let broker = broker.strip_prefix("http://").unwrap().parse().unwrap();
        let carried = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&carried);
        let accept = async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let socket = TcpSocket::new_v4().unwrap();
                socket.set_recv_buffer_size(SOCKET).unwrap();
                let Ok(server) = socket.connect(broker).await else { continue };
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                let pace = Pace { bytes: bits as f64 / 8.0, delay: round_trip / 2 };
                tokio::spawn(carry(from_client, to_server, pace, Arc::default()));
                tokio::spawn(carry(from_server, to_client, pace, Arc::clone(&count)));
            }
        };
        Line { url, carried, _accept: AbortOnDropHandle::new(tokio::spawn(accept)) }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Bytes that arrived at clients so far.
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy)]
struct Pace {
    /// A second.
    bytes: f64,
    delay: Duration,
}

/// One direction of a connection.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, pace: Pace, count: Arc<AtomicU64>) {
    let under_way = (pace.bytes * pace.delay.as_secs_f64()) as usize + QUEUE;
    let (send, mut packets) = mpsc::channel::<(Instant, Bytes)>(under_way / PACKET + 1);
    let enter = async move {
        let mut free = Instant::now();
        loop {
            let mut packet = BytesMut::with_capacity(PACKET);
            match from.read_buf(&mut packet).await {
                Ok(0) | Err(_) => return,
                Ok(len) => {
                    free = free.max(Instant::now()) + Duration::from_secs_f64(len as f64 / pace.bytes);
                    if send.send((free + pace.delay, packet.freeze())).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    let leave = async move {
        while let Some((at, packet)) = packets.recv().await {
            sleep_until(at).await;
            if to.write_all(&packet).await.is_err() {
                return;
            }
            count.fetch_add(packet.len() as u64, Ordering::Relaxed);
        }
    };
    tokio::join!(enter, leave);
}
