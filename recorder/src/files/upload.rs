//! `write`: takes a whole file from the standard input.
//!
//! Owns that a part of an upload never becomes the file. Its bytes lie beside the file until the frame has come that says how
//! many there are. If anything else comes instead, they are removed.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, IntoRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sandbox_recorder::wire::files::{Upload, Why};
use sandbox_recorder::wire::{Decoder, HEADER, MAX_PAYLOAD};

use super::failed::{Context as _, Failed};

/// How long nothing may come. A broker cuts an upload that stands still much earlier, so this one is gone.
const PATIENCE: Timespec = Timespec { tv_sec: 120, tv_nsec: 0 };

/// Replaces the file at `path`, or makes it. Calls `ready` when the bytes may come.
pub(super) fn write(path: &Path, ready: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
    let part = beside(path);
    let file = File::options().write(true).create_new(true).open(&part).about(&part)?;
    let done = ready().and_then(|()| take(file, &part, path)).and_then(|()| fs::rename(&part, path).about(path));
    if done.is_err() {
        let _ = fs::remove_file(&part);
    }
    done
}

fn take(mut file: File, part: &Path, path: &Path) -> Result<(), Failed> {
    let broke = |words: &str| Failed::of(Why::Aborted, format!("the upload of {} {words}", path.display()));
    if let Some(old) = fs::symlink_metadata(path).ok().filter(|old| old.is_file()) {
        // Of another user's file it cannot be kept.
        let _ = rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(old.mode() & 0o7777));
    }
    let mut input = io::stdin().lock();
    let (mut decoder, mut buffer, mut size) = (Decoder::default(), vec![0; HEADER + MAX_PAYLOAD], 0);
    loop {
        if waits().about(path)? {
            return Err(broke("stood still"));
        }
        let read = input.read(&mut buffer).about(path)?;
        if read == 0 {
            return Err(broke("broke off"));
        }
        let mut piece = &buffer[..read];
        while let Some(upload) = decoder.next(&mut piece).map_err(|error| broke(&format!("is garbled: {error}")))? {
            match upload {
                Upload::Content(bytes) => {
                    file.write_all(bytes).about(part)?;
                    size += bytes.len() as u64;
                }
                Upload::Whole { size: promised } if promised == size => return close(file).about(part),
                Upload::Whole { .. } => return Err(broke("lost a part on its way")),
            }
        }
    }
}

/// Where the bytes of an upload lie until all of them have come: beside the file, under a name that no other sandbox on the
/// same storage has.
fn beside(path: &Path) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    path.with_file_name(format!(".upload-{:x}-{:x}.part", std::process::id(), now.as_nanos()))
}

/// Whether nothing has come for too long.
fn waits() -> io::Result<bool> {
    let stdin = io::stdin();
    let mut waiting = [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
    loop {
        match poll(&mut waiting, Some(&PATIENCE)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return Ok(ready? == 0),
        }
    }
}

/// Storage may take what was written no earlier than now, and say only here that it could not.
fn close(file: File) -> io::Result<()> {
    // SAFETY: the descriptor is owned and not used again.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
