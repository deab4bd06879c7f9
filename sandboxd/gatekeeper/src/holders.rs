//! Which process holds a socket, and whether that process belongs to a sandbox of the watched server.
//!
//! Reads `/proc` and nothing else. Does not know who asks, or what becomes of the connection.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags};

use super::sockets::{Ends, Socket, is_own, sockets};
use crate::addresses::addresses;

/// How often a connection is examined before it is refused. Its client may pass it to another of its processes in the
/// meantime.
const LOOKS: usize = 2;

/// How often the search for a process's ancestors is repeated. It fails only if one of them has ended during the
/// search.
const TRIES: usize = 4;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A process outside the sandboxes, or another machine.
    Outside,
    /// Nobody visible. But there is a process that this server cannot look at, and it may be the peer. Such a peer may
    /// only use a service that demands a secret from everybody.
    Hidden,
    /// A process in a sandbox, or one that has ended.
    Sandbox,
}

/// A server of sandboxes that share this machine's network.
#[derive(Debug)]
pub(super) struct WatchedServer {
    pid: u32,
    process: OwnedFd,
    /// The only user that its sandboxes have, unless the server is root.
    uid: u32,
}

/// Who holds the sockets that were asked for.
#[derive(Debug, Default)]
struct Holders {
    outside: HashSet<u64>,
    /// Filled only if some processes could not be looked at.
    inside: HashSet<u64>,
    /// The users whose processes could not be looked at.
    hidden: HashSet<u32>,
}

impl WatchedServer {
    pub(super) fn new(pid: u32) -> io::Result<Self> {
        let known = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let process = rustix::process::pidfd_open(known, PidfdFlags::empty())?;
        // For a process that may not be looked at, the kernel reports root, which is the stricter case.
        Ok(Self { pid, process, uid: fs::metadata(format!("/proc/{pid}"))?.uid() })
    }

    fn has_ended(&self) -> bool {
        let mut process = [PollFd::new(&self.process, PollFlags::IN)];
        poll(&mut process, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0)
    }

    pub(super) fn judge(&self, connections: &[Ends]) -> io::Result<Vec<Peer>> {
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
            let own: HashSet<IpAddr> = addresses().into_iter().flatten().collect();
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

    /// Finds who holds these sockets. Looks at as few processes as possible, and at those of sandboxes last, because
    /// they can be many.
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
                // It belongs to a container, a browser or a sandbox.
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
            // The sandboxes end with the server. Until they have, nothing tells which processes are theirs.
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
    /// Removes from `wanted` the sockets that this process holds.
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

    /// Notes why a process could not be looked at. A process that has ended needs no note.
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

/// Whether the process or one of its ancestors is marked true in `lineage`, such as the server of the sandboxes. A
/// process that loses its parent inside a sandbox gets another parent there, so the line of ancestors does not break.
/// `lineage` keeps the results, so each process is looked up once, however deep the tree is.
fn descends(pid: u32, lineage: &mut HashMap<u32, bool>) -> bool {
    for _ in 0..TRIES {
        let (mut line, mut at) = (Vec::new(), pid);
        let known = loop {
            if let Some(known) = lineage.get(&at) {
                break Some(*known);
            }
            line.push(at);
            match parent(at) {
                // This is the first process, or the first one that is visible.
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
    // The process has ended, or its ancestors keep ending. No process outside the sandboxes does that.
    true
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before this field may contain anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The user namespace of a process. Every sandbox has its own, and the user who made it may always see it.
fn namespace(process: &Path) -> io::Result<PathBuf> {
    fs::read_link(process.join("ns/user"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a descendant of a known process is found, each ancestor is looked up once, and no other process is
    /// taken for a descendant.
    #[test]
    fn ancestors_are_followed_to_the_first() {
        let me = std::process::id();
        let mut lineage = HashMap::from([(parent(me).unwrap(), true)]);
        assert!(descends(me, &mut lineage));
        assert_eq!(lineage.get(&me), Some(&true));
        assert!(!descends(me, &mut HashMap::from([(u32::MAX, true)])));
    }
}
