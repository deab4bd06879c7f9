//! The composition root: what the broker is made of, how it starts, reloads and shuts down. The only module that sees all
//! crates; deliberately holds no policy of its own.
//!
//! ```text
//! surroundings ─► loader ─► Checked ─► providers, blueprint ─► running (start, shut down)
//!                                                  ▲                │
//!                                                  └── reload ◄─────┘ files change, or a person asks
//! ```
//!
//! | file | what it owns |
//! |---|---|
//! | `surroundings` | where the files are |
//! | `loader` | a configuration of which every part was checked, plugins included |
//! | `warnings` | what is unwise on this machine |
//! | `providers` | providers and mounts as configured, and the embedded server that one of them needs |
//! | `blueprint` | what sessions are made of, and what the HTTP front end is told |
//! | `running` | start and shutdown, each one function that reads from top to bottom |
//! | `reload` | following changes: build and check everything new, then swap once |
//! | `inherit` | what an earlier broker left |
//! | `home` | the state directory |
//! | `sign_ins` | joins the front end's sign-ins with the journal |
//! | `desk`, `trial` | mounts and providers for commands, without a broker that serves |

mod blueprint;
mod desk;
mod home;
mod inherit;
mod loader;
mod providers;
mod reload;
mod running;
mod sign_ins;
mod surroundings;
mod trial;
mod warnings;

pub use desk::Desk;
pub use loader::{Checked, Loader};
pub use reload::Relog;
pub use running::Broker;
pub use surroundings::Surroundings;
pub use trial::Trial;
