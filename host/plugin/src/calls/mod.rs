//! Operations of the ports as calls into a plugin.
//!
//! | file | what it owns |
//! |---|---|
//! | `caller` | a call into the plugin of one section: its Store, its deadline, the words for a plugin that was stopped |
//! | `provider` | which export serves which method of the sandbox port |
//! | `mounter` | which export serves which method of the storage port |
//! | `service` | what outlives a call: terminals, processes, downloads, uploads |
//! | `streams` | pipes between Tokio's channels and the component model's streams |

pub(crate) mod caller;
pub(crate) mod mounter;
pub(crate) mod provider;
mod service;
mod streams;
