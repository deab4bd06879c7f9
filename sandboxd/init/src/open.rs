//! Opens paths of the sandbox and holds them by descriptors.
//!
//! The kernel resolves every path with the rights of the calling thread. Does not know the operations of the API.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{CWD, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How a directory is opened that is only used as the start of paths.
pub(super) const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// How a directory is opened whose entries are read.
pub(super) const LISTED: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// Opens a path as a program of the user would. Refuses only the links by which `/proc` leads to open files and to
/// other root directories: for this process they lead to what others have open.
pub(super) fn open(path: &str, how: OFlags) -> io::Result<OwnedFd> {
    open_at(CWD, OsStr::new(path), how)
}

/// Like [`open`], relative to a directory.
pub(super) fn open_at(directory: impl AsFd, path: &OsStr, how: OFlags) -> io::Result<OwnedFd> {
    let mode = if how.contains(OFlags::CREATE) { Mode::from_raw_mode(0o666) } else { Mode::empty() };
    Ok(rustix::fs::openat2(directory, path, how | OFlags::CLOEXEC, mode, ResolveFlags::NO_MAGICLINKS)?)
}

/// Splits a path into its directory and its name there.
pub(super) fn split(path: &str) -> (&str, &OsStr) {
    match path.rsplit_once('/') {
        Some((_, "")) | None => ("/", OsStr::new(".")),
        Some(("", name)) => ("/", OsStr::new(name)),
        Some((parent, name)) => (parent, OsStr::new(name)),
    }
}

/// Opens a directory. Creates the missing parts of its path.
pub(super) fn make_directories(path: &str) -> io::Result<OwnedFd> {
    match open(path, PLACE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => open("/", PLACE).and_then(|mut here| {
            for name in path.split('/').filter(|name| !name.is_empty()).map(OsStr::new) {
                here = match open_at(&here, name, PLACE) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        match rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(0o777)) {
                            // Another process has just created it.
                            Ok(()) | Err(Errno::EXIST) => open_at(&here, name, PLACE)?,
                            Err(error) => return Err(error.into()),
                        }
                    }
                    opened => opened?,
                };
            }
            Ok(here)
        }),
        opened => opened,
    }
}

/// Opens a directory below another one. Follows no link.
pub(super) fn beneath(directory: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let how = LISTED | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(rustix::fs::openat2(directory, path, how, Mode::empty(), within)?)
}

/// Up to `most` names in a directory.
pub(super) fn children(directory: &OwnedFd, most: usize) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsString::from_vec(name.to_vec()));
        }
        if names.len() == most {
            break;
        }
    }
    Ok(names)
}
