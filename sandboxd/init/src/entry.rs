//! Describes files as the API shows them.
//!
//! Everything is read through descriptors. So one answer is about one file, whatever happens to its path in the
//! meantime. Decides nothing about rights: the calling thread has those of the acting user.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{FileType as Kind, OFlags, Stat, XattrFlags};

use super::open::open_at;
use super::users::Names;
use crate::wire::{EntryInfo, FileType};

/// Extended attributes with this prefix are the metadata of a file.
const METADATA_PREFIX: &str = "user.e2b.";

/// The largest size that is read back, in bytes: of one metadata value, and of the list of names.
const MAX_METADATA: usize = 64 * 1024;

/// Describes the entry `name` of a directory, which the API knows as `path`.
///
/// As with E2B's daemon, a link is described itself. Only its type, mode and metadata are those of its target.
pub(super) fn describe(directory: impl AsFd, name: &OsStr, path: &str, names: &Names) -> io::Result<EntryInfo> {
    let own = open_at(&directory, name, OFlags::PATH | OFlags::NOFOLLOW)?;
    let found = rustix::fs::fstat(&own)?;
    if kind_of(&found) != Kind::Symlink {
        return Ok(about(&own, &found, path, names));
    }
    let mut entry = EntryInfo { kind: Some(FileType::Symlink), ..about(&own, &found, path, names) };
    match open_at(&directory, name, OFlags::PATH) {
        Ok(target) => {
            let leads_to = about(&target, &rustix::fs::fstat(&target)?, path, names);
            (entry.kind, entry.mode, entry.metadata) = (leads_to.kind, leads_to.mode, leads_to.metadata);
            entry.symlink_target = Some(text(rustix::fs::readlink(in_proc(&target), Vec::new())?));
        }
        // The link leads nowhere, or to a place that this user may not enter.
        Err(_) => entry.symlink_target = Some(text(rustix::fs::readlinkat(&own, "", Vec::new())?)),
    }
    Ok(entry)
}

/// Describes an open file, which the API knows as `path`.
pub(super) fn about(file: &OwnedFd, found: &Stat, path: &str, names: &Names) -> EntryInfo {
    let kind = kind_of(found);
    let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/");
    let size = u64::try_from(found.st_size).unwrap_or(0);
    let modified = jiff::Timestamp::new(found.st_mtime, i32::try_from(found.st_mtime_nsec).unwrap_or(0));
    EntryInfo {
        name: name.to_owned(),
        kind: match kind {
            Kind::Directory => Some(FileType::Directory),
            Kind::RegularFile => Some(FileType::File),
            Kind::Symlink => Some(FileType::Symlink),
            _ => None,
        },
        path: path.to_owned(),
        size: (size > 0).then(|| size.to_string()),
        mode: found.st_mode & 0o777,
        permissions: permissions(kind, found.st_mode),
        owner: names.user(found.st_uid),
        group: names.group(found.st_gid),
        modified_time: modified.ok(),
        symlink_target: None,
        metadata: if kind == Kind::RegularFile { read_metadata(file) } else { BTreeMap::new() },
    }
}

pub(super) fn kind_of(found: &Stat) -> Kind {
    Kind::from_raw_mode(found.st_mode)
}

/// Formats permissions as Go does. Clients of E2B see this form.
fn permissions(kind: Kind, mode: u32) -> String {
    let mut text = String::new();
    for (set, letter) in [
        (kind == Kind::Directory, 'd'),
        (kind == Kind::Symlink, 'L'),
        (matches!(kind, Kind::BlockDevice | Kind::CharacterDevice), 'D'),
        (kind == Kind::Fifo, 'p'),
        (kind == Kind::Socket, 'S'),
        (mode & 0o4000 != 0, 'u'),
        (mode & 0o2000 != 0, 'g'),
        (kind == Kind::CharacterDevice, 'c'),
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

/// The path of an open file, for system calls that do not accept an `O_PATH` descriptor.
fn in_proc(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn text(link: std::ffi::CString) -> String {
    link.to_string_lossy().into_owned()
}

fn read_metadata(file: &OwnedFd) -> BTreeMap<String, String> {
    let path = in_proc(file);
    let mut metadata = BTreeMap::new();
    let Ok(1..) = rustix::fs::listxattr_query(&*path) else {
        return metadata;
    };
    let mut list = vec![0_u8; MAX_METADATA];
    let length = rustix::fs::listxattr(&*path, &mut list[..]).unwrap_or(0);
    for attribute in list[..length].split(|byte| *byte == 0) {
        let Some(name) = std::str::from_utf8(attribute).ok().and_then(|name| name.strip_prefix(METADATA_PREFIX)) else {
            continue;
        };
        let mut value = vec![0_u8; MAX_METADATA];
        if let Ok(length) = rustix::fs::getxattr(&*path, attribute, &mut value[..]) {
            value.truncate(length);
            metadata.insert(name.to_owned(), String::from_utf8_lossy(&value).into_owned());
        }
    }
    metadata
}

/// Replaces all metadata of an open file.
pub(super) fn replace_metadata(file: &OwnedFd, metadata: &BTreeMap<String, String>) -> io::Result<()> {
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
