//! The addresses of this machine. Does not know who must not reach them.

use std::io;
use std::net::IpAddr;

/// The addresses of all network devices, including the loopback, in the network namespace of this process.
///
/// # Errors
/// Errors of the kernel.
pub fn addresses() -> io::Result<impl Iterator<Item = IpAddr>> {
    Ok(nix::ifaddrs::getifaddrs()?.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|found| IpAddr::V4(found.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|found| IpAddr::V6(found.ip())))
    }))
}
