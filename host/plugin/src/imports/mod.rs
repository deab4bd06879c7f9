//! What a plugin may import: one file for each capability.
//!
//! Each file has the same three parts, as the factors of Spin have: a *view*, which is all that the capability sees of
//! a Store; a trait by which a Store lends that view; and `link`, which adds the capability to a linker of any Store
//! that lends it. So each can be linked and tested without the others, and none reaches another's data.
//!
//! | file | interface of the contract | what it guards |
//! |---|---|---|
//! | `secrets` | `secrets` | which secrets a plugin may sign with or see |
//! | `cache` | `cache` | how much a section keeps from call to call, and that no other section sees it |
//! | `log` | `log` | how much a section's plugin may log, and that a line stays one line |
//! | `progress` | `progress` | that a report stays one short line |
//! | `http` | `wasi:http`, `wasi:clocks` | requests leave only through the section's sender |
//! | `net` | `net` | the same, and that bytes flow without the guest |
//! | `request`, `rpc` | parts of `net` | the bounds of what a guest describes |
//! | `wasi` | `wasi:random`, and none: `wasi:*@0.2`, which runtimes of languages ask for | that they grant nothing, and how much is printed |

pub(crate) mod cache;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod net;
pub(crate) mod progress;
mod request;
mod rpc;
pub(crate) mod secrets;
pub(crate) mod wasi;
