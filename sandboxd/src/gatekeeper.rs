//! Whose connections come to a port of this machine, where sandboxes share its network.
//!
//! Such a sandbox can connect to every port of the machine, so whoever listens on one asks here. The kernel says which
//! process holds the other end of a connection, and a connection is let in when that is a process outside the sandboxes.
//! That is the proof, and not that no sandbox holds it: a process in a sandbox can close its end, or have it on the way to
//! another process while we look, but it cannot make a process outside hold it.
//!
//! Owns that question and the refusal. Does not know what the port serves, or who else may come. What it cannot see is
//! whom a process outside works for: a proxy on the machine carries the connections of sandboxes, too.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::machine;

/// How often a connection is looked at before it is refused: a client may hand it to another of its processes meanwhile.
const LOOKS: usize = 2;

/// How often a process is asked for its ancestors. Each time one of them has ended in between.
const TRIES: usize = 4;

/// Connections at once of which it is not known yet who is there; further ones wait in the listener's backlog. All are
/// answered at once, so many come in turn each second.
const MAX_OPEN: usize = 1024;

/// How long whoever is refused may take to read that.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Connections at once that are told; more are closed without a word.
const MAX_TOLD: usize = 128;

/// Between two lines in the log, however many are refused.
const LOG_PAUSE: Duration = Duration::from_secs(60);

const REFUSAL: &str = "\
This connection is refused. Sandboxes here share the network of this machine, and the server sees no process outside them \
that holds the other end of it.\n\
Run the client outside sandboxes, as a user whose processes the server may look at and not in another container.\n\
Whoever runs the server: install slirp4netns (its Debian package) and start the server again, so that each sandbox has a network \
of its own and nobody is asked this; or, for a broker, set [auth].\n";

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A process outside the sandboxes, or another machine.
    Outside,
    /// Nobody who can be seen. There is a process that cannot be looked at, and that may be it. Only for a service that asks
    /// everybody for a secret.
    Hidden,
    /// A process in a sandbox, or one that has ended.
    Sandbox,
}

/// Tells who connects. Cheap to clone. Until it is told of a server, everybody is outside.
#[derive(Debug, Clone, Default)]
pub struct Gatekeeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    server: Mutex<Option<Arc<Server>>>,
    queue: Mutex<Queue>,
    /// Of [`MAX_OPEN`].
    open: Arc<Semaphore>,
    /// Of [`MAX_TOLD`].
    told: Semaphore,
    refused: Mutex<Refused>,
}

/// A connection of which it is not known yet who is there.
#[derive(Debug)]
pub struct Question {
    gatekeeper: Arc<Inner>,
    ends: Ends,
    /// None where nobody is told apart.
    place: Option<OwnedSemaphorePermit>,
}

/// Connections that wait for an answer, at most [`MAX_OPEN`].
#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<(Ends, oneshot::Sender<Peer>)>,
    /// Whether a thread is at it. One looks for all that wait, so a flood costs no more than one at a time.
    at_work: bool,
}

#[derive(Debug, Default)]
struct Refused {
    untold: u64,
    told: Option<Instant>,
}

/// The addresses of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ends {
    peer: SocketAddr,
    own: SocketAddr,
}

/// A server of sandboxes that share this machine's network.
#[derive(Debug)]
struct Server {
    pid: u32,
    process: OwnedFd,
    /// The only user that its sandboxes have, unless it is root.
    uid: u32,
}

impl Gatekeeper {
    /// From now on, processes of the sandboxes of the server with this pid are told apart; with `None`, nobody.
    ///
    /// # Errors
    /// When there is no such process. Then what was said before stays.
    pub fn watch(&self, server: Option<u32>) -> io::Result<()> {
        let server = server.map(Server::new).transpose()?.map(Arc::new);
        *lock(&self.0.server) = server;
        Ok(())
    }

    /// The question who connected from `peer` to `own`. A listener asks before it accepts the next connection, and gives this
    /// one none of its places before the answer: then a sandbox can take none from others. Waits while too many questions are
    /// open.
    pub async fn ask(&self, peer: SocketAddr, own: SocketAddr) -> Question {
        let is_watched = lock(&self.0.server).is_some();
        let place = match is_watched {
            true => Some(self.0.open.clone().acquire_owned().await.expect("the semaphore is never closed")),
            false => None,
        };
        Question { gatekeeper: self.0.clone(), ends: Ends { peer: plain(peer), own: plain(own) }, place }
    }

    /// Tells whoever connected that it is refused, if it speaks HTTP/1 and not too many are told, and ends this side of the
    /// connection. Takes at most a second.
    pub async fn refuse(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
        self.log();
        let Ok(_told) = self.0.told.try_acquire() else { return };
        let said = async {
            let head = "HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n";
            let answer = format!("{head}content-length: {}\r\n\r\n{REFUSAL}", REFUSAL.len());
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
            // What is left unread would make the kernel reset the connection, and the answer might be lost.
            let mut waste = [0; 4096];
            while stream.read(&mut waste).await? > 0 {}
            io::Result::Ok(())
        };
        // Whether it was read or not, the end is the same.
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
    /// The answer about this connection. Takes milliseconds, and more on a machine with many open files; nothing where no
    /// server is watched.
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
        // One that was reset gives its addresses back, and whoever is found there by then may be somebody else. The kernel
        // knows no other end of a connection that is closed.
        if stream.peer_addr().is_err() { Peer::Sandbox } else { peer }
    }
}

impl Inner {
    /// Answers until nobody waits.
    fn work(&self) {
        /// After a panic, those that come next are answered.
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
                // Others have gone meanwhile.
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

/// A socket in the kernel's table. Without a process that holds it, it has no inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket {
    inode: u64,
    uid: u32,
}

/// Who holds the sockets that were asked for.
#[derive(Debug, Default)]
struct Holders {
    outside: HashSet<u64>,
    /// Only where not all could be seen.
    inside: HashSet<u64>,
    /// Whose processes could not be looked at.
    hidden: HashSet<u32>,
}

impl Server {
    fn new(pid: u32) -> io::Result<Self> {
        let known = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let process = rustix::process::pidfd_open(known, PidfdFlags::empty())?;
        // The kernel says root of one that may not be looked at, which is the stricter.
        Ok(Self { pid, process, uid: fs::metadata(format!("/proc/{pid}"))?.uid() })
    }

    fn has_ended(&self) -> bool {
        let mut process = [PollFd::new(&self.process, PollFlags::IN)];
        poll(&mut process, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0)
    }

    fn judge(&self, connections: &[Ends]) -> io::Result<Vec<Peer>> {
        let mut peers = vec![Peer::Sandbox; connections.len()];
        for _ in 0..LOOKS {
            let open: Vec<usize> = (0..peers.len()).filter(|index| peers[*index] != Peer::Outside).collect();
            if open.is_empty() {
                break;
            }
            let asked: Vec<Ends> = open.iter().map(|index| connections[*index]).collect();
            let sockets = sockets(&asked)?;
            let may_be_inside = |socket: &Socket| self.uid == 0 || socket.uid == self.uid;
            let wanted = sockets.values().flatten().filter(|socket| socket.inode != 0 && may_be_inside(socket));
            let holders = self.holders(wanted.map(|socket| socket.inode).collect())?;
            let own: HashSet<IpAddr> = machine::addresses().into_iter().flatten().collect();
            for index in open {
                let ends = connections[index];
                peers[index] = match sockets.get(&ends) {
                    None if is_own(&own, ends) => Peer::Sandbox,
                    None => Peer::Outside,
                    Some(found) => holders.of_all(found, may_be_inside),
                };
            }
        }
        Ok(peers)
    }

    /// Who holds these sockets. Looks at as few processes as that takes, and at those of sandboxes last: they can be many.
    fn holders(&self, mut wanted: HashSet<u64>) -> io::Result<Holders> {
        let mut holders = Holders::default();
        if wanted.is_empty() {
            return Ok(holders);
        }
        let own = namespace(Path::new("/proc/self"))?;
        let (mut others, mut inside) = (Vec::new(), Vec::new());
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            match namespace(&entry.path()) {
                Ok(found) if found == own => holders.look_at(&entry.path(), &mut wanted),
                // A container's or a browser's, or a sandbox's.
                Ok(_) => others.push((pid, entry.path())),
                Err(error) => holders.note(&error, &entry.path()),
            }
            if wanted.is_empty() {
                return Ok(holders);
            }
        }
        let mut lineage = HashMap::from([(self.pid, true)]);
        let before = holders.outside.clone();
        for (pid, path) in others {
            match descends(pid, &mut lineage) {
                true => inside.push(path),
                false => holders.look_at(&path, &mut wanted),
            }
        }
        if self.has_ended() {
            // Its sandboxes end with it, and until they have, nothing says whose their processes are.
            holders.outside = before;
        }
        if !wanted.is_empty() && !holders.hidden.is_empty() {
            let mut found = Holders::default();
            inside.iter().for_each(|path| found.look_at(path, &mut wanted));
            holders.inside = found.outside;
        }
        Ok(holders)
    }
}

impl Holders {
    /// Takes from the wanted sockets those that this process holds.
    fn look_at(&mut self, process: &Path, wanted: &mut HashSet<u64>) {
        let descriptors = match fs::read_dir(process.join("fd")) {
            Ok(descriptors) => descriptors,
            Err(error) => return self.note(&error, process),
        };
        for descriptor in descriptors.flatten() {
            let target = match fs::read_link(descriptor.path()) {
                Ok(target) => target,
                Err(error) => {
                    self.note(&error, process);
                    continue;
                }
            };
            let target = target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'));
            if let Some(inode) = target.and_then(|inode| inode.parse().ok())
                && wanted.remove(&inode)
            {
                self.outside.insert(inode);
            }
        }
    }

    /// Why a process was not looked at. That it has ended is no reason to wonder.
    fn note(&mut self, error: &io::Error, process: &Path) {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return;
        }
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
        self.hidden.extend(uids.split_whitespace().filter_map(|uid| uid.parse::<u32>().ok()));
    }

    fn of_all(&self, sockets: &[Socket], may_be_inside: impl Fn(&Socket) -> bool) -> Peer {
        let of_one = |socket: &Socket| {
            if socket.inode == 0 || self.inside.contains(&socket.inode) {
                Peer::Sandbox
            } else if !may_be_inside(socket) || self.outside.contains(&socket.inode) {
                Peer::Outside
            } else if self.hidden.contains(&socket.uid) {
                Peer::Hidden
            } else {
                Peer::Sandbox
            }
        };
        let peers: Vec<Peer> = sockets.iter().map(of_one).collect();
        [Peer::Sandbox, Peer::Hidden].into_iter().find(|peer| peers.contains(peer)).unwrap_or(Peer::Outside)
    }
}

/// Whether the process, or one of its ancestors, is one that `lineage` knows to be true, such as the server of sandboxes. Who
/// loses its parent inside a sandbox gets another one there, so the line does not break. `lineage` learns, so that each
/// process is asked once however deep they stand.
fn descends(pid: u32, lineage: &mut HashMap<u32, bool>) -> bool {
    for _ in 0..TRIES {
        let (mut line, mut at) = (Vec::new(), pid);
        let known = loop {
            if let Some(known) = lineage.get(&at) {
                break Some(*known);
            }
            line.push(at);
            match parent(at) {
                // The first process, or the first that can be seen.
                Some(0) => break Some(false),
                Some(parent) if !line.contains(&parent) => at = parent,
                _ => break None,
            }
        };
        if let Some(known) = known {
            lineage.extend(line.into_iter().map(|pid| (pid, known)));
            return known;
        }
    }
    // It has ended, or its ancestors do so all the time, which none outside does.
    true
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The user namespace of a process. Every sandbox has one of its own, of which those who made it may always know.
fn namespace(process: &Path) -> io::Result<PathBuf> {
    fs::read_link(process.join("ns/user"))
}

/// The other ends of these connections, as far as they are on this machine.
fn sockets(wanted: &[Ends]) -> io::Result<HashMap<Ends, Vec<Socket>>> {
    let wanted: HashMap<String, Ends> =
        wanted.iter().flat_map(|ends| ends.as_written().map(|text| (text, *ends))).collect();
    let mut found: HashMap<Ends, Vec<Socket>> = HashMap::new();
    for path in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let table = match fs::read_to_string(path) {
            // Without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            table => table?,
        };
        // Whoever floods a port makes this long.
        for (ends, socket) in table.lines().filter_map(|line| row(line, &wanted)) {
            found.entry(ends).or_default().push(socket);
        }
    }
    Ok(found)
}

/// A line of proc_pid_net(5)'s `tcp`, if it is about a wanted connection.
fn row(line: &str, wanted: &HashMap<String, Ends>) -> Option<(Ends, Socket)> {
    let (_, line) = line.split_once(": ")?;
    let (ends, rest) = [WRITTEN_V4, WRITTEN_V6].into_iter().find_map(|length| {
        let (text, rest) = line.split_at_checked(length)?;
        Some((*wanted.get(text)?, rest))
    })?;
    let mut fields = rest.split_whitespace();
    // It has no connection yet, and so not this one.
    if fields.next()? == SYN_SENT {
        return None;
    }
    let mut fields = fields.skip(3);
    let uid = fields.next()?.parse().ok()?;
    Some((ends, Socket { uid, inode: fields.nth(1)?.parse().ok()? }))
}

/// A socket that still waits for an answer, in the kernel's tables.
const SYN_SENT: &str = "02";

/// Characters of two addresses in the kernel's tables.
const WRITTEN_V4: usize = 2 * (8 + 5) + 1;
const WRITTEN_V6: usize = 2 * (32 + 5) + 1;

impl Ends {
    /// As the kernel writes them for the other end: words of 32 bits in the machine's order, and the ports. A socket for IPv6
    /// may speak IPv4.
    fn as_written(&self) -> [String; 2] {
        let hex = |octets: &[u8]| {
            let words = octets.chunks_exact(4).map(|word| <[u8; 4]>::try_from(word).expect("there are four"));
            words.map(|word| format!("{:08X}", u32::from_ne_bytes(word))).collect::<String>()
        };
        let both = |octets: fn(IpAddr) -> Vec<u8>| {
            let one = |end: SocketAddr| format!("{}:{:04X}", hex(&octets(end.ip())), end.port());
            format!("{} {}", one(self.peer), one(self.own))
        };
        let narrow = |ip| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let wide = |ip| match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        [both(narrow), both(wide)]
    }
}

/// One form for each address: an IPv4 address may come as IPv6, and the table knows no scopes.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether the connection began on this machine.
fn is_own(addresses: &HashSet<IpAddr>, ends: Ends) -> bool {
    let peer = ends.peer.ip();
    peer.is_loopback() || peer == ends.own.ip() || addresses.contains(&peer)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in them is whole after each step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: both tables of the kernel are understood, an IPv4 address in that of IPv6, too, and a socket that nobody holds.
    #[test]
    fn the_kernels_tables_are_understood() {
        let word = |octets: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(octets));
        let (zeros, loopback) = ("0".repeat(8), word([127, 0, 0, 1]));
        let mapped = format!("{zeros}{zeros}{}{loopback}", word([0, 0, 255, 255]));
        let six = format!("{zeros}{zeros}{zeros}{}", word([0, 0, 0, 1]));
        let held = "01 00000000:00000000 00:00000000 00000000  1000        0 345670 1 0000000000000000 20 4 30 10 -1";
        let closed = "06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000000000000";
        for (peer, own, written) in [
            ("127.0.0.1:41394", "127.0.0.1:3000", loopback),
            ("127.0.0.1:41394", "127.0.0.1:3000", mapped),
            ("[::1]:41394", "[::1]:3000", six),
        ] {
            let ends = Ends { peer: peer.parse().unwrap(), own: own.parse().unwrap() };
            let wanted: HashMap<String, Ends> = ends.as_written().into_iter().map(|text| (text, ends)).collect();
            let found = |own: &str, rest: &str| row(&format!("  12: {written}:A1B2 {written}:{own} {rest}"), &wanted);
            assert_eq!(found("0BB8", held), Some((ends, Socket { inode: 345_670, uid: 1000 })));
            assert_eq!(found("0BB8", closed), Some((ends, Socket { inode: 0, uid: 0 })));
            assert_eq!(found("0BB9", held), None);
            assert_eq!(found("0BB8", &held.replacen("01", "02", 1)), None);
        }
    }

    /// Promise: whoever descends from a known process is found by asking each ancestor once, and nobody else is taken for it.
    #[test]
    fn ancestors_are_followed_to_the_first() {
        let me = std::process::id();
        let mut lineage = HashMap::from([(parent(me).unwrap(), true)]);
        assert!(descends(me, &mut lineage));
        assert_eq!(lineage.get(&me), Some(&true));
        assert!(!descends(me, &mut HashMap::from([(u32::MAX, true)])));
    }
}
