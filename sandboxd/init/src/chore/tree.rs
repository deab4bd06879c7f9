//! Directory trees that a sandbox made. They may have any depth, width and permissions, and may be meant to crash the
//! process that walks them.
//!
//! Removes and measures them through descriptors. Follows no link. Needs a bounded number of descriptors and a bounded
//! stack. Knows nothing of sandboxes.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::{Errno, Result};

/// Levels that are walked while a descriptor of each is open. What lies deeper is moved up first.
const LEVELS: usize = 64;

/// Subtrees deeper than [`LEVELS`] that wait to be measured, each with an open descriptor. Ordinary trees have none.
const DEEP: usize = 256;

/// The smallest size that a file or a directory counts, in bytes. Inodes and names take space too, and file systems
/// have a bounded number of both.
const ENTRY: u64 = 4096;

/// Removes everything in a directory.
///
/// # Errors
/// The error of the first entry that cannot be removed. Everything else is removed then.
pub(crate) fn empty(directory: OwnedFd) -> Result<()> {
    let mut work = Removal { top: directory.as_fd(), moved: 0, changed: false, failure: None };
    let mut entries = Dir::read_from(&directory)?;
    loop {
        work.changed = false;
        work.failure = None;
        work.empty(&mut entries, 0);
        let failure = match work.failure {
            // Deep directories have been moved up in this round.
            None if work.changed => continue,
            None => return Ok(()),
            Some(failure) => failure,
        };
        if !work.changed {
            return Err(failure);
        }
    }
}

struct Removal<'a> {
    /// The directory that deep directories are moved to.
    top: BorrowedFd<'a>,
    /// How many directories were moved. The number names the next one.
    moved: u64,
    /// Whether anything was removed or moved in this round.
    changed: bool,
    /// The first error in this round.
    failure: Option<Errno>,
}

impl Removal<'_> {
    fn empty(&mut self, entries: &mut Dir, level: usize) {
        // A directory that changed during the read may hide entries until it is read again.
        loop {
            let before = self.moved;
            let mut removed = false;
            entries.rewind();
            while let Some(Ok(entry)) = entries.read() {
                if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                    continue;
                }
                let Ok(directory) = entries.fd() else { return };
                match self.remove(directory, entry.file_name(), entry.file_type(), level) {
                    Ok(()) => {
                        removed = true;
                        self.changed = true;
                    }
                    Err(Errno::NOENT) => {}
                    Err(failure) => {
                        self.failure.get_or_insert(failure);
                    }
                }
            }
            // At the top, the next round handles the directories that were moved up.
            if !removed || (level == 0 && self.moved > before) {
                return;
            }
        }
    }

    fn remove(&mut self, parent: BorrowedFd<'_>, name: &CStr, kind: FileType, level: usize) -> Result<()> {
        if !matches!(kind, FileType::Directory | FileType::Unknown) {
            return rustix::fs::unlinkat(parent, name, AtFlags::empty());
        }
        if kind == FileType::Unknown {
            match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
                Err(Errno::ISDIR | Errno::PERM) => {}
                other => return other,
            }
        }
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => {}
            other => return other,
        }
        let directory = open_any(parent, name)?;
        if level < LEVELS {
            self.empty(&mut Dir::new(directory)?, level + 1);
        } else {
            self.bring_up(directory)?;
        }
        rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
    }

    /// Removes the files of a directory and moves its directories to the top.
    fn bring_up(&mut self, directory: OwnedFd) -> Result<()> {
        let mut entries = Dir::new(directory)?;
        loop {
            let mut changed = false;
            entries.rewind();
            while let Some(entry) = entries.read() {
                let entry = entry?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                match rustix::fs::unlinkat(entries.fd()?, name, AtFlags::empty()) {
                    Err(Errno::ISDIR | Errno::PERM) => self.move_to_top(entries.fd()?, name)?,
                    other => other?,
                }
                changed = true;
            }
            if !changed {
                return Ok(());
            }
        }
    }

    fn move_to_top(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        loop {
            let new = CString::new(format!(".deep-{}-{}", std::process::id(), self.moved)).expect("no NUL in it");
            self.moved += 1;
            match rustix::fs::renameat(parent, name, self.top, &new) {
                // An entry of the sandbox has this name.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                // A directory that its owner may not write to cannot get a new parent.
                Err(Errno::ACCESS) => {
                    drop(open_any(parent, name)?);
                    return rustix::fs::renameat(parent, name, self.top, &new);
                }
                other => return other,
            }
        }
    }
}

/// Opens a directory for reading and changing. Widens its permissions if they forbid that to its owner.
fn open_any(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let path = open(parent, name, OFlags::PATH)?;
    // Root needs no permission, and other users cannot change it.
    let found = rustix::fs::fstat(&path)?;
    let user = rustix::process::geteuid();
    if !user.is_root() && found.st_uid == user.as_raw() && found.st_mode & 0o700 != 0o700 {
        set_mode(&path, 0o700)?;
    }
    open(path.as_fd(), c".", OFlags::RDONLY)
}

fn open(parent: BorrowedFd<'_>, name: &CStr, how: OFlags) -> Result<OwnedFd> {
    let flags = how | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Sets the mode of the file behind a descriptor, whatever its path leads to by now.
fn set_mode(directory: &OwnedFd, mode: u32) -> Result<()> {
    rustix::fs::chmodat(
        CWD,
        format!("/proc/self/fd/{}", directory.as_raw_fd()),
        Mode::from_raw_mode(mode),
        AtFlags::empty(),
    )
}

/// The bytes of disk that a directory and everything in it take. Stops above `enough`. Counts nothing for what it may
/// not look at. A file with several names counts once if all of them are in the tree.
pub(crate) fn usage(directory: OwnedFd, enough: u64) -> u64 {
    let mut work = Measure { bytes: 0, enough, deep: vec![directory] };
    while let Some(next) = work.deep.pop() {
        work.measure(next, 0);
    }
    work.bytes
}

struct Measure {
    bytes: u64,
    enough: u64,
    deep: Vec<OwnedFd>,
}

impl Measure {
    fn measure(&mut self, directory: OwnedFd, level: usize) {
        let Ok(mut entries) = Dir::new(directory) else { return };
        while let Some(Ok(entry)) = entries.read() {
            if self.bytes > self.enough {
                self.deep.clear();
                return;
            }
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Ok(parent) = entries.fd() else { return };
            let Ok(found) = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            // The link count of a directory counts its subdirectories.
            #[allow(clippy::unnecessary_cast, reason = "its type differs between machines")]
            let names = if is_directory { 1 } else { (found.st_nlink as u64).max(1) };
            self.bytes += (found.st_blocks.cast_unsigned() * 512).max(ENTRY) / names;
            if !is_directory {
                continue;
            }
            let Ok(directory) = open_to_read(parent, name) else { continue };
            if level < LEVELS {
                self.measure(directory, level + 1);
            } else if self.deep.len() < DEEP {
                self.deep.push(directory);
            } else {
                // The only use of such a tree is to hide data in it.
                self.bytes = u64::MAX;
            }
        }
    }
}

/// Opens a directory for reading. If its permissions forbid that to its owner, widens them and restores them right
/// afterwards.
fn open_to_read(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let path = open(parent, name, OFlags::PATH)?;
    match open(path.as_fd(), c".", OFlags::RDONLY) {
        Err(Errno::ACCESS) => {
            let mode = rustix::fs::fstat(&path)?.st_mode & 0o7777;
            set_mode(&path, mode | 0o500)?;
            let opened = open(path.as_fd(), c".", OFlags::RDONLY);
            set_mode(&path, mode)?;
            opened
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::*;

    /// Makes a chain of directories without a long path. Returns the innermost one.
    fn chain(under: &Path, levels: usize) -> OwnedFd {
        let mut inner = rustix::fs::open(under, OFlags::DIRECTORY | OFlags::PATH, Mode::empty()).unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&inner, c"d", Mode::RWXU).unwrap();
            inner = open(inner.as_fd(), c"d", OFlags::PATH).unwrap();
        }
        inner
    }

    fn write(directory: &OwnedFd, name: &CStr, bytes: usize) {
        let flags = OFlags::WRONLY | OFlags::CREATE;
        let file = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR).unwrap();
        assert_eq!(rustix::io::write(&file, &vec![1; bytes]).unwrap(), bytes);
    }

    /// Promise: a tree is removed whatever its depth, width, permissions and links, and nothing outside it is.
    #[test]
    fn a_tree_of_any_shape_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(place.path().join("kept"), "kept").unwrap();
        write(&chain(&tree, 5 * LEVELS), c"last", 10);
        let wide = tree.join("wide");
        for number in 0..300 {
            fs::create_dir_all(wide.join(format!("{number}/inner"))).unwrap();
            fs::write(wide.join(format!("{number}/file")), "x").unwrap();
        }
        // Directories lie at the level from which they are moved up, too.
        let deep = chain(&wide, LEVELS);
        for name in [c"a", c"b", c".deep-0-0"] {
            rustix::fs::mkdirat(&deep, name, Mode::RWXU).unwrap();
            write(&open(deep.as_fd(), name, OFlags::PATH).unwrap(), c"x", 1);
        }
        symlink("..", wide.join("up")).unwrap();
        symlink(place.path(), deep_link(&deep)).unwrap();
        let closed = tree.join("closed/inner");
        fs::create_dir_all(closed.join("more")).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o0)).unwrap();
        fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o0)).unwrap();

        empty(rustix::fs::open(&tree, OFlags::DIRECTORY, Mode::empty()).unwrap()).unwrap();
        assert!(fs::read_dir(&tree).unwrap().next().is_none());
        assert_eq!(fs::read_to_string(place.path().join("kept")).unwrap(), "kept");
    }

    fn deep_link(directory: &OwnedFd) -> std::path::PathBuf {
        format!("/proc/self/fd/{}/out", directory.as_raw_fd()).into()
    }

    /// Promise: a tree counts the disk space that it takes, whatever its depth. A file with several names counts once.
    /// Measuring stops early.
    #[test]
    fn a_tree_counts_what_it_takes() {
        const MIB: usize = 1 << 20;
        let place = tempfile::tempdir().unwrap();
        let measure = |enough| usage(rustix::fs::open(place.path(), OFlags::DIRECTORY, Mode::empty()).unwrap(), enough);
        let deep = chain(place.path(), 10 * LEVELS);
        let empty = measure(u64::MAX);
        assert!(empty >= 10 * LEVELS as u64 * ENTRY, "{empty}");
        write(&deep, c"file", MIB);
        for name in [c"second", c"third"] {
            rustix::fs::linkat(&deep, c"file", &deep, name, AtFlags::empty()).unwrap();
        }
        symlink("/usr", place.path().join("usr")).unwrap();
        let (least, most) = (empty + MIB as u64, empty + MIB as u64 + 32 * 1024);
        let found = measure(u64::MAX);
        assert!((least..most).contains(&found), "{found} is not in {least}..{most}");
        let early = measure(ENTRY);
        assert!(early < empty / 2, "{early}");
    }
}
