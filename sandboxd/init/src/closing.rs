//! The orderly end of a sandbox that may mount: programs first, then the mounts, then the daemons behind them.
//!
//! A daemon stores what a program wrote when the program closes the file, or at the latest when the file system is
//! unmounted. So the programs end while the daemons still serve them. Recognises a daemon by the device that it holds
//! open, and knows nothing about its work. The sandbox is killed afterwards, whatever the result.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use rustix::process::{Pid, Signal, kill_process};

use crate::privileges::FUSE;
use crate::wire::{Failure, FailureKind};

/// How long programs may take to end after SIGTERM: long enough to save a file, not to finish their work.
const GRACE: Duration = Duration::from_secs(2);

/// How often processes and mounts are checked.
const LOOK: Duration = Duration::from_millis(20);

/// Ends all programs, unmounts, and waits for the daemons.
///
/// # Errors
/// What could not be done in time.
pub(super) fn close(within: Duration) -> Result<(), Failure> {
    let begun = Instant::now();
    let end = begun + within;
    let daemons: HashSet<Pid> = processes().filter(|pid| is_daemon(*pid)).collect();
    end_programs(begun + GRACE.min(within), end)?;
    unmount(end)?;
    wait_while(end, || {
        let left = processes().find(|pid| daemons.contains(pid))?;
        Some(format!("the daemon with pid {} did not end after its file system was unmounted", left.as_raw_pid()))
    })
}

/// Asks every program to end, including those that start in the meantime. Kills the rest after the grace period.
fn end_programs(grace: Instant, end: Instant) -> Result<(), Failure> {
    let mut asked = HashSet::new();
    wait_while(end, || {
        let mut left = None;
        for program in processes().filter(|pid| !is_daemon(*pid)) {
            left = Some(format!("the program with pid {} did not end", program.as_raw_pid()));
            // The program may have ended by itself, which is just as good.
            if Instant::now() >= grace {
                let _ = kill_process(program, Signal::KILL);
            } else if asked.insert(program) {
                let _ = kill_process(program, Signal::TERM);
                // A stopped program would not react to the signal.
                let _ = kill_process(program, Signal::CONT);
            }
        }
        left
    })
}

/// Unmounts file systems, innermost first. A busy one is tried again: the kernel may still be closing a program's last
/// files.
fn unmount(end: Instant) -> Result<(), Failure> {
    wait_while(end, || {
        let mut left = None;
        for mount in fuse_mounts().iter().rev() {
            if let Err(error) = umount2(mount, MntFlags::UMOUNT_NOFOLLOW) {
                left = Some(format!("{} could not be unmounted: {error}", mount.display()));
            }
        }
        left
    })
}

/// Checks repeatedly until nothing is `left`. What is left at the end becomes the failure.
fn wait_while(end: Instant, mut left: impl FnMut() -> Option<String>) -> Result<(), Failure> {
    while let Some(message) = left() {
        if Instant::now() >= end {
            return Err(Failure { kind: FailureKind::Internal, message });
        }
        sleep(LOOK);
    }
    Ok(())
}

/// The other running processes of the sandbox.
fn processes() -> impl Iterator<Item = Pid> {
    let me = rustix::process::getpid();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
        .filter(move |pid| *pid != me && runs(*pid))
}

/// Whether a process still runs. A zombie does not.
fn runs(pid: Pid) -> bool {
    live_thread(pid).is_some()
}

fn is_daemon(pid: Pid) -> bool {
    let Some(thread) = live_thread(pid) else { return false };
    let open = fs::read_dir(thread.join("fd")).into_iter().flatten().flatten();
    open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|file| file == Path::new(FUSE))
}

/// The `/proc` directory of a thread that has not ended. The first thread may end before the others. Then the process
/// looks dead under its own pid and shows no files.
fn live_thread(pid: Pid) -> Option<PathBuf> {
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_pid())).into_iter().flatten().flatten();
    threads.map(|entry| entry.path()).find(|thread| {
        let stat = fs::read_to_string(thread.join("stat")).unwrap_or_default();
        // The name before this field is in parentheses and may contain any character.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    })
}

/// The mount points of file systems in user space, in the order of mounting.
fn fuse_mounts() -> Vec<PathBuf> {
    mounts_in(&fs::read("/proc/self/mountinfo").unwrap_or_default())
}

fn mounts_in(mountinfo: &[u8]) -> Vec<PathBuf> {
    let mount = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ');
        let path = fields.nth(4)?;
        // Any number of optional fields stand before the dash.
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        (kind == b"fuse" || kind == b"fuseblk" || kind.starts_with(b"fuse.")).then(|| unescaped(path))
    };
    mountinfo.split(|byte| *byte == b'\n').filter_map(mount).collect()
}

/// Decodes a path: the kernel writes white space and backslashes as a backslash and three octal digits.
fn unescaped(mut text: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        let octal = (*first == b'\\').then(|| rest.first_chunk::<3>()).flatten();
        let value = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        path.push(value.unwrap_or(*first));
        text = if value.is_some() { &rest[3..] } else { rest };
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: only file systems in user space are unmounted, wherever they are mounted.
    #[test]
    fn mounts_are_found_by_their_kind() {
        let mountinfo = b"22 1 0:5 / /proc rw,nosuid - proc proc rw\n\
            59 44 0:44 / /mnt/two\\040words rw,nosuid,nodev master:1 shared:2 - fuse blobfuse2 rw,user_id=0\n\
            60 59 0:45 / /mnt/a\\134040b\xff rw - fuse.bindfs /x\\040-\\040y rw\n\
            61 44 0:46 / /fuse rw - fusectl fuse rw\n";
        let odd = OsString::from_vec(b"/mnt/a\\040b\xff".to_vec());
        assert_eq!(mounts_in(mountinfo), [PathBuf::from("/mnt/two words"), odd.into()]);
    }
}
