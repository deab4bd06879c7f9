//! Who may ask: pages by their origin, people by their credentials.
//!
//! Owns both decisions. Deliberately does not know what is asked.
//!
//! | file | what it is |
//! |---|---|
//! | `origin` | which hosts and origins are the broker's |
//! | `source` | what a request comes from, as far as its browser says |
//! | `guard` | refuses requests of foreign pages |
//! | `proxy` | the client's address behind proxies |
//! | `auth/` | tokens, sign-ins and tickets |

pub(crate) mod auth;
pub(crate) mod guard;
pub(crate) mod origin;
pub(crate) mod proxy;
pub(crate) mod source;
