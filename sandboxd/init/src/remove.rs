//! Removes a file or a whole directory tree of the sandbox.
//!
//! Needs a few descriptors and bounded memory, whatever the depth of the tree. The trees of ended sandboxes are removed
//! elsewhere, with other rights: see `chore::tree`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, fstat};
use rustix::io::Errno;

use super::open::{LISTED, beneath, children};

/// Entries that are looked at together when a directory is removed. Bounds the memory that removing takes.
const MAX_SWEEP: usize = 1024;

/// Removes the entry `name` of a directory, and everything below it. A missing entry is no error.
pub(super) fn remove_all(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match remove_one(parent, name)? {
        true => Ok(()),
        false => remove_tree(parent, name),
    }
}

/// Removes an entry if one call can do that. Returns `false` for a directory that is not empty.
fn remove_one(parent: &OwnedFd, name: &OsStr) -> Result<bool, Errno> {
    let removed = match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR),
        other => other,
    };
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A directory that is being emptied.
struct Level {
    /// Its name in the directory above.
    name: OsString,
    /// Device and inode of the directory above.
    above: (u64, u64),
    sweep: Sweep,
}

/// What remains in a directory after everything that one call can remove is gone.
struct Sweep {
    directories: Vec<OsString>,
    /// Whether the directory was read to its end.
    whole: bool,
}

impl Sweep {
    fn of(directory: &OwnedFd) -> Result<Self, Errno> {
        let mut directories = children(directory, MAX_SWEEP)?;
        let whole = directories.len() < MAX_SWEEP;
        let mut failed = None;
        directories.retain(|child| match remove_one(directory, child) {
            Ok(all) => !all,
            Err(error) => {
                failed.get_or_insert(error);
                false
            }
        });
        failed.map_or(Ok(Self { directories, whole }), Err)
    }
}

/// Removes a directory of any depth with a few descriptors. A process that moves directories at the same time cannot
/// lead this into another tree: on the way up, each directory must be the one that it came through.
fn remove_tree(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let which = |directory: &OwnedFd| fstat(directory).map(|found| (found.st_dev, found.st_ino));
    let mut here = beneath(parent, Path::new(name))?;
    let mut levels = vec![Level { name: name.to_owned(), above: which(parent)?, sweep: Sweep::of(&here)? }];
    while let Some(level) = levels.last_mut() {
        if let Some(child) = level.sweep.directories.pop() {
            let above = which(&here)?;
            here = beneath(&here, Path::new(&child))?;
            levels.push(Level { name: child, above, sweep: Sweep::of(&here)? });
            continue;
        }
        let up = match levels.len() {
            1 => parent.try_clone()?,
            _ => rustix::fs::openat(&here, "..", LISTED | OFlags::CLOEXEC, Mode::empty())?,
        };
        let level = levels.last_mut().expect("there is one");
        if which(&up)? != level.above {
            return Err(io::Error::other("a directory in it was moved away meanwhile"));
        }
        if remove_one(&up, &level.name)? {
            here = up;
            levels.pop();
        } else if level.sweep.whole {
            // Another process fills it as fast as this empties it.
            return Err(Errno::NOTEMPTY.into());
        } else {
            level.sweep = Sweep::of(&here)?;
        }
    }
    Ok(())
}
