//! Starts one process inside the sandbox, on a terminal or on pipes.
//!
//! Passes the server's ends of the descriptors to the caller and keeps nothing. Does not wait for the process.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::{SigHandler, Signal};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::Resource;
use rustix::pty::OpenptFlags;
use rustix::termios::{InputModes, OptionalActions, Winsize};

use super::{files, users};
use crate::wire::{Failure, FailureKind, Spawn, SpawnIo};

/// The search path for programs if the request sets no `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The limit of open files until a process raises it. The usual number; `select` is safe with it.
const OPEN_FILES: u64 = 1024;

/// The `oom_score_adj` of programs. That of the init is lower.
const OOM_SCORE_ADJUSTMENT: &[u8] = b"300";

/// The group of terminal devices in Debian-like systems.
const TTY_GROUP: u32 = 5;

/// Starts a process. Returns its pid and the descriptors in the order that [`SpawnIo`] names.
pub(super) fn spawn(spawn: &Spawn) -> Result<(u32, Vec<OwnedFd>), Failure> {
    let user = users::find(&spawn.user)?;
    let cwd = files::resolve(spawn.cwd.as_deref().unwrap_or_default(), &user);
    let directory = working_directory(&cwd, &user)?;
    if spawn.cmd.is_empty() {
        return Err(invalid("the command is empty".to_owned()));
    }

    let mut command = Command::new(&spawn.cmd);
    command.args(&spawn.args).env_clear();
    command.env("PATH", PATH).env("HOME", &user.home).env("USER", &user.name).env("LOGNAME", &user.name);
    for (name, value) in &spawn.envs {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(invalid(format!(
                "the name or value of environment variable '{}' is not valid",
                name.escape_default()
            )));
        }
        command.env(name, value);
    }

    let (mine, theirs) =
        descriptors(spawn.io, &user).map_err(|error| exhausted_or_invalid(&error, "cannot make its descriptors"))?;
    command.stdin(theirs.stdin).stdout(theirs.stdout).stderr(theirs.stderr);

    let identity = users::are_several().then(|| {
        let groups: Vec<Gid> = users::groups_of(&user).into_iter().map(Gid::from_raw).collect();
        (Uid::from_raw(user.uid), Gid::from_raw(user.gid), groups)
    });
    let terminal = matches!(spawn.io, SpawnIo::Pty { .. });
    // SAFETY: the closure runs between fork and exec and makes system calls only: it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            default_signals();
            rustix::process::setsid()?;
            if terminal {
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
            }
            // Programs expect this number. The server itself may have a higher one.
            let mut files = rustix::process::getrlimit(Resource::Nofile);
            files.current = files.maximum.map_or(Some(OPEN_FILES), |most| Some(most.min(OPEN_FILES)));
            rustix::process::setrlimit(Resource::Nofile, files)?;
            raise_oom_score();
            // No core files: they would land in the user's directories.
            let mut core = rustix::process::getrlimit(Resource::Core);
            core.current = Some(0);
            rustix::process::setrlimit(Resource::Core, core)?;
            if let Some((uid, gid, groups)) = &identity {
                rustix::thread::set_thread_groups(groups)?;
                rustix::thread::set_thread_res_gid(*gid, *gid, *gid)?;
                rustix::thread::set_thread_res_uid(*uid, *uid, *uid)?;
            }
            // This comes last, so that the directory is entered with the user's rights.
            rustix::process::fchdir(&directory)?;
            Ok(())
        });
    }
    let child =
        command.spawn().map_err(|error| exhausted_or_invalid(&error, &format!("cannot start '{}'", spawn.cmd)))?;
    Ok((child.id(), mine))
}

/// Opens the working directory, in a thread that has the user's rights.
fn working_directory(path: &str, user: &users::User) -> Result<OwnedFd, Failure> {
    let opened = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || files::open_working_directory(path, user));
        thread.map(|thread| thread.join().expect("opening a directory does not panic"))
    });
    let opened = opened.map_err(|error| exhausted_or_invalid(&error, "no thread to open the cwd"))?;
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => invalid(format!("cwd '{path}' does not exist")),
        _ => invalid(format!("cwd '{path}' cannot be entered: {error}")),
    })
}

/// Resets what the server's parent passed down. `nohup`, or a script that starts the server in the background, ignores
/// signals. With that, no key would interrupt a program.
fn default_signals() {
    for signal in Signal::iterator() {
        // SAFETY: installs no handler, so nothing of ours can run at a signal. Two cannot be changed, which is right.
        let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    }
}

/// Makes the kernel kill programs before the init when the sandbox is out of memory.
fn raise_oom_score() {
    if let Ok(file) = rustix::fs::open(c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::io::write(&file, OOM_SCORE_ADJUSTMENT);
    }
}

struct Theirs {
    stdin: Stdio,
    stdout: Stdio,
    stderr: Stdio,
}

fn descriptors(kind: SpawnIo, user: &users::User) -> io::Result<(Vec<OwnedFd>, Theirs)> {
    match kind {
        SpawnIo::Pty { cols, rows } => {
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
            let master = rustix::pty::openpt(flags)?;
            rustix::pty::unlockpt(&master)?;
            let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
            rustix::termios::tcsetwinsize(&slave, Winsize { ws_col: cols, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 })?;
            let mut modes = rustix::termios::tcgetattr(&slave)?;
            // Lets the kernel's line editor erase a whole character.
            modes.input_modes |= InputModes::IUTF8;
            rustix::termios::tcsetattr(&slave, OptionalActions::Now, &modes)?;
            if users::are_several() {
                rustix::fs::fchown(&slave, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(TTY_GROUP)))?;
            }
            let theirs =
                Theirs { stdin: slave.try_clone()?.into(), stdout: slave.try_clone()?.into(), stderr: slave.into() };
            Ok((vec![master], theirs))
        }
        SpawnIo::Pipes { stdin } => {
            let (stdout_read, stdout) = pipe()?;
            let (stderr_read, stderr) = pipe()?;
            let mut mine = vec![stdout_read, stderr_read];
            let stdin = if stdin {
                let (read, write) = pipe()?;
                mine.push(write);
                Stdio::from(read)
            } else {
                Stdio::null()
            };
            Ok((mine, Theirs { stdin, stdout: stdout.into(), stderr: stderr.into() }))
        }
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

fn invalid(message: String) -> Failure {
    Failure { kind: FailureKind::InvalidArgument, message }
}

fn exhausted_or_invalid(error: &io::Error, what: &str) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::WouldBlock
        | io::ErrorKind::OutOfMemory
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::StorageFull => FailureKind::ResourceExhausted,
        _ if Errno::from_io_error(error) == Some(Errno::MFILE) => FailureKind::ResourceExhausted,
        _ => FailureKind::InvalidArgument,
    };
    Failure { kind, message: format!("{what}: {error}") }
}
