//! What happens on this side: keys and signals.
//!
//! Owns what was typed and not sent yet. Deliberately knows no session.

use std::io::{IsTerminal as _, stdin};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::key::{DetachKey, Finder};
use super::tty::Raw;

/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;

/// Bytes that may wait to be sent. More are read from a terminal, so that the
/// detach key is seen behind a long pasted text.
const MAX_PASTED: usize = 1 << 20;
const MAX_PIPED: usize = 64 * 1024;

/// What happened on this side.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// There is more in [`Local::typed`], or input has ended.
    Typed,
    /// The detach key was typed.
    Detach,
    /// A signal came that ends the program.
    Signal(i32),
    /// The terminal may have another size.
    Resized,
}

pub(super) struct Local {
    /// Whether a person types.
    pub(super) is_tty: bool,
    pub(super) key: DetachKey,
    finder: Finder,
    /// When a part of a key is passed on as it is.
    held_until: Option<Instant>,
    /// Input that was typed and is not sent.
    pub(super) typed: BytesMut,
    /// Bytes that a person typed without effect.
    pub(super) discarded: usize,
    /// Input has ended.
    pub(super) over: bool,
    raw: Option<Raw>,
    keys: mpsc::Receiver<Bytes>,
    _reader: AbortOnDropHandle<()>,
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    window: Signal,
    resumed: Signal,
}

impl Local {
    /// Begins to listen.
    pub(super) fn listen(key: DetachKey) -> anyhow::Result<Self> {
        let (to, keys) = mpsc::channel(1);
        Ok(Local {
            is_tty: stdin().is_terminal(),
            key,
            finder: Finder::new(key),
            held_until: None,
            typed: BytesMut::new(),
            discarded: 0,
            over: false,
            raw: None,
            keys,
            _reader: AbortOnDropHandle::new(tokio::spawn(read(to))),
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            window: signal(SignalKind::window_change())?,
            resumed: signal(SignalKind::from_raw(libc::SIGCONT))?,
        })
    }

    /// Takes over every key until this is dropped.
    pub(super) fn go_raw(&mut self) -> anyhow::Result<()> {
        if self.raw.is_none() {
            self.raw = Raw::enter()?;
        }
        Ok(())
    }

    /// Waits for what happens next. Reads a terminal always, a pipe only while its
    /// input is `wanted`. Cancel-safe.
    pub(super) async fn hear(&mut self, wanted: bool) -> Heard {
        let room = if self.is_tty { self.typed.len() < MAX_PASTED } else { wanted && self.typed.len() < MAX_PIPED };
        tokio::select! {
            keys = self.keys.recv(), if room && !self.over => self.take(keys),
            () = until(self.held_until) => {
                self.held_until = None;
                self.finder.release(&mut self.typed);
                Heard::Typed
            }
            _ = self.hangup.recv() => Heard::Signal(libc::SIGHUP),
            _ = self.interrupt.recv() => Heard::Signal(libc::SIGINT),
            _ = self.quit.recv() => Heard::Signal(libc::SIGQUIT),
            _ = self.terminate.recv() => Heard::Signal(libc::SIGTERM),
            _ = self.window.recv() => Heard::Resized,
            _ = self.resumed.recv() => {
                if let Some(raw) = &self.raw {
                    // A terminal that is gone ends this program by a signal.
                    let _ = raw.again();
                }
                Heard::Resized
            }
        }
    }

    /// Throws away what a person typed. Input from a pipe stays.
    pub(super) fn discard(&mut self) {
        if self.is_tty {
            self.discarded += self.typed.len();
            self.typed.clear();
        }
    }

    fn take(&mut self, keys: Option<Bytes>) -> Heard {
        let Some(keys) = keys else {
            self.finder.release(&mut self.typed);
            self.over = true;
            return Heard::Typed;
        };
        if !self.is_tty {
            self.typed.extend_from_slice(&keys);
            return Heard::Typed;
        }
        if self.finder.take(&keys, &mut self.typed) {
            return Heard::Detach;
        }
        self.held_until = self.finder.waits().map(|wait| Instant::now() + wait);
        Heard::Typed
    }
}

/// Waits until `then`, or for ever.
async fn until(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}

/// Reads standard input to its end. An error is an end, too: a terminal that
/// hung up gives one.
async fn read(to: mpsc::Sender<Bytes>) {
    let mut stdin = tokio::io::stdin();
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        match stdin.read_buf(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if to.send(chunk.freeze()).await.is_err() {
                    return;
                }
            }
        }
    }
}
