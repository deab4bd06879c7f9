//! The sandbox broker as a library: a terminal in a sandbox of any provider.
//!
//! Where does a byte go that somebody types in a browser?
//!
//! | step | place | what happens | bound, failure |
//! |---|---|---|---|
//! | 1 | [`terminal`] inbound pump | reads a WebSocket message | frame size; 1009 beyond it |
//! | 2 | [`terminal`] frames | decodes, a total function | a bad frame → `error`, the terminal lives on |
//! | 3 | [`session`] handle | puts it into the session's mailbox | full → this socket waits |
//! | 4 | [`session`] driver, state | legal now? → effect *write* | input before the shell is kept, bounded |
//! | 5 | [`sandbox`] port | a pipe of [`sandbox::PIPE_CHUNKS`] chunks | full → backpressure to 3 |
//! | 6 | [`plugin`] streams | fills the guest's read of `stream<u8>` | zero-length reads, `finish` |
//! | 7 | `plugins/e2b` | sends it to the sandbox over `wasi:http` | outcome on a future beside the stream |
//! | 8 | `plugins/e2b` | writes output to its `stream<u8>` | |
//! | 9 | [`plugin`] streams | takes at most [`sandbox::CHUNK_BYTES`] per poll | a guest cannot size our memory |
//! | 10 | [`session`] log | appends, numbers, wakes readers | [`session::WINDOW`]; then the shell waits, or who is behind reads the recorder |
//! | 11 | [`terminal`] outbound pump | reads from its own offset, joins, sends | a slow browser lags alone |
//!
//! In a session of level 1 the recorder stands between 7 and the shell, and
//! between the shell and 8: [`session`] tape speaks with it.
//!
//! Dependencies point one way, checked by `cargo xtask tidy`:
//! `main → cli → broker → {terminal, http, plugin, config} → session → {storage, sandbox, journal}`.

pub mod broker;
pub mod cli;
pub mod embedded;
pub mod heap;
