//! The addresses on the link between a sandbox with a network of its own and slirp4netns.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The IPv4 network on that link. It is reserved for documentation, so nobody routes it (RFC 5737).
pub const PREFIX_V4: (Ipv4Addr, u8) = (Ipv4Addr::new(203, 0, 113, 0), 24);

/// The IPv6 network on that link. It is the default of slirp4netns.
pub const PREFIX_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0), 64);

/// The gateway. slirp4netns takes the second address of a network.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// The resolver inside. slirp4netns carries questions to it to a resolver of the machine, even to one on the machine's
/// loopback. It takes the third address of a network.
pub const RESOLVER_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 3);

/// The same resolver by IPv6.
pub const RESOLVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3);
