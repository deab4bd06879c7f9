//! Tells connections of sandboxes from others, where sandboxes share this machine's network.
//!
//! A sandbox in a shared network can connect to every port of the machine, so everything that listens on one asks here.
//! The kernel says which process holds the other end of a connection. The connection is let in if that process is
//! outside the sandboxes. The reverse would prove nothing: a process in a sandbox can close its end, or pass it to
//! another process, while we look. But it cannot make a process outside hold it.
//!
//! Owns the question and the refusal. Does not know what the port serves, or who else may come. It cannot see for whom
//! a process outside works: a proxy on the machine carries connections of sandboxes too.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::holders::{Peer, WatchedServer};
use crate::sockets::Ends;
use sandbox_stdx::lock::lock;

/// Connections at once whose peer is not yet known. Further ones wait in the listener's backlog. All of them are
/// answered together, so many connections get an answer each second.
const MAX_OPEN: usize = 1024;

/// How long a refused client may take to read the refusal.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Refused connections at once that get an answer. More are closed without a word.
const MAX_TOLD: usize = 128;

/// The pause between two log lines, however many connections are refused.
const LOG_PAUSE: Duration = Duration::from_secs(60);

const REFUSAL: &str = "\
This connection is refused. Sandboxes here share the network of this machine, and the server sees no process outside them \
that holds the other end of it.\n\
Run the client outside sandboxes, as a user whose processes the server may look at and not in another container.\n\
Whoever runs the server: install slirp4netns (its Debian package) and start the server again, so that each sandbox has a network \
of its own and nobody is asked this; or, for a broker, set [auth].\n";

/// Tells who connects. Cheap to clone. Until it watches a server, everybody counts as outside.
#[derive(Debug, Clone, Default)]
pub struct Gatekeeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    server: Mutex<Option<Arc<WatchedServer>>>,
    queue: Mutex<Queue>,
    /// Permits for [`MAX_OPEN`] questions.
    open: Arc<Semaphore>,
    /// Permits for [`MAX_TOLD`] refusals.
    told: Semaphore,
    refused: Mutex<Refused>,
}

/// A connection whose peer is not yet known.
#[derive(Debug)]
pub struct Question {
    gatekeeper: Arc<Inner>,
    ends: Ends,
    /// `None` if no server is watched.
    place: Option<OwnedSemaphorePermit>,
}

/// Connections that wait for an answer, at most [`MAX_OPEN`].
#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<(Ends, oneshot::Sender<Peer>)>,
    /// Whether a thread is at work. One thread answers all that wait, so a flood costs no more than one connection at a
    /// time.
    at_work: bool,
}

#[derive(Debug, Default)]
struct Refused {
    untold: u64,
    told: Option<Instant>,
}

impl Gatekeeper {
    /// Watches the server with this pid: from now on, processes of its sandboxes are told apart from others. With
    /// `None`, watches nobody.
    ///
    /// # Errors
    /// If there is no such process. The watched server then stays the same.
    pub fn watch(&self, server: Option<u32>) -> io::Result<()> {
        let server = server.map(WatchedServer::new).transpose()?.map(Arc::new);
        *lock(&self.0.server) = server;
        Ok(())
    }

    /// Asks who connected from `peer` to `own`. A listener asks before it accepts the next connection, and uses none of
    /// its own places for this one before the answer. Then a sandbox cannot take places from others. Waits while too
    /// many questions are open.
    pub async fn ask(&self, peer: SocketAddr, own: SocketAddr) -> Question {
        let is_watched = lock(&self.0.server).is_some();
        let place = match is_watched {
            true => Some(self.0.open.clone().acquire_owned().await.expect("the semaphore is never closed")),
            false => None,
        };
        Question { gatekeeper: self.0.clone(), ends: Ends::new(peer, own), place }
    }

    /// Tells a client that it is refused, if it speaks HTTP/1 and few enough others are being told. Closes this side of
    /// the connection. Takes at most a second.
    pub async fn refuse(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
        self.log();
        let Ok(_told) = self.0.told.try_acquire() else { return };
        let said = async {
            let head = "HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n";
            let answer = format!("{head}content-length: {}\r\n\r\n{REFUSAL}", REFUSAL.len());
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
            // Unread data would make the kernel reset the connection, and the answer might be lost.
            let mut waste = [0; 4096];
            while stream.read(&mut waste).await? > 0 {}
            io::Result::Ok(())
        };
        // The connection ends either way.
        let _ = tokio::time::timeout(LAST_WORDS, said).await;
    }

    fn log(&self) {
        let mut refused = lock(&self.0.refused);
        refused.untold += 1;
        if refused.told.is_none_or(|told| told.elapsed() >= LOG_PAUSE) {
            tracing::warn!(
                refused = refused.untold,
                "refused connections from inside sandboxes, or of processes that cannot be looked at: sandboxes share this \
                 machine's network"
            );
            *refused = Refused { untold: 0, told: Some(Instant::now()) };
        }
    }
}

impl Default for Inner {
    fn default() -> Self {
        let (open, told) = (Arc::new(Semaphore::new(MAX_OPEN)), Semaphore::new(MAX_TOLD));
        Self { server: Mutex::default(), queue: Mutex::default(), open, told, refused: Mutex::default() }
    }
}

impl Question {
    /// The answer about this connection. It takes milliseconds, and more on a machine with many open files. It is
    /// immediate if no server is watched.
    pub async fn answer(self, stream: &TcpStream) -> Peer {
        let Self { gatekeeper, ends, place: Some(_place) } = self else { return Peer::Outside };
        let (sender, answer) = oneshot::channel();
        let begin = {
            let mut queue = lock(&gatekeeper.queue);
            queue.waiting.push((ends, sender));
            !std::mem::replace(&mut queue.at_work, true)
        };
        if begin {
            tokio::task::spawn_blocking(move || gatekeeper.work());
        }
        let peer = answer.await.unwrap_or(Peer::Sandbox);
        // After a reset the addresses are free, and the process that now has them may be another one. A closed
        // connection has no other end in the kernel's tables.
        if stream.peer_addr().is_err() { Peer::Sandbox } else { peer }
    }
}

impl Inner {
    /// Answers until nobody waits.
    fn work(&self) {
        /// After a panic, later questions are answered again.
        struct AtWork<'a>(&'a Mutex<Queue>);
        impl Drop for AtWork<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    *lock(self.0) = Queue::default();
                }
            }
        }
        let _at_work = AtWork(&self.queue);
        loop {
            let batch = {
                let mut queue = lock(&self.queue);
                // The clients of the others are gone.
                queue.waiting.retain(|(_, sender)| !sender.is_closed());
                if queue.waiting.is_empty() {
                    queue.at_work = false;
                    return;
                }
                std::mem::take(&mut queue.waiting)
            };
            let server = lock(&self.server).clone();
            let ends: Vec<Ends> = batch.iter().map(|(ends, _)| *ends).collect();
            let peers = match server {
                None => vec![Peer::Outside; ends.len()],
                Some(server) => server.judge(&ends).unwrap_or_else(|error| {
                    tracing::warn!(%error, "cannot tell who connects: the kernel's tables cannot be read");
                    vec![Peer::Hidden; ends.len()]
                }),
            };
            for ((_, sender), peer) in batch.into_iter().zip(peers) {
                let _ = sender.send(peer);
            }
        }
    }
}
