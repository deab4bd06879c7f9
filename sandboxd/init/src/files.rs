//! The file operations of a sandbox, done inside it, with exactly the rights of the acting user.
//!
//! The kernel resolves every path in the sandbox's own mounts. Each operation has a thread of its own, which becomes
//! the acting user before it looks at the first path. So a link may lead anywhere and may be placed at any moment: the
//! kernel allows no more than it would allow a program of that user. Files are opened once and then used through their
//! descriptors, so that an answer is about one file. File contents do not pass here: reading and writing return an open
//! descriptor.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType as Kind, Gid, OFlags, Stat, Uid, fstat};
use rustix::io::Errno;

use super::entry::{about, describe, kind_of, replace_metadata};
use super::open::{LISTED, PLACE, beneath, children, make_directories, open, open_at, split};
use super::remove::remove_all;
use super::users::{self, Names, User};
use crate::wire::{EntryInfo, Failure, FailureKind, FileOp, FileType, Reply};

/// The largest number of entries in one listing: about 20 MB of JSON, below the bound of a frame.
const MAX_ENTRIES: usize = 65_536;

/// The working directory of the default user and the default template.
const WORKDIR: &str = "/home/user";

/// Makes a path of the API absolute and clean. A path that is not absolute, or begins with `~`, is relative to the
/// user's home. An empty path means the default working directory, whoever acts.
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

/// Does one operation as `user`. `beside` is the descriptor that came with the request. The calling thread keeps the
/// rights of that user for good.
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
    make_directories(path).map_err(|error| failure(&error, "make the directory", path))?;
    stat(path)
}

fn rename(source: &str, destination: &str) -> Result<Reply, Failure> {
    let move_failure = |error: io::Error| failure(&error, "move", source);
    let ((from, old), (to, new)) = (split(source), split(destination));
    let from = open(from, PLACE).map_err(move_failure)?;
    // Checks the source before it creates directories.
    open_at(&from, old, OFlags::PATH | OFlags::NOFOLLOW).map_err(move_failure)?;
    let to = make_directories(to).map_err(|error| failure(&error, "make the directory", to))?;
    rustix::fs::renameat(&from, old, &to, new).map_err(|errno| move_failure(errno.into()))?;
    let entry = describe(&to, new, destination, &Names::load());
    Ok(Reply::Entry(Box::new(entry.map_err(|error| failure(&error, "stat", destination))?)))
}

/// Lists a directory in the order of names, each directory before its content. Does not follow links. Leaves out what
/// lies in directories that the user may not read.
fn list(path: &str, depth: u32) -> Result<Reply, Failure> {
    let root = match open(path, LISTED) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(invalid(format!("path is not a directory: {path}")));
        }
        opened => opened.map_err(|error| failure(&error, "list", path))?,
    };
    let (names, mut entries) = (Names::load(), Vec::new());
    // Entries that were found and not yet listed, the next one last. The number says how many levels below each are
    // listed.
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
                    // An entry that vanished in the meantime is no error of the listing.
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

fn remove(path: &str) -> Result<Reply, Failure> {
    let (parent, name) = split(path);
    let removed = open(parent, PLACE).and_then(|parent| remove_all(&parent, name));
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failure(&error, "remove", path)),
        _ => Ok(Reply::Done),
    }
}

fn open_for_reading(path: &str) -> Result<(Reply, Option<OwnedFd>), Failure> {
    // Without NONBLOCK, a named pipe would block the thread.
    let file = open(path, OFlags::RDONLY | OFlags::NONBLOCK).map_err(|error| failure(&error, "read", path))?;
    let found = regular(&file, "read", path)?;
    Ok((Reply::Entry(Box::new(about(&file, &found, path, &Names::load()))), Some(file)))
}

fn open_for_writing(
    path: &str,
    user: &User,
    metadata: &BTreeMap<String, String>,
) -> Result<(Reply, Option<OwnedFd>), Failure> {
    let write_failure = |error: io::Error| failure(&error, "write", path);
    let (parent, name) = split(path);
    let parent = make_directories(parent).map_err(|error| failure(&error, "make the directory", parent))?;
    let how = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NONBLOCK;
    let file = open_at(&parent, name, how).map_err(write_failure)?;
    let found = regular(&file, "write", path)?;
    if users::are_several() && found.st_uid != user.uid {
        // As with E2B, the file becomes the writer's if the writer may take it. Only root may.
        let _ = rustix::fs::fchown(&file, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
    }
    replace_metadata(&file, metadata).map_err(|error| failure(&error, "set the metadata of", path))?;
    let found = fstat(&file).map_err(|errno| write_failure(errno.into()))?;
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

/// Opens the working directory of a program of this user. Like [`perform`], this changes the rights of the calling
/// thread for good.
pub(super) fn open_working_directory(path: &str, user: &User) -> io::Result<OwnedFd> {
    users::assume(user)?;
    open(path, PLACE)
}

/// Whether a file is on NFS, SMB or FUSE. Changes that are made elsewhere cause no events there.
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
