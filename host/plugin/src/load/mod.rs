//! From the file of a plugin to a component that is linked and questioned.
//!
//! ```text
//! engine ─ compiled ─ work ══ native      (══ a process of its own, with bounds)
//!    └──── link ── plugin
//! ```
//!
//! | file | what it owns |
//! |---|---|
//! | `engine` | the order of the steps, and the plugins that are loaded |
//! | `compiled` | the directory of native code |
//! | `work` | processes with bounds on time and memory |
//! | `native` | the engine's configuration, and compiling |
//! | `link` | what a plugin may import and must export |
//! | `plugin` | what a plugin says about itself |
//! | `error` | why a plugin cannot be used |

mod compiled;
pub(crate) mod engine;
pub(crate) mod error;
mod link;
mod native;
pub(crate) mod plugin;
pub mod work;
