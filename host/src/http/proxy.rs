//! Whose request it is where proxies stand before the broker.
//!
//! Owns the reading of `X-Forwarded-For`. Deliberately decides nothing by it:
//! the address is for logs and for counting.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};

use super::Settings;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address by which whoever sent a request is counted; an extension of
/// every request. A person with IPv6 has at least a /64 of it, so the rest of
/// such an address is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client(pub(super) IpAddr);

/// Each trusted proxy says whom it serves, at the right end of the field. What
/// stands left of the first address that is no trusted proxy's is that
/// client's own word, and is not read.
pub(super) fn client(settings: &Settings, peer: IpAddr, headers: &HeaderMap) -> Client {
    let mut address = peer.to_canonical();
    let fields = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let mut hops = fields.flat_map(|field| field.as_bytes().rsplit(|byte| *byte == b','));
    while settings.is_trusted_proxy(address) {
        match hops.next().and_then(read) {
            Some(hop) => address = hop,
            None => break,
        }
    }
    counted(address)
}

/// The address by which this one is counted.
pub(super) fn counted(address: IpAddr) -> Client {
    Client(match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    })
}

/// An address, perhaps with a port.
fn read(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bare = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    bare.or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_address_that_is_no_trusted_proxys_counts() {
        let networks = ["10.0.0.0/8", "127.0.0.1/32", "fd00::/8"];
        let trusted_proxies = networks.iter().map(|network| network.parse().unwrap()).collect();
        let settings = Settings { trusted_proxies, ..Settings::default() };
        for (peer, fields, client) in [
            // Nobody else's word counts.
            ("192.0.2.1", &["198.51.100.7"][..], "192.0.2.1"),
            ("10.1.2.3", &["198.51.100.7"], "198.51.100.7"),
            ("::ffff:10.1.2.3", &["::ffff:198.51.100.7"], "198.51.100.7"),
            ("10.1.2.3", &["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
            ("10.1.2.3", &["1.1.1.1", "198.51.100.7, 10.9.9.9"], "198.51.100.7"),
            ("127.0.0.1", &["198.51.100.7:4711"], "198.51.100.7"),
            ("127.0.0.1", &["[2001:db8:1:2:3:4:5:6]:4711"], "2001:db8:1:2::"),
            ("127.0.0.1", &["[2001:db8:1:2:3:4:5:6]"], "2001:db8:1:2::"),
            ("fd00::1", &["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::"),
            // A proxy that says nothing, or nonsense, is the client.
            ("10.1.2.3", &[], "10.1.2.3"),
            ("10.1.2.3", &["unknown"], "10.1.2.3"),
            ("10.1.2.3", &["198.51.100.7, nonsense"], "10.1.2.3"),
            ("10.1.2.3", &["10.4.4.4"], "10.4.4.4"),
        ] {
            let headers = fields.iter().map(|field| (X_FORWARDED_FOR, field.parse().unwrap())).collect();
            let found = super::client(&settings, peer.parse().unwrap(), &headers);
            assert_eq!(found, Client(client.parse().unwrap()), "{peer} {fields:?}");
        }
    }
}
