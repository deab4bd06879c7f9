//! The resolver that a sandbox with a network of its own asks.

use std::net::IpAddr;

use sandboxd_init::addresses::{RESOLVER_V4, RESOLVER_V6};

/// The content of `/etc/resolv.conf` inside an isolated network, made from that of the machine.
pub(crate) fn resolver(host: &str) -> String {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let servers: Vec<IpAddr> = host
        .lines()
        .map(words)
        .filter(|words| words.first().is_some_and(|key| key == "nameserver"))
        .filter_map(|words| words.get(1)?.split('%').next()?.parse().ok())
        .collect();
    let server = match servers.iter().any(IpAddr::is_ipv4) {
        true => format!("nameserver {RESOLVER_V4}\n"),
        false if servers.is_empty() => String::new(),
        false => format!("nameserver {RESOLVER_V6}\n"),
    };
    let kept = |line: &&str| ["search ", "domain ", "options "].iter().any(|key| line.starts_with(key));
    host.lines().filter(kept).fold(server, |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: whatever resolvers the machine has, a sandbox asks the one address that slirp4netns carries to them.
    #[test]
    fn the_resolver_is_the_one_that_is_carried() {
        let v4 = "nameserver 203.0.113.3\n";
        assert_eq!(
            resolver("# x\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch a.b\n"),
            format!("{v4}options edns0 trust-ad\nsearch a.b\n")
        );
        assert_eq!(resolver("nameserver ::1\nnameserver 10.0.0.1\n"), v4);
        assert_eq!(resolver("nameserver fe80::1%eth0\n"), "nameserver fd00::3\n");
        assert_eq!(resolver(""), "");
    }
}
