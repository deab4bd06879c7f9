//! What the init gives up before anything of the sandbox runs: rights, and the means to take more than its share.
//!
//! Everything that it starts inherits all of it. Knows nothing of what the server outside does, such as cgroups.

use std::ffi::CStr;
use std::io;

use nix::mount::{MsFlags, mount};
use rustix::process::{Resource, Rlimit};

use super::{Setup, filter, namespace};

/// Terminals of one sandbox at once. All sandboxes together have what the host allows, 3,072 by default.
pub(super) const MAX_TERMINALS: u32 = 256;

/// Files that a process can have open if it asks for more than the usual number, as the large databases do.
const MAX_OPEN_FILES: u64 = 65_536;

/// Nanoseconds for which a process has the processor before another that wakes up may have it. Kernels since 6.12 heed it;
/// with their usual 3 ms, the slowest hundredth of a neighbour's echoes took six times as long beside busy processes.
const TURN: u64 = 300_000;

/// Gives up everything. Must come before the first thread.
///
/// # Errors
/// With what could not be done.
pub(super) fn all(setup: &Setup) -> Result<(), Failed> {
    let failed = |what: &'static str| move |error: io::Error| Failed { what, error };
    limit_terminals().map_err(failed("limit its terminals"))?;
    namespace::enter(setup).map_err(failed("make its user namespace"))?;
    leave_keyring().map_err(failed("leave the session's keyring"))?;
    limit(Resource::Nofile, Some(MAX_OPEN_FILES)).map_err(failed("limit open files"))?;
    limit(Resource::Fsize, Some(setup.file_bytes)).map_err(failed("limit the size of files"))?;
    limit(Resource::Nproc, setup.processes).map_err(failed("limit processes"))?;
    limit(Resource::Data, setup.data_bytes).map_err(failed("limit memory"))?;
    shorten_turns().map_err(failed("shorten its turns on a processor"))?;
    filter::install(setup.may_mount).map_err(failed("filter system calls"))
}

/// A step that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox's init cannot {what}: {error}")]
pub(super) struct Failed {
    what: &'static str,
    pub(super) error: io::Error,
}

/// The terminals of this sandbox are a file system of its own, which is bounded by itself.
fn limit_terminals() -> io::Result<()> {
    let options = format!("mode=620,ptmxmode=666,max={MAX_TERMINALS}");
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    Ok(mount(None::<&CStr>, "/dev/pts", None::<&CStr>, flags, Some(options.as_str()))?)
}

/// A session's keyring is inherited, and would hold what the server's does.
fn leave_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: the call takes a null pointer for "a new one without a name" and touches no memory.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    if result >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // A kernel without keyrings, or a filter around the server that forbids them, leaves nothing to inherit.
        error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(()),
        error => Err(error),
    }
}

/// Changes the length of turns only: see sched_setattr(2).
fn shorten_turns() -> io::Result<()> {
    // SAFETY: all of its fields are numbers.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of_val(&attributes);
    // SAFETY: the kernel writes at most `size` bytes there.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    attributes.sched_runtime = TURN;
    // SAFETY: the kernel reads what the call before has filled in.
    if got == 0 && unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // A filter around the server that forbids them costs time, not safety.
        error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(()),
        error => Err(error),
    }
}

/// Lowers a limit, never raises it.
fn limit(resource: Resource, most: Option<u64>) -> io::Result<()> {
    let Some(most) = most else { return Ok(()) };
    let Rlimit { current, maximum } = rustix::process::getrlimit(resource);
    let lower = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
    Ok(rustix::process::setrlimit(resource, Rlimit { current: lower(current), maximum: lower(maximum) })?)
}
