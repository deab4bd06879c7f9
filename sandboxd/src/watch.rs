//! Changes below one directory of a sandbox, from the kernel's inotify. Knows no messages.
//!
//! The directory comes as a descriptor that the sandbox's init opened; everything below it is reached from there, without
//! following links, so the server never resolves a path of a sandbox in its own mounts.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::Serialize;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::wire::Failure;

/// Directories of one recursive watch. The kernel bounds all watches of a user together.
const MAX_DIRECTORIES: usize = 8192;

/// Bytes of one read of events: some hundreds of them.
const BUFFER: usize = 16 * 1024;

/// Why a watch ended or did not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    #[error("events were lost because they were not read fast enough: watch again")]
    Overflow,
    #[error("a recursive watch may have at most {MAX_DIRECTORIES} directories: watch a smaller one")]
    TooManyDirectories,
    #[error("the directory cannot be watched: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Refused(#[from] Failure),
}

/// What happened, with the names of `filesystem.EventType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Kind {
    #[serde(rename = "EVENT_TYPE_CREATE")]
    Create,
    #[serde(rename = "EVENT_TYPE_WRITE")]
    Write,
    #[serde(rename = "EVENT_TYPE_REMOVE")]
    Remove,
    #[serde(rename = "EVENT_TYPE_RENAME")]
    Rename,
    #[serde(rename = "EVENT_TYPE_CHMOD")]
    Chmod,
}

/// One change; the name is relative to the watched directory.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// A running watch; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Watch {
    tree: Arc<Tree>,
    recursive: bool,
    /// Relative path of each watched directory by its inotify number.
    directories: HashMap<i32, PathBuf>,
    /// Changes read and not yet taken.
    changes: VecDeque<Change>,
}

#[derive(Debug)]
struct Tree {
    root: OwnedFd,
    inotify: AsyncFd<OwnedFd>,
}

/// What a scan found: directories now watched, and everything in them but the root's own content.
type Scan = (Vec<(i32, PathBuf)>, Vec<PathBuf>);

impl Watch {
    /// Watches `root`, and with `recursive` everything below it.
    pub(crate) async fn begin(root: OwnedFd, recursive: bool) -> Result<Self, WatchError> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        let tree = Arc::new(Tree { root, inotify: crate::process::register(inotify)? });
        let mut watch = Self { tree, recursive, directories: HashMap::new(), changes: VecDeque::new() };
        watch.scan(PathBuf::new()).await?;
        Ok(watch)
    }

    /// The next change. It stays the next one until [`Watch::taken`] is called, so cancelling loses none.
    pub(crate) async fn next(&mut self) -> Result<Change, WatchError> {
        loop {
            if let Some(change) = self.changes.front() {
                return Ok(change.clone());
            }
            let tree = self.tree.clone();
            let read = tree.inotify.async_io(Interest::READABLE, |inotify| Ok(read_events(inotify)?)).await?;
            let mut new = Vec::new();
            for event in read {
                self.note(event, &mut new)?;
            }
            // A directory that came into being is watched too; what was put in it before that is told as created.
            for directory in new {
                for found in self.scan(directory).await? {
                    self.changes.push_back(Change { name: found.to_string_lossy().into_owned(), kind: Kind::Create });
                }
            }
        }
    }

    /// Lets go of the change that [`Watch::next`] returned last.
    pub(crate) fn taken(&mut self) {
        self.changes.pop_front();
    }

    fn note(&mut self, event: Event, new: &mut Vec<PathBuf>) -> Result<(), WatchError> {
        if event.flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            return Err(WatchError::Overflow);
        }
        if event.flags.contains(ReadFlags::IGNORED) {
            self.directories.remove(&event.watch);
            return Ok(());
        }
        let Some(directory) = self.directories.get(&event.watch) else {
            return Ok(());
        };
        let Some(name) = event.name else {
            return Ok(());
        };
        let path = directory.join(name);
        let kinds = [
            (ReadFlags::CREATE | ReadFlags::MOVED_TO, Kind::Create),
            (ReadFlags::MODIFY, Kind::Write),
            (ReadFlags::DELETE, Kind::Remove),
            (ReadFlags::MOVED_FROM, Kind::Rename),
            (ReadFlags::ATTRIB, Kind::Chmod),
        ];
        for (flags, kind) in kinds {
            if event.flags.intersects(flags) {
                self.changes.push_back(Change { name: path.to_string_lossy().into_owned(), kind });
                if kind == Kind::Create && self.recursive && event.flags.contains(ReadFlags::ISDIR) {
                    new.push(path.clone());
                }
            }
        }
        Ok(())
    }

    /// Adds a directory, and with `recursive` those below it; returns what was found in it.
    async fn scan(&mut self, directory: PathBuf) -> Result<Vec<PathBuf>, WatchError> {
        let (tree, recursive) = (self.tree.clone(), self.recursive);
        let room = MAX_DIRECTORIES.saturating_sub(self.directories.len());
        let scan = tokio::task::spawn_blocking(move || tree.scan(directory, recursive, room));
        let (directories, found) = scan.await.expect("a scan does not panic")?;
        self.directories.extend(directories);
        Ok(found)
    }
}

impl Tree {
    fn scan(&self, top: PathBuf, recursive: bool, room: usize) -> Result<Scan, WatchError> {
        let flags = WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        let (mut watched, mut found) = (Vec::new(), Vec::new());
        let mut todo = vec![top];
        while let Some(path) = todo.pop() {
            if watched.len() >= room {
                return Err(WatchError::TooManyDirectories);
            }
            let directory = match self.open(&path) {
                Ok(directory) => directory,
                // Gone again, or replaced by a link.
                Err(_) if !path.as_os_str().is_empty() => continue,
                Err(errno) => return Err(WatchError::Io(errno.into())),
            };
            let number =
                inotify::add_watch(self.inotify.get_ref(), format!("/proc/self/fd/{}", directory.as_raw_fd()), flags)
                    .map_err(io::Error::from)?;
            watched.push((number, path.clone()));
            if !recursive {
                continue;
            }
            for entry in Dir::new(directory).map_err(io::Error::from)?.flatten() {
                let name = entry.file_name().to_bytes();
                if matches!(name, b"." | b"..") {
                    continue;
                }
                let child = path.join(OsStr::from_bytes(name));
                found.push(child.clone());
                if entry.file_type() == FileType::Directory {
                    todo.push(child);
                }
            }
        }
        Ok((watched, found))
    }

    fn open(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
    }
}

struct Event {
    watch: i32,
    flags: ReadFlags,
    name: Option<PathBuf>,
}

fn read_events(inotify: &OwnedFd) -> Result<Vec<Event>, Errno> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut reader = inotify::Reader::new(inotify.as_fd(), &mut buffer);
    let mut events = Vec::new();
    loop {
        let event = reader.next()?;
        let name = event.file_name().map(|name| PathBuf::from(OsStr::from_bytes(name.to_bytes())));
        events.push(Event { watch: event.wd(), flags: event.events(), name });
        if reader.is_buffer_empty() {
            return Ok(events);
        }
    }
}
