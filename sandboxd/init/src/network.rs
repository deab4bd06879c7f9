//! The network namespace of a sandbox. It is made before `bwrap` runs.
//!
//! Owns the namespace, its loopback, the sockets that listen there for the server, and the list of addresses that
//! nobody inside can reach. That list is a set of rules that the kernel applies before any route. So a later route
//! opens nothing, and nobody inside has the right to change the rules. Of slirp4netns, which leads out of the
//! namespace, it knows only the addresses.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use rustix::process::{Gid, Uid};
use rustix::thread::UnshareFlags;

use crate::addresses::{GATEWAY_V4, PREFIX_V4, PREFIX_V6, RESOLVER_V4, RESOLVER_V6};
use crate::wire::{self, FromNetwork, WireError};

/// The first device of every namespace.
const LOOPBACK: u32 = 1;

/// Constants of the kernel's `linux/rtnetlink.h`, `linux/fib_rules.h`, `linux/netlink.h` and `linux/if.h`.
const RTM_SETLINK: u16 = 19;
const RTM_NEWRULE: u16 = 32;
const FRA_DST: u16 = 1;
const FRA_PRIORITY: u16 = 6;
const RT_TABLE_MAIN: u8 = 254;
const FR_ACT_TO_TBL: u8 = 1;
const FR_ACT_UNREACHABLE: u8 = 7;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Rule 0 of the kernel leads to a namespace's own addresses. These priorities come next, before all routes.
const OPEN_PRIORITY: u32 = 1;
const CLOSED_PRIORITY: u32 = 2;

/// Addresses that stay open inside closed networks: the resolver, and the gateway, because the kernel accepts no route
/// by a gateway that it cannot reach. Nothing answers at the gateway itself.
const OPEN: [IpAddr; 3] = [IpAddr::V4(GATEWAY_V4), IpAddr::V4(RESOLVER_V4), IpAddr::V6(RESOLVER_V6)];

/// The largest answer in bytes: an acknowledgement repeats the request's header.
const MAX_ANSWER: usize = 4096;

/// Addresses that are meaningful only on one machine or link, and metadata services of clouds, which trust everybody
/// who reaches them.
const CLOSED: &[(IpAddr, u8)] = &[
    // A namespace's own loopback is found before these rules, except by a socket that is bound to the device that leads
    // out. For such a socket the kernel takes IPv4 addresses without a route for neighbours on the link, where nobody
    // answers.
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4),
    (IpAddr::V4(Ipv4Addr::BROADCAST), 32),
    // The metadata services of Azure and Alibaba.
    (IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)), 32),
    (IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), 32),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
    // The metadata service of Amazon.
    (IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), 128),
    // 169.254.0.0/16 and 127.0.0.0/8 behind a translator.
    (IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0xa9fe, 0)), 112),
    (IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0x7f00, 0)), 104),
    // The networks in which slirp4netns itself answers.
    (IpAddr::V4(PREFIX_V4.0), PREFIX_V4.1),
    (IpAddr::V6(PREFIX_V6.0), PREFIX_V6.1),
];

/// Settings that let the kernel use its own IPv6 addresses at once. Nobody else on the link could have the same
/// address.
const AT_ONCE: [&str; 3] = ["accept_dad", "dad_transmits", "router_solicitation_delay"];

/// Enters a new network namespace and reports to the server over the socket on its standard output. Then becomes the
/// program that the arguments name after the list of ports. Without a program, keeps the namespace until its standard
/// input ends. Must run before the first thread starts. With a program, returns only on failure.
pub(super) fn enter(mut arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    let ports = arguments.next().unwrap_or_default();
    // Services on the machine's own addresses are not for sandboxes. The addresses are read here, because inside the
    // new namespace there would be none.
    let own: Vec<_> = sandboxd_gatekeeper::addresses()?.filter(|address| !address.is_loopback()).collect();
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    unshare()?;
    let kernel = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // Protocol 0 is routing.
        None,
    )?;
    let open = OPEN.map(|address| (address, own_range(address), Rule::Open));
    let translated = own.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(IpAddr::V6(translated(*address))),
        IpAddr::V6(_) => None,
    });
    let own = own.iter().copied().chain(translated).map(|address| (address, own_range(address)));
    let closed = CLOSED.iter().copied().chain(own).map(|(address, prefix)| (address, prefix, Rule::Closed));
    for (address, prefix, rule) in open.into_iter().chain(closed) {
        match ask(&kernel, RTM_NEWRULE, &rule.message(address, prefix)) {
            // The machine has no IPv6, so there is nothing to close.
            Err(Errno::AFNOSUPPORT | Errno::OPNOTSUPP) if address.is_ipv6() => {}
            other => other?,
        }
    }
    ask(&kernel, RTM_SETLINK, &loopback_up())?;
    drop(kernel);
    for setting in AT_ONCE {
        // Without this setting IPv6 works only after some seconds, and IPv4 works until then.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/default/{setting}"), "0");
    }

    let server = io::stdout();
    for port in ports.to_str().unwrap_or_default().split_terminator(',') {
        let port = port.parse().map_err(io::Error::other)?;
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            match TcpListener::bind((address, port)) {
                Ok(listener) => send_message(&server, FromNetwork::Listens { port }, &[listener.as_fd()])?,
                Err(_) if address.is_ipv6() => {}
                Err(error) => return Err(error),
            }
        }
    }
    send_message(&server, FromNetwork::Ready, &[])?;
    if !uid.is_root() {
        // slirp4netns joins this user namespace too. It has joined when the server closes the socket.
        let _ = rustix::net::recv(&server, &mut [0], RecvFlags::empty())?;
        back_to(uid, gid)?;
    }
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdout(&null)?;
    let Some(program) = arguments.next() else {
        io::stdin().read_to_end(&mut Vec::new())?;
        return Ok(());
    };
    let error = Command::new(&program).args(arguments).exec();
    let advice =
        if error.kind() == io::ErrorKind::NotFound { ": install bubblewrap (Debian package bubblewrap)" } else { "" };
    Err(io::Error::new(error.kind(), format!("cannot run {}: {error}{advice}", program.display())))
}

/// Sends a message. It is smaller than any socket's buffer, so it is never sent in part.
fn send_message(server: &impl AsFd, message: FromNetwork, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let frame = wire::encode(&message, descriptors.len()).map_err(|error| match error {
        WireError::Io(errno) => errno.into(),
        other => io::Error::other(other),
    })?;
    wire::send(server, &frame, descriptors)?;
    Ok(())
}

/// If this process is not root, a user namespace gives it the right to make the network namespace. The only user there
/// is root, because slirp4netns insists on that.
fn unshare() -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let alone = if uid.is_root() { UnshareFlags::empty() } else { UnshareFlags::NEWUSER };
    // SAFETY: with these flags no descriptor changes, and this process has one thread.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | alone) }?;
    if !uid.is_root() {
        map_user((0, uid.as_raw()), (0, gid.as_raw()))?;
    }
    Ok(())
}

/// Gives up the rights over the network: enters a user namespace in which this process has its former ids again. So the
/// next program has no more rights than before.
fn back_to(uid: Uid, gid: Gid) -> io::Result<()> {
    // SAFETY: as above.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) }?;
    map_user((uid.as_raw(), 0), (gid.as_raw(), 0))
}

/// Maps one user and one group, each given as inside and outside id, in a user namespace that this process has just
/// made.
fn map_user(uid: (u32, u32), gid: (u32, u32)) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{} {} 1\n", uid.0, uid.1))?;
    fs::write("/proc/self/gid_map", format!("{} {} 1\n", gid.0, gid.1))
}

/// The IPv6 address of an IPv4 address behind a NAT64 translator (RFC 6052).
fn translated(address: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = address.octets();
    Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

/// The prefix length of a range with a single address.
fn own_range(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// What happens to packets for a range.
enum Rule {
    /// They follow the namespace's routes.
    Open,
    /// They are refused.
    Closed,
}

impl Rule {
    /// `struct fib_rule_hdr` and its attributes.
    fn message(&self, address: IpAddr, prefix: u8) -> Vec<u8> {
        let (family, octets) = match address {
            IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
        };
        let (table, action, priority) = match self {
            Self::Open => (RT_TABLE_MAIN, FR_ACT_TO_TBL, OPEN_PRIORITY),
            Self::Closed => (0, FR_ACT_UNREACHABLE, CLOSED_PRIORITY),
        };
        let mut message = vec![family, prefix, 0, 0, table, 0, 0, action, 0, 0, 0, 0];
        for (kind, value) in [(FRA_DST, octets), (FRA_PRIORITY, priority.to_ne_bytes().to_vec())] {
            // The size of both values is a multiple of four bytes, so no padding is needed.
            message.extend(u16::try_from(4 + value.len()).expect("an address is short").to_ne_bytes());
            message.extend(kind.to_ne_bytes());
            message.extend(value);
        }
        message
    }
}

/// `struct ifinfomsg`: family, padding, type, index, flags, and which of these to change.
fn loopback_up() -> Vec<u8> {
    [0, LOOPBACK, IFF_UP, IFF_UP].map(u32::to_ne_bytes).concat()
}

/// Sends one request to the kernel over rtnetlink(7) and reads the answer. For two messages a library is not worth it.
fn ask(kernel: &OwnedFd, kind: u16, payload: &[u8]) -> Result<(), Errno> {
    let length = u32::try_from(HEADER + payload.len()).expect("it is short");
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE).to_ne_bytes());
    // The sequence number and the port: there is only one question at a time.
    request.extend([0; 8]);
    request.extend(payload);
    rustix::net::sendto(kernel, &request, SendFlags::empty(), &netlink::SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; MAX_ANSWER];
    let (read, _) = rustix::net::recv(kernel, &mut answer, RecvFlags::empty())?;
    // `struct nlmsgerr` follows the header. Its first number is zero or negative.
    match answer[..read].get(HEADER..).and_then(|rest| rest.first_chunk::<4>()) {
        Some(error) => match i32::from_ne_bytes(*error) {
            0 => Ok(()),
            error => Err(Errno::from_raw_os_error(-error)),
        },
        None => Err(Errno::IO),
    }
}
