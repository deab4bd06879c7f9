//! The network namespace of a sandbox, made before the walls around it.
//!
//! Owns the namespace, its loopback, and the list of addresses that nothing inside can send to. Those are rules that the
//! kernel asks before any route, so a route that comes later opens nothing, and nobody inside has the right to change
//! them. Knows nothing of what leads out of the namespace.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use rustix::thread::UnshareFlags;

/// What the namespace says on its standard output when it is there.
pub(crate) const READY: &[u8] = b"ready\n";

/// The first device of every namespace.
const LOOPBACK: u32 = 1;

/// Of the kernel's `linux/rtnetlink.h`, `linux/fib_rules.h`, `linux/netlink.h` and `linux/if.h`.
const RTM_SETLINK: u16 = 19;
const RTM_NEWRULE: u16 = 32;
const FRA_DST: u16 = 1;
const FRA_PRIORITY: u16 = 6;
const FR_ACT_UNREACHABLE: u8 = 7;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

/// The rule of the kernel that leads to a namespace's own addresses is number 0; these come next, before all routes.
const PRIORITY: u32 = 1;

/// An acknowledgement repeats the request's header.
const MAX_ANSWER: usize = 4096;

/// Addresses that mean something only on the machine or the link that asks, and metadata services of clouds, which
/// trust whoever reaches them.
const CLOSED: &[(IpAddr, u8)] = &[
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4),
    (IpAddr::V4(Ipv4Addr::BROADCAST), 32),
    // Azure's and Alibaba's.
    (IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)), 32),
    (IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), 32),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
    // Amazon's.
    (IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), 128),
    // 169.254.0.0/16 and 127.0.0.0/8 behind a translator.
    (IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0xa9fe, 0)), 112),
    (IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0x7f00, 0)), 104),
];

/// Enters a new network namespace, says so, and becomes the program that the arguments name. Without arguments it keeps
/// the namespace until its standard input ends. Must come before the first thread. Returns only on failure.
pub(super) fn enter(mut arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    // Asked for outside: inside they would be none.
    let own = own_addresses()?;
    unshare()?;
    let kernel = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // Protocol 0, routes.
        None,
    )?;
    for (address, prefix) in CLOSED.iter().copied().chain(own) {
        match ask(&kernel, RTM_NEWRULE, &closed(address, prefix)) {
            // The machine speaks no IPv6, so there is nothing to close.
            Err(Errno::AFNOSUPPORT | Errno::OPNOTSUPP) if address.is_ipv6() => {}
            other => other?,
        }
    }
    ask(&kernel, RTM_SETLINK, &loopback_up())?;
    drop(kernel);

    let mut stdout = io::stdout();
    stdout.write_all(READY)?;
    stdout.flush()?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdout(&null)?;
    let Some(program) = arguments.next() else {
        io::stdin().read_to_end(&mut Vec::new())?;
        return Ok(());
    };
    let failed = Command::new(&program).args(arguments).exec();
    let advice =
        if failed.kind() == io::ErrorKind::NotFound { ": install bubblewrap (Debian package bubblewrap)" } else { "" };
    Err(io::Error::new(failed.kind(), format!("cannot run {}: {failed}{advice}", program.display())))
}

/// Where this process is not root, a user namespace gives it the right to make the other one. Its one user stays who it
/// is, so that the next program has no more rights than before.
fn unshare() -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let alone = if uid.is_root() { UnshareFlags::empty() } else { UnshareFlags::NEWUSER };
    // SAFETY: with these flags no descriptor changes, and this process has one thread.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | alone) }?;
    if !uid.is_root() {
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("{0} {0} 1\n", uid.as_raw()))?;
        std::fs::write("/proc/self/gid_map", format!("{0} {0} 1\n", gid.as_raw()))?;
    }
    Ok(())
}

/// The machine's own addresses, each as a range of one: what listens on all of them is not for sandboxes.
fn own_addresses() -> io::Result<Vec<(IpAddr, u8)>> {
    let all = nix::ifaddrs::getifaddrs()?.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|found| IpAddr::V4(found.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|found| IpAddr::V6(found.ip())))
    });
    let all = all.filter(|address| !address.is_loopback());
    Ok(all.map(|address| (address, if address.is_ipv4() { 32 } else { 128 })).collect())
}

/// A rule: nothing goes to this range. `struct fib_rule_hdr` and its attributes.
fn closed(address: IpAddr, prefix: u8) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    };
    let mut message = vec![family, prefix, 0, 0, 0, 0, 0, FR_ACT_UNREACHABLE, 0, 0, 0, 0];
    for (kind, value) in [(FRA_DST, octets), (FRA_PRIORITY, PRIORITY.to_ne_bytes().to_vec())] {
        // Both have a multiple of four bytes, so nothing has to be filled up.
        message.extend(u16::try_from(4 + value.len()).expect("an address is short").to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(value);
    }
    message
}

/// `struct ifinfomsg`: family, padding, type, index, flags, and which of these to change.
fn loopback_up() -> Vec<u8> {
    [0, LOOPBACK, IFF_UP, IFF_UP].map(u32::to_ne_bytes).concat()
}

/// One request to the kernel over rtnetlink(7), and its answer. Two messages do not need a library for all of them.
fn ask(kernel: &OwnedFd, kind: u16, payload: &[u8]) -> Result<(), Errno> {
    let length = u32::try_from(HEADER + payload.len()).expect("it is short");
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE).to_ne_bytes());
    // Sequence and port: there is one question at a time.
    request.extend([0; 8]);
    request.extend(payload);
    rustix::net::sendto(kernel, &request, SendFlags::empty(), &netlink::SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; MAX_ANSWER];
    let (read, _) = rustix::net::recv(kernel, &mut answer, RecvFlags::empty())?;
    // `struct nlmsgerr` follows the header: zero, or a negative number.
    match answer[..read].get(HEADER..).and_then(|rest| rest.first_chunk::<4>()) {
        Some(error) => match i32::from_ne_bytes(*error) {
            0 => Ok(()),
            error => Err(Errno::from_raw_os_error(-error)),
        },
        None => Err(Errno::IO),
    }
}
