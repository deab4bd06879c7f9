//! The address of a request's client, also behind proxies.
//!
//! Owns the reading of `X-Forwarded-For`, `X-Forwarded-Proto` and `Forwarded` (RFC 7239).
//! Deliberately decides nothing by it: address and scheme are for logs, counting and words.

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};

use crate::app::Settings;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The address by which a client is counted; an extension of every request. A
/// client with IPv6 has at least a /64, so the rest of such an address is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

/// Finds the client of a request.
///
/// Each trusted proxy adds the address that it serves at the right end of the
/// field. Everything left of the first address that is not a trusted proxy's was
/// written by that client itself and is not read.
///
/// A proxy sets one of the two fields and may hand on what its client wrote into
/// the other. So if both are there and disagree, neither counts.
pub(crate) fn client(settings: &Settings, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
    let peer = peer.to_canonical();
    let by = |field: &HeaderName, read: fn(&[u8]) -> Option<IpAddr>| {
        let fields = headers.get_all(field).iter().rev();
        let hops = fields.flat_map(|field| field.as_bytes().rsplit(|byte| *byte == b','));
        headers.contains_key(field).then(|| first_stranger(settings, peer, hops.map(read)))
    };
    counted(match (by(&X_FORWARDED_FOR, read), by(&FORWARDED, forwarded)) {
        (Some(one), Some(other)) if one != other => peer,
        (Some(address), _) | (None, Some(address)) => address,
        (None, None) => peer,
    })
}

/// The scheme of the address that the client opened at the proxy: `http` or `https`. None if no
/// trusted proxy says it. For words to a person only.
pub(crate) fn scheme(settings: &Settings, peer: IpAddr, headers: &HeaderMap) -> Option<&'static str> {
    if !settings.is_trusted_proxy(peer.to_canonical()) {
        return None;
    }
    // The last one was written by the nearest proxy.
    let field = headers.get_all(X_FORWARDED_PROTO).iter().next_back()?.to_str().ok()?;
    match field.rsplit(',').next()?.trim() {
        "http" => Some("http"),
        "https" => Some("https"),
        _ => None,
    }
}

/// Follows hops from the nearest one while they are trusted proxies.
fn first_stranger(settings: &Settings, peer: IpAddr, mut hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
    let mut address = peer;
    while settings.is_trusted_proxy(address) {
        match hops.next().flatten() {
            Some(hop) => address = hop,
            None => break,
        }
    }
    address
}

/// The address by which this one is counted.
pub(crate) fn counted(address: IpAddr) -> ClientAddress {
    ClientAddress(match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    })
}

/// Reads an address, perhaps with a port.
fn read(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bare = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    bare.or_else(with_port).map(|address| address.to_canonical())
}

/// Reads the client in one element of `Forwarded`. Elements are read one by one:
/// what a client wrote into its own must not spoil those behind it.
fn forwarded(element: &[u8]) -> Option<IpAddr> {
    let element = rfc7239::parse(std::str::from_utf8(element).ok()?).next()?.ok()?;
    Some(element.forwarded_for?.ip()?.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let networks = ["10.0.0.0/8", "127.0.0.1/32", "fd00::/8"];
        let trusted_proxies = networks.iter().map(|network| network.parse().unwrap()).collect();
        Settings { trusted_proxies, ..Settings::default() }
    }

    #[test]
    fn the_last_address_that_is_no_trusted_proxys_counts() {
        let settings = settings();
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
            assert_eq!(found, ClientAddress(client.parse().unwrap()), "{peer} {fields:?}");
        }
    }

    #[test]
    fn a_scheme_is_the_word_of_a_trusted_proxy() {
        let settings = settings();
        for (peer, field, scheme) in [
            ("10.1.2.3", Some("https"), Some("https")),
            ("10.1.2.3", Some("https, http"), Some("http")),
            ("10.1.2.3", Some("\"><b>"), None),
            ("10.1.2.3", None, None),
            ("192.0.2.1", Some("https"), None),
        ] {
            let headers = field.iter().map(|field| (X_FORWARDED_PROTO, field.parse().unwrap())).collect();
            assert_eq!(super::scheme(&settings, peer.parse().unwrap(), &headers), scheme, "{peer} {field:?}");
        }
    }

    #[test]
    fn forwarded_is_read_as_well_and_a_field_of_the_clients_own_counts_for_nobody() {
        let settings = settings();
        for (peer, forwarded, x_forwarded_for, client) in [
            ("192.0.2.1", &["for=198.51.100.7"][..], None, "192.0.2.1"),
            ("10.1.2.3", &["for=198.51.100.7"], None, "198.51.100.7"),
            ("10.1.2.3", &["For=\"198.51.100.7:4711\";proto=https;by=10.1.2.3"], None, "198.51.100.7"),
            ("10.1.2.3", &["for=\"[2001:db8:1:2:3:4:5:6]:4711\";host=a"], None, "2001:db8:1:2::"),
            ("10.1.2.3", &["for=1.1.1.1, for=198.51.100.7, for=10.9.9.9"], None, "198.51.100.7"),
            ("10.1.2.3", &["for=1.1.1.1", "for=198.51.100.7"], None, "198.51.100.7"),
            // What the client wrote cannot swallow what the proxy added.
            ("10.1.2.3", &["for=\"1.1.1.1, for=198.51.100.7"], None, "198.51.100.7"),
            ("10.1.2.3", &["\u{e9}=;;, for=198.51.100.7"], None, "198.51.100.7"),
            ("10.1.2.3", &["for=unknown"], None, "10.1.2.3"),
            ("10.1.2.3", &["for=_hidden"], None, "10.1.2.3"),
            ("10.1.2.3", &["proto=https"], None, "10.1.2.3"),
            ("10.1.2.3", &["for=198.51.100.7"], Some("198.51.100.7"), "198.51.100.7"),
            ("10.1.2.3", &["for=1.1.1.1"], Some("198.51.100.7"), "10.1.2.3"),
        ] {
            let mut headers = HeaderMap::new();
            for field in forwarded {
                headers.append(FORWARDED, http::HeaderValue::from_bytes(field.as_bytes()).unwrap());
            }
            if let Some(field) = x_forwarded_for {
                headers.append(X_FORWARDED_FOR, field.parse().unwrap());
            }
            let found = super::client(&settings, peer.parse().unwrap(), &headers);
            assert_eq!(found, ClientAddress(client.parse().unwrap()), "{peer} {forwarded:?} {x_forwarded_for:?}");
        }
    }
}
