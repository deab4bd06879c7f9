//! The kernel's tables of TCP sockets: finds the other end of a connection, and the inode and user of that socket.
//!
//! Source: proc_pid_net(5). Does not know which process holds a socket.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// The addresses of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    pub(super) peer: SocketAddr,
    pub(super) own: SocketAddr,
}

/// A socket in the kernel's table. Its inode is 0 if no process holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) inode: u64,
    pub(super) uid: u32,
}

/// Finds the other ends of these connections, as far as they are on this machine.
pub(super) fn sockets(wanted: &[Ends]) -> io::Result<HashMap<Ends, Vec<Socket>>> {
    let wanted: HashMap<String, Ends> =
        wanted.iter().flat_map(|ends| ends.as_written().map(|text| (text, *ends))).collect();
    let mut found: HashMap<Ends, Vec<Socket>> = HashMap::new();
    for path in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let table = match fs::read_to_string(path) {
            // The kernel has no IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            table => table?,
        };
        // A flood of connections makes this table long.
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
    // The socket is not connected yet, so it is not the one we look for.
    if fields.next()? == SYN_SENT {
        return None;
    }
    let mut fields = fields.skip(3);
    let uid = fields.next()?.parse().ok()?;
    Some((ends, Socket { uid, inode: fields.nth(1)?.parse().ok()? }))
}

/// The state, in the kernel's tables, of a socket that still waits for an answer.
const SYN_SENT: &str = "02";

/// The number of characters of two addresses in the kernel's tables.
const WRITTEN_V4: usize = 2 * (8 + 5) + 1;
const WRITTEN_V6: usize = 2 * (32 + 5) + 1;

impl Ends {
    pub(super) fn new(peer: SocketAddr, own: SocketAddr) -> Self {
        Self { peer: plain(peer), own: plain(own) }
    }

    /// The text that the kernel writes for the other end: words of 32 bits in the machine's byte order, and the ports.
    /// A socket for IPv6 may speak IPv4, so there are two forms.
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

/// Brings an address into one form: an IPv4 address may come as IPv6, and the table has no scopes.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether the connection began on this machine.
pub(super) fn is_own(addresses: &HashSet<IpAddr>, ends: Ends) -> bool {
    let peer = ends.peer.ip();
    peer.is_loopback() || peer == ends.own.ip() || addresses.contains(&peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: both tables of the kernel are understood, including an IPv4 address in the IPv6 table, and a socket
    /// that nobody holds.
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
}
