//! From the file of a plugin to a component that is linked and questioned.
//!
//! ```text
//! engine ─ compiled ─ work ══ native      (══ a process of its own, with bounds)
//!    └──── link ── plugin ── abilities
//!            └──── exports ────┘
//! ```
//!
//! | file | what it owns |
//! |---|---|
//! | `engine` | the order of the steps, and the plugins that are loaded |
//! | `compiled` | the directory of native code |
//! | `work` | processes with bounds on time and memory |
//! | `native` | the engine's configuration, and compiling |
//! | `link` | what a plugin may import and must export |
//! | `exports` | where a plugin's exports are; the optional ones are looked for one by one |
//! | `abilities` | what a sandbox provider can do |
//! | `plugin` | what a plugin says about itself |
//! | `error` | why a plugin cannot be used |

mod abilities;
mod compiled;
pub(crate) mod engine;
pub(crate) mod error;
pub(crate) mod exports;
mod link;
mod native;
pub(crate) mod plugin;
pub mod work;
