//! Who may use the broker: tokens, the sign-in of the page, and tickets.
//!
//! Owns the check of credentials. Deliberately knows no session, and no route
//! but those that sign in and out and the one that a ticket opens. All other
//! credentials are worth the same: everything.
//!
//! | credential | counts for |
//! |---|---|
//! | a token | every request |
//! | the cookie of a sign-in | requests of the broker's own pages |
//! | a ticket | one terminal |
//!
//! | file | what it is |
//! |---|---|
//! | `credential` | random credentials, and what is kept of them |
//! | `pass` | how a request was let in |
//! | `store` | the port to where sign-ins outlive the process |
//! | `tables` | sign-ins, tickets and wrong tokens, bounded |
//! | `cookie` | the cookie of a sign-in |
//! | `authority` | judges credentials, and issues and revokes them |
//! | `layer` | lets requests in or refuses them |
//! | `refusal` | the answers of those who are not let in |
//! | `routes` | signing in and out, and tickets |

mod authority;
mod cookie;
mod credential;
pub(crate) mod layer;
mod pass;
mod refusal;
pub(crate) mod routes;
mod store;
mod tables;

pub(crate) use authority::Auth;
pub use credential::{Digested, Token};
pub(crate) use pass::Pass;
pub use store::{SignIn, SignInStore};
