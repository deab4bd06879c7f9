//! The terminal that the program was started in.
//!
//! Owns its raw mode, and restores the terminal whatever ends the program but
//! SIGKILL. Deliberately knows no session.

use std::io::{IsTerminal as _, stderr, stdin, stdout};
use std::sync::{Mutex, Once};

use anyhow::Context as _;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::modes;
use sandbox_broker_core::sandbox::Size;
use sandbox_stdx::lock::lock;
use sandbox_stdx::words::misleads;

/// The terminal's mode before it became raw. Global, because a panic restores it
/// as well.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Keeps standard input in raw mode until it is dropped.
pub(super) struct Raw(());

impl Raw {
    /// Enters raw mode. None if standard input is no terminal.
    pub(super) fn enter() -> anyhow::Result<Option<Self>> {
        if !stdin().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(stdin()).context("cannot read the terminal's mode")?;
        *lock(&BEFORE) = Some(before);
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                if is_raw() && shows() {
                    // It is not known here what is on, and somebody may hold standard output's lock.
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

    /// Enters raw mode again after the program was stopped: the local shell has set
    /// its own mode meanwhile.
    pub(super) fn again(&self) -> anyhow::Result<()> {
        let before = lock(&BEFORE).clone();
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
    if let Some(before) = lock(&BEFORE).take() {
        // Flush: reports of the mouse or of released keys, which the session asked
        // for, are no input for the local shell. A terminal that is gone needs nothing.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &before);
    }
}

/// Whether the terminal is raw. A line feed does not return the carriage then.
pub(super) fn is_raw() -> bool {
    lock(&BEFORE).is_some()
}

/// The size of the terminal that shows the output; none if none does.
pub(super) fn size() -> Option<Size> {
    let size = tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stdin())).ok()?;
    Size::new(size.ws_col.min(Size::MAX).into(), size.ws_row.min(Size::MAX).into())
}

/// Whether output is shown on a terminal.
pub(super) fn shows() -> bool {
    stdout().is_terminal()
}

/// Prints why the program fails, in the form of every command.
pub(super) fn fail(why: &str) {
    eprintln!("broker: {}", why.replace(|c: char| c != '\n' && misleads(c), "?"));
}

/// Tells the person something about the connection on standard error.
pub(super) fn say(what: &str) {
    let what: String = what.replace(misleads, "?");
    if is_raw() && stderr().is_terminal() {
        // Not in the line where the shell's output stopped.
        eprint!("\r\n[{what}]\r\n");
    } else {
        eprintln!("[{what}]");
    }
}
