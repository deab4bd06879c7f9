//! The terminal that the program was started in.
//!
//! Owns its raw mode and that it is given back as it was, whatever ends the
//! program but SIGKILL. Deliberately knows no session.

use std::io::{IsTerminal as _, stderr, stdin, stdout};
use std::sync::{Mutex, Once, PoisonError};

use anyhow::Context as _;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::modes;
use sandbox_broker_core::words::misleads;
use sandbox_broker_terminal::level1::Cells;

/// Longest side of a terminal that the protocol knows.
const MAX_SIDE: u16 = 1000;

/// How the terminal was, while it is raw. Global, because a panic gives it
/// back, too.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Standard input in raw mode, until this is dropped.
pub(super) struct Raw(());

impl Raw {
    /// None where standard input is no terminal.
    pub(super) fn enter() -> anyhow::Result<Option<Self>> {
        if !stdin().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(stdin()).context("cannot read the terminal's mode")?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                if is_raw() && shows() {
                    // What is on is not known here, and standard output's lock may be held.
                    let _ = rustix::io::write(stdout(), modes::ANYTHING.as_bytes());
                }
                restore();
                previous(panic);
            }));
        });
        let raw = Raw(());
        raw.again()?;
        Ok(Some(raw))
    }

    /// Enters raw mode again, after the program was stopped: the shell that it
    /// was started in has taken it back.
    pub(super) fn again(&self) -> anyhow::Result<()> {
        let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(mut mode) = before else { return Ok(()) };
        mode.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &mode).context("cannot set the terminal's mode")
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Flushed: what the session had asked for, such as reports of the mouse
        // and of keys that are let go, is no input of the shell. A terminal that is
        // gone needs nothing any more.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &before);
    }
}

/// Whether the terminal is raw, in which a line feed alone does not return.
pub(super) fn is_raw() -> bool {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// The size of the terminal on which output is shown; none where it is shown
/// on none.
pub(super) fn size() -> Option<Cells> {
    let size = tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stdin())).ok()?;
    let side = |cells: u16| (cells > 0).then_some(cells.min(MAX_SIDE));
    Some(Cells { cols: side(size.ws_col)?, rows: side(size.ws_row)? })
}

/// Whether output is shown on a terminal.
pub(super) fn shows() -> bool {
    stdout().is_terminal()
}

/// Tells the person something about the connection, on standard error.
pub(super) fn say(what: &str) {
    let what: String = what.replace(misleads, "?");
    if is_raw() && stderr().is_terminal() {
        // Beside what the shell has left in the line.
        eprint!("\r\n[{what}]\r\n");
    } else {
        eprintln!("[{what}]");
    }
}
