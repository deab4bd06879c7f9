//! A user namespace and a mount namespace for each sandbox, inside those that `bwrap` made.
//!
//! There are two reasons. The kernel counts some limits, such as that of inotify instances, per user namespace. And the
//! kernel protects every mount that existed before, and its flags (mount_namespaces(7), "Restrictions"). So a sandbox
//! that may mount can add and remove only its own mounts. With `CAP_SYS_ADMIN` in the namespace that `bwrap` made, it
//! could make the host's directories writable again. Owns this step and the capabilities after it. Knows nothing of
//! file systems.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use nix::unistd::ForkResult;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, WaitOptions};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use super::invocation::Setup;
use crate::privileges::CAPABILITIES;

/// Moves this process into new namespaces. There, it and its children have [`CAPABILITIES`], and may mount if the setup
/// says so. Must run before the first thread starts.
///
/// # Errors
/// Errors of the kernel. The usual cause is that the host allows no user namespaces.
pub(super) fn enter(setup: &Setup) -> io::Result<()> {
    let me = rustix::process::getpid();
    let (wait, go) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // The users are mapped from outside, because a process inside may map only itself.
    // SAFETY: this process has one thread, so the child may do anything.
    let helper = match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => {
            drop(go);
            let failure = match map_users(&wait, me, setup.only_user) {
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()),
            };
            std::process::exit(failure);
        }
        ForkResult::Parent { child } => Pid::from_raw(child.as_raw()),
    };
    drop(wait);
    // SAFETY: with these flags no descriptor and no other thread changes.
    let unshared = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) };
    if unshared.is_ok() {
        rustix::io::write(&go, &[1])?;
    }
    drop(go);
    let ended = loop {
        match rustix::process::waitpid(helper, WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    unshared?;
    match ended.and_then(|(_, status)| status.exit_status()) {
        Some(0) => drop_capabilities(setup.may_mount),
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        None => Err(io::Error::other("the process that maps its users was killed")),
    }
}

/// Waits for a byte on `wait`, then maps the users of the process `inside`. Does nothing if the byte never comes. The
/// users are those of this process, or only one.
fn map_users(wait: &OwnedFd, inside: Pid, only: Option<u32>) -> io::Result<()> {
    if rustix::io::read(wait, &mut [0])? == 0 {
        return Ok(());
    }
    for name in ["uid_map", "gid_map"] {
        let map = match only {
            Some(id) => format!("{id} 0 1\n"),
            None => same(&fs::read_to_string(format!("/proc/self/{name}"))?),
        };
        fs::write(format!("/proc/{}/{name}", inside.as_raw_pid()), map)?;
    }
    Ok(())
}

/// The map that gives a nested namespace the same ids as the namespace with the map `own`.
fn same(own: &str) -> String {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace();
        let (first, count) = (numbers.next()?, numbers.nth(1)?);
        Some(format!("{first} {first} {count}\n"))
    };
    own.lines().filter_map(line).collect()
}

/// A new user namespace starts with all capabilities. Most of them only help to attack the kernel.
fn drop_capabilities(may_mount: bool) -> io::Result<()> {
    let mut inside = CAPABILITIES
        .iter()
        .filter_map(|name| CapabilitySet::from_name(name.trim_start_matches("CAP_")))
        .fold(CapabilitySet::empty(), CapabilitySet::union);
    inside.set(CapabilitySet::SYS_ADMIN, may_mount);
    for capability in CapabilitySet::all().difference(inside).iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // An older kernel does not know this capability.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The init must see which processes hold the FUSE device, whoever they run as. Its children lose this capability
    // when they execute a program.
    let own = if may_mount {
        inside | CapabilitySet::SYS_PTRACE
    } else if rustix::process::geteuid().is_root() {
        inside
    } else {
        CapabilitySet::empty()
    };
    let sets = CapabilitySets { effective: own, permitted: own, inheritable: CapabilitySet::empty() };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}
