//! The terminal in the sandbox, and the program on it.
//!
//! Owns how both are made, and how the end of the program is reported. Does not wait: the daemon polls.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};

use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::pty::OpenptFlags;
use rustix::termios::{InputModes, OptionalActions, Winsize};
use sandbox_recorder::wire::Size;

/// A terminal and the program that was started on it.
pub(crate) struct Terminal {
    /// The broker's side; never blocks.
    pub(crate) master: OwnedFd,
    /// The program's side. It stays open while the program lives, so that the terminal survives a program that closes
    /// it for a while.
    pub(crate) slave: Option<OwnedFd>,
}

/// The program on a terminal: its process, and a descriptor that reports its end.
pub(crate) struct Shell {
    child: Child,
    /// Readable once the program has ended.
    pub(crate) ended: OwnedFd,
}

/// How a program ended, as in [`sandbox_recorder::wire::ToBroker::Exit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: i32,
    pub(crate) signal: u32,
}

impl Exit {
    /// Packs this into one number that is not 0.
    pub(crate) fn pack(self) -> u64 {
        1 << 63 | u64::from(self.signal & 0x7fff_ffff) << 32 | u64::from(self.code.cast_unsigned())
    }

    /// Unpacks the number. `None` for 0.
    pub(crate) fn unpack(packed: u64) -> Option<Self> {
        (packed >> 63 == 1)
            .then_some(Self { code: (packed as u32).cast_signed(), signal: (packed >> 32) as u32 & 0x7fff_ffff })
    }

    /// The status that a shell would report for it.
    pub(crate) fn status(self) -> i64 {
        if self.signal == 0 { i64::from(self.code) } else { 128 + i64::from(self.signal) }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        Self { code: status.code().unwrap_or(-1), signal: status.signal().map_or(0, i32::cast_unsigned) }
    }
}

impl Terminal {
    /// Opens a terminal of this size.
    pub(crate) fn open(size: Size) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags)?;
        rustix::pty::unlockpt(&master)?;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
        let mut modes = rustix::termios::tcgetattr(&slave)?;
        // Lets the kernel's line editor erase a whole character.
        modes.input_modes |= InputModes::IUTF8;
        rustix::termios::tcsetattr(&slave, OptionalActions::Now, &modes)?;
        rustix::fs::fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK)?;
        let terminal = Self { master, slave: Some(slave) };
        terminal.resize(size)?;
        Ok(terminal)
    }

    /// Sets the size. The kernel notifies the programs in the foreground.
    pub(crate) fn resize(&self, size: Size) -> io::Result<()> {
        let size = Winsize { ws_col: size.cols, ws_row: size.rows, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(&self.master, size)?)
    }

    /// Starts a program with this terminal as its controlling terminal, with the environment and directory of this
    /// process, and with the default action for every signal.
    pub(crate) fn start(&self, program: &[OsString]) -> io::Result<Child> {
        let slave = self.slave.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        let (name, args) = program.split_first().ok_or(io::ErrorKind::NotFound)?;
        let mut command = Command::new(name);
        command.args(args).stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave.try_clone()?);
        // SAFETY: between fork and exec the closure makes system calls alone.
        unsafe {
            command.pre_exec(|| {
                default_signals();
                rustix::process::setsid()?;
                Ok(rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?)
            });
        }
        command.spawn()
    }
}

impl Shell {
    /// Watches a program. Ends the program if the system cannot do that, as before Linux 5.3.
    pub(crate) fn watch(mut child: Child) -> io::Result<Self> {
        match rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(ended) => Ok(Self { child, ended }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error.into())
            }
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to it. Does nothing for a number that is no signal.
    pub(crate) fn signal(&self, number: u32) {
        if let Some(signal) = i32::try_from(number).ok().and_then(Signal::from_named_raw) {
            let _ = rustix::process::pidfd_send_signal(self.ended.as_fd(), signal);
        }
    }

    /// Waits until it has ended, and returns how.
    pub(crate) fn wait(&mut self) -> io::Result<Exit> {
        self.child.wait().map(Exit::from)
    }
}

/// Resets all signals: a parent that ignores a signal, or the daemon, would pass that on.
fn default_signals() {
    // The range is that of the system. Two signals, and those that the C library keeps, refuse, which is right.
    for signal in 1..=64 {
        // SAFETY: installs no handler, so nothing of ours can run at a signal.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_survives_its_packing() {
        for exit in [
            Exit { code: 0, signal: 0 },
            Exit { code: 255, signal: 0 },
            Exit { code: -1, signal: 9 },
            Exit { code: -1, signal: 64 },
        ] {
            assert_ne!(exit.pack(), 0);
            assert_eq!(Exit::unpack(exit.pack()), Some(exit));
        }
        assert_eq!(Exit::unpack(0), None);
    }
}
