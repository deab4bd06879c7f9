//! Secrets of plugins, which no plugin sees.
//!
//! Owns which secret goes to which place, how a request carries it, and how an answer is known that repeats one. Deliberately sends no
//! request and knows no plugin.
//!
//! | file | what it owns |
//! |---|---|
//! | `keyring` | the values, over reloads of the configuration |
//! | `credentials` | how a request carries a secret |
//! | `aws` | signatures with a key of AWS |
//! | `azure` | signatures and tokens with a key of Azure |
//! | `jwt` | signed tokens |
//! | `reflection` | answers that repeat a secret |

mod aws;
mod azure;
mod credentials;
mod jwt;
mod keyring;
mod reflection;

pub use aws::hash;
pub use azure::ServiceSas;
pub use credentials::{Payload, add};
pub use keyring::{Carried, Keyring, Secrets};
pub use reflection::{Reflected, Search};
