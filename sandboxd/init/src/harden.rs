//! What the init gives up before any program of the sandbox runs: rights, and the means to take more than its share.
//!
//! All its children inherit this. Knows nothing of what the server does outside, such as cgroups.

use std::ffi::CStr;
use std::io;

use nix::mount::{MsFlags, mount};
use rustix::process::{Resource, Rlimit};

use super::invocation::Setup;
use super::{filter, namespace};

/// Terminals of one sandbox at once. All sandboxes together have what the host allows, which is 3,072 by default.
pub(super) const MAX_TERMINALS: u32 = 256;

/// The number of files that a process can open if it raises its limit, as large databases do.
const MAX_OPEN_FILES: u64 = 65_536;

/// How long a process may keep the processor when another one wakes up, in nanoseconds. Kernels since 6.12 use this
/// value. With their usual 3 ms, beside busy processes the slowest hundredth of a neighbour's echoes took six times as
/// long.
const TURN: u64 = 300_000;

/// Takes all steps. Must run before the first thread starts.
///
/// # Errors
/// The step that failed.
pub(super) fn all(setup: &Setup) -> Result<(), HardenError> {
    let step_error = |what: &'static str| move |error: io::Error| HardenError { what, error };
    limit_terminals().map_err(step_error("limit its terminals"))?;
    namespace::enter(setup).map_err(step_error("make its user namespace"))?;
    leave_keyring().map_err(step_error("leave the session's keyring"))?;
    limit(Resource::Nofile, Some(MAX_OPEN_FILES)).map_err(step_error("limit open files"))?;
    limit(Resource::Fsize, Some(setup.file_bytes)).map_err(step_error("limit the size of files"))?;
    limit(Resource::Nproc, setup.processes).map_err(step_error("limit processes"))?;
    limit(Resource::Data, setup.data_bytes).map_err(step_error("limit memory"))?;
    shorten_turns().map_err(step_error("shorten its turns on a processor"))?;
    filter::install(setup.may_mount).map_err(step_error("filter system calls"))
}

/// A step that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox's init cannot {what}: {error}")]
pub(super) struct HardenError {
    what: &'static str,
    pub(super) error: io::Error,
}

/// The terminals of this sandbox are a file system of its own, which has its own limit.
fn limit_terminals() -> io::Result<()> {
    let options = format!("mode=620,ptmxmode=666,max={MAX_TERMINALS}");
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    Ok(mount(None::<&CStr>, "/dev/pts", None::<&CStr>, flags, Some(options.as_str()))?)
}

/// Children inherit a session's keyring, and it would contain the keys of the server's session.
fn leave_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: the call takes a null pointer for "a new one without a name" and touches no memory.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    if result >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // If the kernel has no keyrings, or a filter around the server forbids them, there is nothing to inherit.
        error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(()),
        error => Err(error),
    }
}

/// Changes only the length of turns: see sched_setattr(2).
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
        // If a filter around the server forbids this, it costs time, not safety.
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
