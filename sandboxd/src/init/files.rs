//! The file operations of a sandbox, done inside it: the kernel resolves every path in the sandbox's own mounts.
//!
//! As with E2B's daemon they run with the init's identity (root where the server is root), and what they create belongs to
//! the acting user. File contents do not pass here: reading and writing return an open descriptor.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{OFlags, XattrFlags};

use super::users::{self, Names, User};
use crate::wire::{EntryInfo, Failure, FailureKind, FileOp, FileType, Reply};

/// Entries of one directory listing: about 20 MB of JSON, under the bound of a frame.
const MAX_ENTRIES: usize = 65_536;

/// Where relative paths start, whoever acts: the working directory of the default template.
const WORKDIR: &str = "/home/user";

/// Extended attributes with this prefix are the metadata of a file.
const METADATA_PREFIX: &str = "user.e2b.";

/// Bytes of one metadata value or of the list of names, as read back.
const MAX_METADATA: usize = 64 * 1024;

/// Absolute, cleaned form of a path of the API: absolute, `~`, or relative to the working directory.
pub(super) fn resolve(path: &str, user: &User) -> String {
    let path = match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            Path::new(&user.home).join(rest.trim_start_matches('/'))
        }
        _ => Path::new(WORKDIR).join(path),
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

/// Does one operation as `user`.
pub(super) fn perform(user: &str, op: FileOp) -> Result<(Reply, Option<OwnedFd>), Failure> {
    let user = users::find(user)?;
    match op {
        FileOp::Stat { path } => stat(&resolve(&path, &user)).map(|reply| (reply, None)),
        FileOp::MakeDir { path } => make_dir(&resolve(&path, &user), &user).map(|reply| (reply, None)),
        FileOp::Move { source, destination } => {
            rename(&resolve(&source, &user), &resolve(&destination, &user), &user).map(|reply| (reply, None))
        }
        FileOp::List { path, depth } => list(&resolve(&path, &user), depth).map(|reply| (reply, None)),
        FileOp::Remove { path } => remove(&resolve(&path, &user)).map(|reply| (reply, None)),
        FileOp::Read { path } => open_for_reading(&resolve(&path, &user)),
        FileOp::Write { path, metadata } => open_for_writing(&resolve(&path, &user), &user, &metadata),
        FileOp::OpenDir { path, allow_network_mounts } => open_directory(&resolve(&path, &user), allow_network_mounts),
    }
}

fn stat(path: &str) -> Result<Reply, Failure> {
    let entry = describe(path, &Names::load()).map_err(|error| failure(&error, "stat", path))?;
    Ok(Reply::Entry(Box::new(entry)))
}

fn make_dir(path: &str, user: &User) -> Result<Reply, Failure> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return Err(Failure {
                kind: FailureKind::AlreadyExists,
                message: format!("directory already exists: {path}"),
            });
        }
        Ok(_) => {
            return Err(invalid(format!("path already exists but it is not a directory: {path}")));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failure(&error, "make the directory", path)),
    }
    make_parents(Path::new(path), user).map_err(|error| failure(&error, "make the directory", path))?;
    stat(path)
}

/// Makes a directory and its missing parents, all owned by the user.
fn make_parents(path: &Path, user: &User) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_parents(parent, user)?;
    }
    match fs::create_dir(path) {
        Ok(()) => own(path, user),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

fn own(path: &Path, user: &User) -> io::Result<()> {
    if users::are_several() {
        std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid))?;
    }
    Ok(())
}

fn rename(source: &str, destination: &str, user: &User) -> Result<Reply, Failure> {
    fs::symlink_metadata(source).map_err(|error| failure(&error, "move", source))?;
    if let Some(parent) = Path::new(destination).parent() {
        make_parents(parent, user).map_err(|error| failure(&error, "make the directory", &parent.to_string_lossy()))?;
    }
    fs::rename(source, destination).map_err(|error| failure(&error, "move", source))?;
    stat(destination)
}

fn list(path: &str, depth: u32) -> Result<Reply, Failure> {
    let root = fs::metadata(path).map_err(|error| failure(&error, "list", path))?;
    if !root.is_dir() {
        return Err(invalid(format!("path is not a directory: {path}")));
    }
    let names = Names::load();
    let mut entries = Vec::new();
    walk(Path::new(path), depth.max(1), &names, &mut entries)?;
    Ok(Reply::Entries(entries))
}

/// Adds what is under `directory` in the order of names, each directory before its content. Links are not followed.
fn walk(directory: &Path, depth: u32, names: &Names, entries: &mut Vec<EntryInfo>) -> Result<(), Failure> {
    let children = fs::read_dir(directory).map_err(|error| failure(&error, "list", &directory.to_string_lossy()))?;
    let mut children: Vec<PathBuf> =
        children.filter_map(|child| Some(child.ok()?.path())).take(MAX_ENTRIES + 1).collect();
    children.sort();
    for child in children {
        if entries.len() >= MAX_ENTRIES {
            return Err(Failure {
                kind: FailureKind::ResourceExhausted,
                message: format!("more than {MAX_ENTRIES} entries; list a smaller directory or a smaller depth"),
            });
        }
        // One that vanished since is no error of the listing.
        let Ok(entry) = describe(&child.to_string_lossy(), names) else {
            continue;
        };
        let descend = depth > 1 && entry.symlink_target.is_none() && entry.kind == Some(FileType::Directory);
        entries.push(entry);
        if descend {
            walk(&child, depth - 1, names, entries)?;
        }
    }
    Ok(())
}

fn remove(path: &str) -> Result<Reply, Failure> {
    let result = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failure(&error, "remove", path)),
        _ => Ok(Reply::Done),
    }
}

fn open_for_reading(path: &str) -> Result<(Reply, Option<OwnedFd>), Failure> {
    // NONBLOCK: a named pipe must not hold the thread.
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags(OFlags::NONBLOCK))
        .open(path)
        .map_err(|error| failure(&error, "read", path))?;
    regular(&file, path)?;
    let mut entry = describe(path, &Names::load()).map_err(|error| failure(&error, "read", path))?;
    // Of what was opened, whatever leads to it.
    let size = file.metadata().map_err(|error| failure(&error, "read", path))?.len();
    entry.size = Some(size.to_string());
    Ok((Reply::Entry(Box::new(entry)), Some(file.into())))
}

fn open_for_writing(
    path: &str,
    user: &User,
    metadata: &BTreeMap<String, String>,
) -> Result<(Reply, Option<OwnedFd>), Failure> {
    let target = Path::new(path);
    if target.is_dir() {
        return Err(invalid(format!("path is a directory: {path}")));
    }
    if let Some(parent) = target.parent() {
        make_parents(parent, user).map_err(|error| failure(&error, "make the directory", &parent.to_string_lossy()))?;
    }
    let new = !target.exists();
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o666)
        .custom_flags(flags(OFlags::NONBLOCK))
        .open(path)
        .map_err(|error| failure(&error, "write", path))?;
    regular(&file, path)?;
    if new && users::are_several() {
        std::os::unix::fs::fchown(&file, Some(user.uid), Some(user.gid))
            .map_err(|error| failure(&error, "own", path))?;
    }
    replace_metadata(&file, metadata).map_err(|error| failure(&error, "set the metadata of", path))?;
    let entry = describe(path, &Names::load()).map_err(|error| failure(&error, "write", path))?;
    Ok((Reply::Entry(Box::new(entry)), Some(file.into())))
}

fn open_directory(path: &str, allow_network_mounts: bool) -> Result<(Reply, Option<OwnedFd>), Failure> {
    let directory = File::open(path).map_err(|error| failure(&error, "watch", path))?;
    if !directory.metadata().is_ok_and(|found| found.is_dir()) {
        return Err(invalid(format!("path {path} is not a directory")));
    }
    if !allow_network_mounts && on_network_mount(&directory) {
        return Err(invalid(format!("cannot watch path on network filesystem: {path}")));
    }
    Ok((Reply::Done, Some(directory.into())))
}

/// Whether a file lies on NFS, SMB or FUSE, where changes made elsewhere cause no event.
fn on_network_mount(file: &File) -> bool {
    const NFS: i64 = 0x6969;
    const SMB: i64 = 0x517b;
    const CIFS: i64 = 0xff53_4d42;
    const SMB2: i64 = 0xfe53_4d42;
    const FUSE: i64 = 0x6573_5546;
    rustix::fs::fstatfs(file).is_ok_and(|found| [NFS, SMB, CIFS, SMB2, FUSE].contains(&(found.f_type & 0xffff_ffff)))
}

fn regular(file: &File, path: &str) -> Result<(), Failure> {
    match file.metadata() {
        Ok(found) if found.is_file() => Ok(()),
        Ok(found) if found.is_dir() => Err(invalid(format!("path '{path}' is a directory"))),
        Ok(_) => Err(invalid(format!("path '{path}' is not a regular file"))),
        Err(error) => Err(failure(&error, "look at", path)),
    }
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).expect("open flags fit an int")
}

/// Describes what is at a path; a link is described by what it points to.
fn describe(path: &str, names: &Names) -> io::Result<EntryInfo> {
    let own = fs::symlink_metadata(path)?;
    let link = own.is_symlink();
    let (found, symlink_target) = if link {
        let target = fs::canonicalize(path).or_else(|_| fs::read_link(path))?;
        (fs::metadata(path).unwrap_or(own), Some(target.to_string_lossy().into_owned()))
    } else {
        (own, None)
    };
    let kind = if found.is_dir() {
        Some(FileType::Directory)
    } else if found.is_file() {
        Some(FileType::File)
    } else if found.is_symlink() {
        Some(FileType::Symlink)
    } else {
        None
    };
    Ok(EntryInfo {
        name: Path::new(path).file_name().map_or_else(|| "/".to_owned(), |name| name.to_string_lossy().into_owned()),
        kind,
        path: path.to_owned(),
        size: (found.len() > 0).then(|| found.len().to_string()),
        mode: found.permissions().mode() & 0o777,
        permissions: permissions(&found),
        owner: names.user(found.uid()),
        group: names.group(found.gid()),
        modified_time: found.modified().ok().and_then(|time| jiff::Timestamp::try_from(time).ok()),
        symlink_target,
        metadata: if found.is_file() { read_metadata(path) } else { BTreeMap::new() },
    })
}

/// Permissions as Go prints them, which is what clients of E2B see.
fn permissions(found: &Metadata) -> String {
    let mode = found.permissions().mode();
    let kind = found.file_type();
    let mut text = String::new();
    for (set, letter) in [
        (kind.is_dir(), 'd'),
        (kind.is_symlink(), 'L'),
        (kind.is_block_device() || kind.is_char_device(), 'D'),
        (kind.is_fifo(), 'p'),
        (kind.is_socket(), 'S'),
        (mode & 0o4000 != 0, 'u'),
        (mode & 0o2000 != 0, 'g'),
        (kind.is_char_device(), 'c'),
        (mode & 0o1000 != 0, 't'),
    ] {
        if set {
            text.push(letter);
        }
    }
    if text.is_empty() {
        text.push('-');
    }
    for (bit, letter) in "rwxrwxrwx".chars().enumerate() {
        text.push(if mode & (0o400 >> bit) == 0 { '-' } else { letter });
    }
    text
}

fn metadata_names(path: &str) -> Vec<String> {
    let Ok(1..) = rustix::fs::listxattr_query(path) else {
        return Vec::new();
    };
    let mut list = vec![0_u8; MAX_METADATA];
    let Ok(length) = rustix::fs::listxattr(path, &mut list[..]) else {
        return Vec::new();
    };
    list[..length]
        .split(|byte| *byte == 0)
        .filter_map(|name| std::str::from_utf8(name).ok()?.strip_prefix(METADATA_PREFIX).map(str::to_owned))
        .collect()
}

fn read_metadata(path: &str) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::new();
    for name in metadata_names(path) {
        let mut value = vec![0_u8; MAX_METADATA];
        if let Ok(length) = rustix::fs::getxattr(path, format!("{METADATA_PREFIX}{name}"), &mut value[..]) {
            value.truncate(length);
            metadata.insert(name, String::from_utf8_lossy(&value).into_owned());
        }
    }
    metadata
}

fn replace_metadata(file: &File, metadata: &BTreeMap<String, String>) -> io::Result<()> {
    let mut list = vec![0_u8; MAX_METADATA];
    let length = rustix::fs::flistxattr(file, &mut list[..]).unwrap_or(0);
    for name in list[..length].split(|byte| *byte == 0) {
        if name.starts_with(METADATA_PREFIX.as_bytes()) {
            rustix::fs::fremovexattr(file, name)?;
        }
    }
    for (name, value) in metadata {
        rustix::fs::fsetxattr(file, format!("{METADATA_PREFIX}{name}"), value.as_bytes(), XattrFlags::empty())?;
    }
    Ok(())
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
        _ => (FailureKind::Internal, format!("cannot {what} '{path}': {error}")),
    };
    Failure { kind, message }
}
