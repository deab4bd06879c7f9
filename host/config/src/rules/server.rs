//! `[server]` and `[auth]`: where the broker listens, who may come, and what is unwise about it. Owns these rules;
//! deliberately knows no other section.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use super::findings::Rules;
use crate::origin::Origin;
use crate::raw;
use crate::types::{Auth, Server, Token};
use crate::value;

/// The origins under which people reach the broker, each with its pointer.
fn public_urls(server: &raw::Server) -> impl Iterator<Item = (String, Origin)> {
    let first = server.public_url.iter().map(|url| ("/server/public_url".to_owned(), url));
    let more = server.public_urls.iter().enumerate();
    let more = more.map(|(i, url)| (format!("/server/public_urls/{i}"), url));
    first.chain(more).filter_map(|(pointer, url)| Some((pointer, Origin::parse(url)?)))
}

impl Rules<'_> {
    pub(super) fn auth(&mut self, auth: Option<raw::Auth>) -> Option<Auth> {
        let mut tokens = Vec::new();
        for (i, token) in auth?.tokens.into_iter().enumerate() {
            let (Some(name), Some(sha256)) = (token.name, token.sha256.as_deref().and_then(value::sha256)) else {
                continue;
            };
            if tokens.iter().any(|known: &Token| known.name == name) {
                self.mistake(
                    &format!("/auth/tokens/{i}/name"),
                    "found the name of another token, expected a name of its own",
                );
            }
            tokens.push(Token { name, sha256 });
        }
        Some(Auth { tokens })
    }

    pub(super) fn server(&mut self, server: raw::Server, auth: bool) -> Server {
        let loopback = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
        let listen = server.listen.parse().unwrap_or(loopback);
        if !listen.ip().to_canonical().is_loopback() && !auth && !self.is_wrong("/auth") {
            self.mistake(
                "/server/listen",
                "found an address beyond loopback, where anybody could open a terminal, expected a loopback address \
                 such as \"127.0.0.1:3000\", or an [auth] section with a token (make one with `broker token`)",
            );
        }
        self.warn_of_openness(&server, listen, auth);
        Server {
            listen,
            frontend_url: server.frontend_url.as_deref().and_then(Origin::parse),
            public_urls: public_urls(&server).map(|(_, url)| url).collect(),
            trusted_proxies: server.trusted_proxies.iter().filter_map(|text| value::network(text)).collect(),
            log: server.log,
        }
    }

    /// Warns of what is unwise when others can reach the broker, at its own address or at that of a proxy in front of it.
    pub(super) fn warn_of_openness(&mut self, server: &raw::Server, listen: SocketAddr, auth: bool) {
        let public = || public_urls(server).filter(|(_, url)| !url.is_loopback());
        let beyond = !listen.ip().to_canonical().is_loopback();
        let in_the_clear = "tokens, and all that is typed, go over plain http, where others can read them; put a \
                            proxy with TLS before the broker and its https address into public_url";
        for (pointer, url) in public() {
            if !auth {
                self.warning(
                    &pointer,
                    format!("there is no [auth]: everybody who reaches {url} can open a terminal, unless a proxy asks who they are"),
                );
            } else if !url.is_secure() {
                self.warning(&pointer, in_the_clear);
            }
        }
        if beyond && auth && public().next().is_none() {
            self.warning("/server/listen", in_the_clear);
        }
    }
}
