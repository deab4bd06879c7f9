//! `broker.toml`: read, checked, and watched for changes. The only crate that knows TOML.
//!
//! Owns the way from text to an immutable [`Config`], every mistake in words and in its place, the schema for editors, and
//! the watch over files. Deliberately knows no plugin: what a plugin says about its own section comes in as a schema, and
//! [`Config::mistake_at`] places its words.
//!
//! ```text
//! text ─ document ─ JSON + positions ─ check ─ types right ─ rules ─ Config
//!        (TOML, references)            (schema of raw)      (over several keys)
//! ```
//!
//! Each step reports all mistakes that it finds and takes the wrong values out, so that the next step can check the rest.
//!
//! | file | what it owns |
//! |---|---|
//! | `load` | the order of the steps |
//! | `document`, `interpolate` | TOML with positions, and the references in it |
//! | `raw`, `schema` | every key with its type and default, and the JSON Schema of that |
//! | `value`, `origin`, `egress` | what the text of one value may be |
//! | `binding` | what a secret may be used for |
//! | `tls` | files with certificates and keys |
//! | `check` | a value against a JSON Schema |
//! | `rules/` | rules over several keys, and bounds |
//! | `config`, `types` | the outcome, which the rest of the broker reads |
//! | `settings`, `user` | a provider's own settings, and each person's |
//! | `live` | what cannot change while the broker runs |
//! | `mistake` | what a mistake is and how it is shown |
//! | `watch`, `fingerprint` | that files change, and whether they did |

mod binding;
mod check;
mod config;
mod document;
mod egress;
mod fingerprint;
mod interpolate;
mod live;
mod load;
mod mistake;
mod origin;
mod raw;
mod rules;
mod schema;
mod settings;
mod tls;
mod types;
mod user;
mod value;
mod watch;

#[cfg(test)]
mod tests;

pub use binding::{Algorithm, Binding, BoundSecret, Carry, Jwt, SasBounds, Sigv4};
pub use config::Config;
pub use egress::{EgressGrant, HostPattern, Scheme};
pub use fingerprint::Fingerprint;
pub use interpolate::{Environment, MAX_REFERENCED_BYTES};
pub use load::{MAX_BYTES, again, load, parse};
pub use mistake::{Mistake, Mistakes, Position};
pub use origin::Origin;
pub use schema::schema;
pub use settings::trial;
pub use tls::Tls;
pub use types::{Auth, Embedded, Kind, Mount, PluginLimits, PluginSource, Provider, Sandbox, Server, Token, Use};
pub use user::settings_of;
pub use watch::Watcher;
