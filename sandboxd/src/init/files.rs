//! The file operations of a sandbox, done inside it, with the rights of the acting user and no others.
//!
//! The kernel resolves every path in the sandbox's own mounts. Each operation has a thread of its own, which becomes the
//! acting user before it looks at the first path. So a link may lead wherever it likes, and be put there at any moment: the
//! kernel allows no more than it would allow a program of that user. What was found is held open and worked on through its
//! descriptor, so that an answer is about one file. File contents do not pass here: reading and writing return an open
//! descriptor.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType as Kind, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, fstat};
use rustix::io::Errno;

use super::entry::{about, describe, kind_of, replace_metadata};
use super::users::{self, Names, User};
use crate::wire::{EntryInfo, Failure, FailureKind, FileOp, FileType, Reply};

/// Entries of one directory listing: about 20 MB of JSON, under the bound of a frame.
const MAX_ENTRIES: usize = 65_536;

/// Entries that are looked at together when a directory is removed: what bounds the memory of it.
const MAX_SWEEP: usize = 1024;

/// Where the default user works: the working directory of the default template.
const WORKDIR: &str = "/home/user";

/// How a directory is held that is only worked in.
const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// How a directory is opened whose entries are read.
const LISTED: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// Absolute, cleaned form of a path of the API: absolute, or with `~` or without relative to the user's home. An empty one
/// is the default working directory, whoever acts.
pub(super) fn resolve(path: &str, user: &User) -> String {
    let path = match path.strip_prefix('~') {
        _ if path.is_empty() => PathBuf::from(WORKDIR),
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            Path::new(&user.home).join(rest.trim_start_matches('/'))
        }
        _ => Path::new(&user.home).join(path),
    };
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean.to_string_lossy().into_owned()
}

/// Does one operation as `user`; `beside` came with the request. The calling thread is that user afterwards, for good.
pub(super) fn perform(user: &str, op: FileOp, beside: Option<OwnedFd>) -> Result<(Reply, Option<OwnedFd>), Failure> {
    let user = users::find(user)?;
    users::assume(&user).map_err(|error| Failure {
        kind: FailureKind::Internal,
        message: format!("cannot act as user '{}': {error}", user.name),
    })?;
    let at = |path: &str| resolve(path, &user);
    match op {
        FileOp::Stat { path } => stat(&at(&path)).map(|reply| (reply, None)),
        FileOp::MakeDir { path } => make_dir(&at(&path)).map(|reply| (reply, None)),
        FileOp::Move { source, destination } => rename(&at(&source), &at(&destination)).map(|reply| (reply, None)),
        FileOp::List { path, depth } => list(&at(&path), depth).map(|reply| (reply, None)),
        FileOp::Remove { path } => remove(&at(&path)).map(|reply| (reply, None)),
        FileOp::Read { path } => open_for_reading(&at(&path)),
        FileOp::Write { path, metadata } => open_for_writing(&at(&path), &user, &metadata),
        FileOp::OpenDir { path, allow_network_mounts } => open_directory(&at(&path), allow_network_mounts),
        FileOp::OpenBelow { path } => open_below(beside, &path),
    }
}

/// Opens a path as a program of the user would. Only the links by which `/proc` leads to open files and foreign roots are
/// refused: to this process they show what others have open.
fn open(path: &str, how: OFlags) -> io::Result<OwnedFd> {
    open_at(CWD, OsStr::new(path), how)
}

/// The same from a directory on.
pub(super) fn open_at(directory: impl AsFd, path: &OsStr, how: OFlags) -> io::Result<OwnedFd> {
    let mode = if how.contains(OFlags::CREATE) { Mode::from_raw_mode(0o666) } else { Mode::empty() };
    Ok(rustix::fs::openat2(directory, path, how | OFlags::CLOEXEC, mode, ResolveFlags::NO_MAGICLINKS)?)
}

/// The directory that a path is in, and its name there.
fn split(path: &str) -> (&str, &OsStr) {
    match path.rsplit_once('/') {
        Some((_, "")) | None => ("/", OsStr::new(".")),
        Some(("", name)) => ("/", OsStr::new(name)),
        Some((parent, name)) => (parent, OsStr::new(name)),
    }
}

fn stat(path: &str) -> Result<Reply, Failure> {
    let (parent, name) = split(path);
    let entry = open(parent, PLACE).and_then(|parent| describe(&parent, name, path, &Names::load()));
    Ok(Reply::Entry(Box::new(entry.map_err(|error| failure(&error, "stat", path))?)))
}

fn make_dir(path: &str) -> Result<Reply, Failure> {
    match open(path, OFlags::PATH).and_then(|found| Ok(fstat(&found)?)) {
        Ok(found) if kind_of(&found) == Kind::Directory => {
            return Err(Failure {
                kind: FailureKind::AlreadyExists,
                message: format!("directory already exists: {path}"),
            });
        }
        Ok(_) => return Err(invalid(format!("path already exists but it is not a directory: {path}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failure(&error, "make the directory", path)),
    }
    make_directories(path)?;
    stat(path)
}

/// Opens a directory and makes what is missing on the way to it.
fn make_directories(path: &str) -> Result<OwnedFd, Failure> {
    let made = match open(path, PLACE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => open("/", PLACE).and_then(|mut here| {
            for name in path.split('/').filter(|name| !name.is_empty()).map(OsStr::new) {
                here = match open_at(&here, name, PLACE) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        match rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(0o777)) {
                            // Somebody else was faster.
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
    };
    made.map_err(|error| failure(&error, "make the directory", path))
}

fn rename(source: &str, destination: &str) -> Result<Reply, Failure> {
    let fail = |error: io::Error| failure(&error, "move", source);
    let ((from, old), (to, new)) = (split(source), split(destination));
    let from = open(from, PLACE).map_err(fail)?;
    // Before directories are made for nothing.
    open_at(&from, old, OFlags::PATH | OFlags::NOFOLLOW).map_err(fail)?;
    let to = make_directories(to)?;
    rustix::fs::renameat(&from, old, &to, new).map_err(|errno| fail(errno.into()))?;
    let entry = describe(&to, new, destination, &Names::load());
    Ok(Reply::Entry(Box::new(entry.map_err(|error| failure(&error, "stat", destination))?)))
}

/// Lists in the order of names, each directory before its content. Links are not followed, and what lies in a directory
/// that the user may not read is not told.
fn list(path: &str, depth: u32) -> Result<Reply, Failure> {
    let root = match open(path, LISTED) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(invalid(format!("path is not a directory: {path}")));
        }
        opened => opened.map_err(|error| failure(&error, "list", path))?,
    };
    let (names, mut entries) = (Names::load(), Vec::new());
    // What was found and is yet to be told, the next one last, with how much deeper it is listed.
    let mut found: Vec<(PathBuf, EntryInfo, u32)> = Vec::new();
    let mut next = Some((PathBuf::new(), depth.max(1)));
    while let Some((below, depth)) = next.take() {
        let directory = if below.as_os_str().is_empty() { root.try_clone() } else { beneath(&root, &below) };
        let listed = directory.and_then(|directory| Ok((children(&directory, MAX_ENTRIES + 1)?, directory)));
        match listed {
            Ok((mut children, directory)) => {
                children.sort_unstable();
                for name in children.into_iter().rev() {
                    let below = below.join(&name);
                    let shown = Path::new(path).join(&below).to_string_lossy().into_owned();
                    // One that vanished since is no error of the listing.
                    if let Ok(entry) = describe(&directory, &name, &shown, &names) {
                        found.push((below, entry, depth - 1));
                    }
                }
            }
            Err(error)
                if !below.as_os_str().is_empty()
                    && matches!(
                        Errno::from_io_error(&error),
                        Some(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
                    ) => {}
            Err(error) => return Err(failure(&error, "list", &Path::new(path).join(&below).to_string_lossy())),
        }
        if entries.len() + found.len() > MAX_ENTRIES {
            return Err(Failure {
                kind: FailureKind::ResourceExhausted,
                message: format!("more than {MAX_ENTRIES} entries; list a smaller directory or a smaller depth"),
            });
        }
        while next.is_none()
            && let Some((below, entry, depth)) = found.pop()
        {
            let descend = depth > 0 && entry.symlink_target.is_none() && entry.kind == Some(FileType::Directory);
            entries.push(entry);
            next = descend.then_some((below, depth));
        }
    }
    Ok(Reply::Entries(entries))
}

/// Names in a directory, `most` at most.
fn children(directory: &OwnedFd, most: usize) -> Result<Vec<OsString>, Errno> {
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

/// Opens a directory below another one, by no link.
fn beneath(directory: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let how = LISTED | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(rustix::fs::openat2(directory, path, how, Mode::empty(), within)?)
}

fn remove(path: &str) -> Result<Reply, Failure> {
    let (parent, name) = split(path);
    let removed = open(parent, PLACE).and_then(|parent| match remove_one(&parent, name)? {
        true => Ok(()),
        false => remove_tree(&parent, name),
    });
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failure(&error, "remove", path)),
        _ => Ok(Reply::Done),
    }
}

/// Removes what can be removed in one call; whether that was all of it.
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
    /// In the one above.
    name: OsString,
    /// Which one that is.
    above: (u64, u64),
    sweep: Sweep,
}

/// What is left in a directory after what could be removed at once.
struct Sweep {
    directories: Vec<OsString>,
    /// Whether there was no more in it.
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

/// Removes a directory of any depth with a few descriptors. Who moves directories meanwhile cannot lead it to another one:
/// on the way up each has to be the one that it came through.
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
            // Somebody fills it as fast as it is emptied.
            return Err(Errno::NOTEMPTY.into());
        } else {
            level.sweep = Sweep::of(&here)?;
        }
    }
    Ok(())
}

fn open_for_reading(path: &str) -> Result<(Reply, Option<OwnedFd>), Failure> {
    // NONBLOCK: a named pipe must not hold the thread.
    let file = open(path, OFlags::RDONLY | OFlags::NONBLOCK).map_err(|error| failure(&error, "read", path))?;
    let found = regular(&file, "read", path)?;
    Ok((Reply::Entry(Box::new(about(&file, &found, path, &Names::load()))), Some(file)))
}

fn open_for_writing(
    path: &str,
    user: &User,
    metadata: &BTreeMap<String, String>,
) -> Result<(Reply, Option<OwnedFd>), Failure> {
    let fail = |error: io::Error| failure(&error, "write", path);
    let (parent, name) = split(path);
    let parent = make_directories(parent)?;
    let how = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NONBLOCK;
    let file = open_at(&parent, name, how).map_err(fail)?;
    let found = regular(&file, "write", path)?;
    if users::are_several() && found.st_uid != user.uid {
        // What is written becomes the writer's, as with E2B, where he may take it: only root may.
        let _ = rustix::fs::fchown(&file, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
    }
    replace_metadata(&file, metadata).map_err(|error| failure(&error, "set the metadata of", path))?;
    let found = fstat(&file).map_err(|errno| fail(errno.into()))?;
    Ok((Reply::Entry(Box::new(about(&file, &found, path, &Names::load()))), Some(file)))
}

fn open_directory(path: &str, allow_network_mounts: bool) -> Result<(Reply, Option<OwnedFd>), Failure> {
    let directory = match open(path, LISTED) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(invalid(format!("path {path} is not a directory")));
        }
        opened => opened.map_err(|error| failure(&error, "watch", path))?,
    };
    if !allow_network_mounts && on_network_mount(&directory) {
        return Err(invalid(format!("cannot watch path on network filesystem: {path}")));
    }
    Ok((Reply::Done, Some(directory)))
}

fn open_below(directory: Option<OwnedFd>, path: &str) -> Result<(Reply, Option<OwnedFd>), Failure> {
    let directory = directory.ok_or_else(|| invalid("no directory came with the request".to_owned()))?;
    let opened = beneath(&directory, Path::new(path)).map_err(|error| failure(&error, "watch", path))?;
    Ok((Reply::Done, Some(opened)))
}

/// Opens the directory that a program of this user begins in. For the calling thread as [`perform`].
pub(super) fn open_working_directory(path: &str, user: &User) -> io::Result<OwnedFd> {
    users::assume(user)?;
    open(path, PLACE)
}

/// Whether a file lies on NFS, SMB or FUSE, where changes made elsewhere cause no event.
fn on_network_mount(file: &OwnedFd) -> bool {
    const NFS: i64 = 0x6969;
    const SMB: i64 = 0x517b;
    const CIFS: i64 = 0xff53_4d42;
    const SMB2: i64 = 0xfe53_4d42;
    const FUSE: i64 = 0x6573_5546;
    rustix::fs::fstatfs(file).is_ok_and(|found| [NFS, SMB, CIFS, SMB2, FUSE].contains(&(found.f_type & 0xffff_ffff)))
}

fn regular(file: &OwnedFd, what: &str, path: &str) -> Result<Stat, Failure> {
    let found = fstat(file).map_err(|errno| failure(&errno.into(), what, path))?;
    match kind_of(&found) {
        Kind::RegularFile => Ok(found),
        Kind::Directory => Err(invalid(format!("path '{path}' is a directory"))),
        _ => Err(invalid(format!("path '{path}' is not a regular file"))),
    }
}

fn invalid(message: String) -> Failure {
    Failure { kind: FailureKind::InvalidArgument, message }
}

fn failure(error: &io::Error, what: &str, path: &str) -> Failure {
    let (kind, message) = match error.kind() {
        io::ErrorKind::NotFound => (FailureKind::NotFound, format!("path '{path}' does not exist")),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (FailureKind::PermissionDenied, format!("cannot {what} '{path}': {error}"))
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (FailureKind::NoSpace, format!("cannot {what} '{path}': not enough disk space"))
        }
        io::ErrorKind::AlreadyExists
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::DirectoryNotEmpty
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidFilename
        | io::ErrorKind::CrossesDevices => (FailureKind::InvalidArgument, format!("cannot {what} '{path}': {error}")),
        _ if Errno::from_io_error(error) == Some(Errno::LOOP) => {
            (FailureKind::InvalidArgument, format!("cannot {what} '{path}': a link on the way leads nowhere"))
        }
        _ => (FailureKind::Internal, format!("cannot {what} '{path}': {error}")),
    };
    Failure { kind, message }
}
