//! `run`: makes a recording and starts its daemon.
//!
//! Owns the steps from an ordinary process to a daemon that is independent of its parent. Does not know what the daemon
//! does.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::pipe::PipeFlags;
use rustix::process::{Pid, WaitOptions};
use sandbox_recorder::wire::Size;

use crate::daemon::Daemon;
use crate::failure::{Context as _, Failure};
use crate::marks::Marks;
use crate::pty::{Shell, Terminal};
use crate::requests::{self, Begin, Request};
use crate::ring::Ring;

/// The exit status if the directory holds another recording.
const IN_USE: u8 = 3;

/// The exit status of a shell for a program that cannot be started.
const NOT_STARTED: u8 = 127;

/// What to record.
pub(crate) struct Recording {
    pub(crate) dir: PathBuf,
    pub(crate) size: Size,
    /// The size of the ring in bytes.
    pub(crate) ring: u64,
    pub(crate) program: Vec<OsString>,
    /// The patience of the first attachment.
    pub(crate) patience: Duration,
    /// The broker's client answers programs that ask the terminal something.
    pub(crate) silent: bool,
}

/// What the daemon gets from the process that starts it.
struct Parts {
    dir: PathBuf,
    ring: Ring,
    marks: Marks,
    listener: OwnedFd,
    /// The end of the first attachment, which is this process.
    control: OwnedFd,
}

/// Starts the daemon and its program. This process becomes the first attachment, so that a flood of output finds a
/// broker from its first byte on. Returns the control connection once the program runs.
pub(crate) fn start(recording: &Recording) -> Result<OwnedFd, Failure> {
    close_inherited();
    let (mine, control) = requests::pair().context(|| "making a pair of sockets".to_owned())?;
    let parts = prepare(&recording.dir, recording.ring, control)?;
    let dir = parts.dir.clone();
    let started = fork(parts, mine, recording);
    if started.is_err() {
        for file in [requests::SOCKET, "marks", "ring"] {
            let _ = fs::remove_file(dir.join(file));
        }
        let _ = fs::remove_dir(&dir);
    }
    started
}

/// Closes inherited descriptors. A descriptor that a provider left open would stay open as long as the shell lives, and
/// if it is the end of a pipe, its reader would never see the end.
fn close_inherited() {
    // SAFETY: nothing of this process is open yet but its standard streams. Fails where
    // the system is older than this call, and then what is open stays open.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}

fn prepare(dir: &Path, size: u64, control: OwnedFd) -> Result<Parts, Failure> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).context(|| format!("making {}", parent.display()))?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_own(dir)?,
        Err(error) => return Err(error).context(|| format!("making {}", dir.display())),
    }
    let dir = dir.canonicalize().context(|| format!("finding {}", dir.display()))?;
    let ring = match Ring::create(&dir, size) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Failure::new(
                IN_USE,
                format!("{} holds another recording: attach to it, or name another folder", dir.display()),
            ));
        }
        ring => ring.context(|| format!("making a ring in {}", dir.display()))?,
    };
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    ring.page().began.store(began.as_millis() as u64, Ordering::Relaxed);
    let marks = Marks::create(&dir).context(|| format!("making marks in {}", dir.display()))?;
    let listener = requests::listen(&dir).context(|| format!("listening in {}", dir.display()))?;
    Ok(Parts { dir, ring, marks, listener, control })
}

/// An existing directory must belong to this user alone, because it holds what the shell prints.
fn check_own(dir: &Path) -> Result<(), Failure> {
    let found = fs::symlink_metadata(dir).context(|| format!("looking at {}", dir.display()))?;
    if found.is_dir() && found.uid() == rustix::process::getuid().as_raw() && found.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(Failure::new(1, format!("{} is there and is not a folder of this user alone: name another", dir.display())))
}

/// Forks twice, so that the daemon is nobody's child and leads no session. Waits until the daemon reports its
/// start: nothing, or an exit status and a message. `mine` is this process's end of the control connection.
fn fork(parts: Parts, mine: OwnedFd, recording: &Recording) -> Result<OwnedFd, Failure> {
    let (said, say) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).context(|| "making a pipe".to_owned())?;
    // SAFETY: this process has one thread, so its copy may do anything.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()).context(|| "forking".to_owned()),
        0 => {
            drop((said, mine));
            let _ = rustix::process::setsid();
            // SAFETY: as above.
            if unsafe { libc::fork() } == 0 {
                become_daemon(parts, recording, File::from(say));
            }
            // The forked copy must not run the exit handlers of the original.
            // SAFETY: it does not return, and it leaves nothing undone that the parent does not do.
            unsafe { libc::_exit(0) }
        }
        child => {
            drop(say);
            let _ = rustix::process::waitpid(Pid::from_raw(child), WaitOptions::empty());
        }
    }
    let mut answer = Vec::new();
    File::from(said).read_to_end(&mut answer).context(|| "waiting for the start".to_owned())?;
    match answer.split_first() {
        Some((0, [])) => Ok(mine),
        Some((status, message)) => Err(Failure::new(*status, String::from_utf8_lossy(message).into_owned())),
        None => Err(Failure::new(1, "the recorder ended while it started".to_owned())),
    }
}

fn become_daemon(parts: Parts, recording: &Recording, mut say: File) -> ! {
    let daemon = match assemble(parts, recording) {
        Ok(daemon) => {
            let _ = say.write_all(&[0]);
            daemon
        }
        Err(failure) => {
            let _ = say.write_all(&[failure.status]);
            let _ = say.write_all(failure.message.as_bytes());
            std::process::exit(1);
        }
    };
    drop(say);
    let status = if daemon.run().is_ok() { 0 } else { 1 };
    std::process::exit(status)
}

fn assemble(parts: Parts, recording: &Recording) -> Result<Daemon, Failure> {
    let began = Instant::now();
    let own = |stream: BorrowedFd<'_>| stream.try_clone_to_owned().context(|| "keeping the pipes".to_owned());
    let request = Request {
        begin: Begin::Since(0),
        patience: recording.patience,
        stdin: own(rustix::stdio::stdin())?,
        stdout: own(rustix::stdio::stdout())?,
    };
    let null = File::options().read(true).write(true).open("/dev/null").context(|| "opening /dev/null".to_owned())?;
    let stdio = || {
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)
    };
    stdio().map_err(io::Error::from).context(|| "leaving the standard streams".to_owned())?;
    // SAFETY: installs no handler. A write to a closed pipe is an error already.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };

    let terminal = Terminal::open(recording.size).context(|| "opening a terminal".to_owned())?;
    let child = terminal.start(&recording.program).map_err(|error| {
        let name = recording.program.first().map(|name| name.to_string_lossy()).unwrap_or_default();
        Failure::new(NOT_STARTED, format!("cannot start {name}: {error}"))
    })?;
    let shell = Shell::watch(child).context(|| "watching the program, which needs Linux 5.3".to_owned())?;
    // Does not hold its starting directory, so that the file system there can be unmounted.
    rustix::process::chdir("/").map_err(io::Error::from).context(|| "leaving the folder".to_owned())?;
    let Parts { dir, ring, marks, listener, control } = parts;
    let mut daemon = Daemon::new(dir, listener, (ring, marks), (terminal, shell, recording.size), began);
    if recording.silent {
        daemon.be_silent();
    }
    daemon.attach(control, request, Instant::now());
    Ok(daemon)
}
