//! Hosts and addresses of requests.
//!
//! Owns how a host is written for comparison, and the special ranges of addresses. Deliberately knows no grant; what
//! follows from the kind of an address is decided by the connector.

use std::net::IpAddr;

/// Addresses at which clouds give a machine its credentials: 169.254/16, fe80::/10, and single addresses of some clouds.
/// They are never granted.
pub(super) fn is_metadata(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        // Azure, Alibaba Cloud, Oracle Cloud.
        IpAddr::V4(v4) => {
            v4.is_link_local() || [[168, 63, 129, 16], [100, 100, 100, 200], [192, 0, 0, 192]].contains(&v4.octets())
        }
        // fd00:ec2::/32 of AWS, and Google Cloud.
        IpAddr::V6(v6) => {
            let s = v6.segments();
            v6.is_unicast_link_local() || s[..2] == [0xfd00, 0xec2] || s == [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]
        }
    }
}

/// A host as grants are compared: lower case, IPv6 without brackets.
pub(super) fn plain_host(host: &str) -> String {
    host.trim_matches(['[', ']']).to_ascii_lowercase()
}

/// RFC 1918, RFC 4193 and shared address space (RFC 6598).
pub(super) fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// An address that can be reached from anywhere: in none of the special ranges of RFC 6890.
pub(super) fn is_global(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    if is_metadata(ip) || is_private(ip) || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
        return false;
    }
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(a == 0
                || a >= 240
                || v4.is_documentation()
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && b & 0xfe == 18))
        }
        // 64:ff9b::/96 and 2002::/16 carry an IPv4 address of any kind.
        IpAddr::V6(v6) => {
            let s = v6.segments();
            !((s[0] == 0x64 && s[1] == 0xff9b) || s[0] == 0x2002 || (s[0] == 0x2001 && s[1] == 0xdb8))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_metadata_services_are_private() {
        for ip in ["fd00:ec3::254", "fd20:ce::255", "100.100.100.201"] {
            assert!(!is_metadata(ip.parse().unwrap()) && is_private(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn special_addresses_are_not_global() {
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "198.18.0.1",
            "192.0.2.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
        ] {
            assert!(!is_global(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "172.32.0.1", "100.128.0.1"] {
            assert!(is_global(ip.parse().unwrap()), "{ip}");
        }
    }
}
