//! The sandbox broker as a library: a terminal in a sandbox of any provider.
//!
//! Where does a byte go that somebody types in a browser?
//!
//! | step | place | what happens | bound, failure |
//! |---|---|---|---|
//! | 1 | `terminal` inbound pump | reads a WebSocket message | frame size; 1009 beyond it |
//! | 2 | `terminal` frames | decodes, a total function | a bad frame → `error`, the terminal lives on |
//! | 3 | `session` handle | puts it into the session's mailbox | full → this socket waits |
//! | 4 | `session` driver, state | legal now? → effect *write* | input before the shell is kept, bounded |
//! | 5 | `core` port | a pipe of `PIPE_CHUNKS` chunks | full → backpressure to 3 |
//! | 6 | `plugin` streams | fills the guest's read of `stream<u8>` | zero-length reads, `finish` |
//! | 7 | `plugins/e2b` | sends it to the sandbox over `wasi:http` | outcome on a future beside the stream |
//! | 8 | `plugins/e2b` | writes output to its `stream<u8>` | |
//! | 9 | `plugin` streams | takes at most `CHUNK_BYTES` per poll | a guest cannot size our memory |
//! | 10 | `session` log | appends, numbers, wakes readers | `WINDOW`; then the shell waits, or who is behind reads the recorder |
//! | 11 | `terminal` outbound pump | reads from its own offset, joins, sends | a slow browser lags alone |
//!
//! In a session of level 1 the recorder stands between step 7 and the shell, and between the shell and step 8. The crate
//! `session` speaks with it.
//!
//! `terminal`, `session` and `plugin` are crates of their own, and so are `config`, `journal` and `http`. Cargo keeps their
//! dependencies in one direction:
//!
//! ```text
//! main → cli → broker ─┬→ http → terminal → session → journal ─┬→ core
//!                      └→ plugin → config ─────────────────────┘
//! ```
//!
//! This crate has what joins them:
//!
//! | module | what it owns |
//! |---|---|
//! | [`broker`] | start, reload and shutdown |
//! | [`cli`] | the commands |
//! | [`embedded`] | the broker's own `sandboxd` |
//! | [`heap`] | giving memory back to the system |

pub mod broker;
pub mod cli;
pub mod embedded;
pub mod heap;
