//! Operations of the ports as calls into a plugin.
//!
//! | file | what it owns |
//! |---|---|
//! | `caller` | a call into the plugin of one section: its Store, its deadline, the words for a plugin that was stopped |
//! | `provider` | which export serves which method of the sandbox port |
//! | `mounter` | which export serves which method of the storage port |
//! | `process` | terminals and processes, which outlive a call |
//! | `transfer` | downloads and uploads, which outlive one too |
//! | `service` | the task and the Store of what outlives a call |
//! | `trace` | what finds a call in a provider's logs |

pub(crate) mod caller;
pub(crate) mod mounter;
mod process;
pub(crate) mod provider;
mod service;
mod trace;
mod transfer;
