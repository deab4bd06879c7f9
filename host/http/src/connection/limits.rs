//! The bounds of a connection, and of a request's head.

use std::time::Duration;

/// Bounds of what a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections, terminals included. More wait in the listener's backlog.
    /// At 16 to 64 KiB for an idle one this is at most 256 MiB. Strangers may have
    /// three quarters of them.
    pub connections: usize,
    /// Open connections of one address on which nobody was let in yet. A hundred
    /// browsers behind one address have fewer. Connections of a trusted proxy are
    /// not counted.
    pub of_one: usize,
    /// Time for a request's head. It counts from the opening of the connection for
    /// the first request, and from the first byte for a later one. With the second
    /// that a closing connection lingers, a slow handshake is gone within 10 s.
    pub head: Duration,
    /// Time that a connection may wait for its next request. It is longer than
    /// proxies keep an unused connection: 60 s in nginx and in balancers of AWS,
    /// 120 s in Caddy, 600 s in balancers of Google. If the broker closed first, a
    /// proxy could be sending at that moment and would answer 502.
    pub idle: Duration,
    /// Time for one exchange over plain HTTP after its head. It does not count for
    /// a connection that became a terminal, and a `Transfer` may go on.
    pub exchange: Duration,
    /// Time for the peer to take the last answer, after [`Limits::exchange`] or when
    /// the broker stops.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 4096,
            of_one: 1024,
            head: Duration::from_secs(8),
            idle: Duration::from_secs(620),
            exchange: Duration::from_secs(60),
            stop: Duration::from_secs(10),
        }
    }
}

/// Bytes of a request's head, at most. Browsers send 1 to 2 KiB, and 20 KiB more
/// of cookies if other servers of the same site have set many. The usual proxies
/// let as much through.
pub(super) const MAX_HEAD: usize = 32 * 1024;

/// Fields of a request's head, at most. Browsers send about 20, and a chain of
/// proxies adds some.
pub(super) const MAX_FIELDS: usize = 128;

/// The words of a 431.
pub(crate) fn head_too_large() -> String {
    format!(
        "the request's head has more than {} KiB or {MAX_FIELDS} fields; cookies of the whole site are the usual cause: \
         delete those of this address and of the domains above it",
        MAX_HEAD / 1024
    )
}
