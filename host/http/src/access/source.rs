//! What a request comes from.
//!
//! Deliberately decides nothing; `guard` finds it out.

/// What a request comes from, as far as its browser says; an extension of every
/// request that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestSource {
    /// One of the broker's own pages: the request names its origin.
    Own,
    /// The broker's own page, a person's own doing, or no browser: the request names
    /// no origin.
    Quiet,
    /// The page of `server.frontend_url`.
    Frontend,
    /// A link on a page of another site, which a person followed.
    Link,
}
