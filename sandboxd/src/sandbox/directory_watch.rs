//! Reports changes below one directory of a sandbox, from the kernel's inotify. Knows no messages.
//!
//! The directory comes as a descriptor that the sandbox's init opened. The init also opens everything below it, without
//! following links and with the rights of the user who watches. So the server never resolves a sandbox's path in its
//! own mounts, and it reports nothing that this user could not list.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{Dir, FileType};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::descriptor::register;
use crate::sandbox::Sandbox;
use crate::sandbox::watchers::{Change, ChangeKind};
use sandboxd_init::wire::Failure;

/// Directories of one recursive watch. The kernel limits the watches of a user as a whole.
const MAX_DIRECTORIES: usize = 8192;

/// Bytes of one read of events: room for some hundreds.
const BUFFER: usize = 16 * 1024;

/// Why a watch ended or could not begin.
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

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct DirectoryWatch {
    sandbox: Arc<Sandbox>,
    user: String,
    root: OwnedFd,
    inotify: Arc<AsyncFd<OwnedFd>>,
    recursive: bool,
    /// Relative path of each watched directory by its inotify number.
    directories: HashMap<i32, PathBuf>,
    /// Changes that were read and not yet taken.
    changes: VecDeque<Change>,
}

impl DirectoryWatch {
    /// Watches `root`, and with `recursive` everything below it that `user` may list.
    pub(crate) async fn begin(
        sandbox: Arc<Sandbox>,
        user: String,
        root: OwnedFd,
        recursive: bool,
    ) -> Result<Self, WatchError> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        let inotify = Arc::new(register(inotify)?);
        let (directories, changes) = (HashMap::new(), VecDeque::new());
        let mut watch = Self { sandbox, user, root, inotify, recursive, directories, changes };
        watch.scan(PathBuf::new()).await?;
        Ok(watch)
    }

    /// The next change. It remains the next one until [`DirectoryWatch::taken`] is called, so cancelling loses none.
    pub(crate) async fn next(&mut self) -> Result<Change, WatchError> {
        loop {
            if let Some(change) = self.changes.front() {
                return Ok(change.clone());
            }
            let inotify = self.inotify.clone();
            let read = inotify.async_io(Interest::READABLE, |inotify| Ok(read_events(inotify)?)).await?;
            let mut new = Vec::new();
            for event in read {
                self.note(event, &mut new)?;
            }
            // A new directory is watched too. What was created in it before that is reported as created.
            for directory in new {
                for found in self.scan(directory).await? {
                    self.changes
                        .push_back(Change { name: found.to_string_lossy().into_owned(), kind: ChangeKind::Create });
                }
            }
        }
    }

    /// Removes the change that [`DirectoryWatch::next`] returned last.
    pub(crate) fn taken(&mut self) {
        self.changes.pop_front();
    }

    fn note(&mut self, event: InotifyEvent, new: &mut Vec<PathBuf>) -> Result<(), WatchError> {
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
            (ReadFlags::CREATE | ReadFlags::MOVED_TO, ChangeKind::Create),
            (ReadFlags::MODIFY, ChangeKind::Write),
            (ReadFlags::DELETE, ChangeKind::Remove),
            (ReadFlags::MOVED_FROM, ChangeKind::Rename),
            (ReadFlags::ATTRIB, ChangeKind::Chmod),
        ];
        for (flags, kind) in kinds {
            if event.flags.intersects(flags) {
                self.changes.push_back(Change { name: path.to_string_lossy().into_owned(), kind });
                if kind == ChangeKind::Create && self.recursive && event.flags.contains(ReadFlags::ISDIR) {
                    new.push(path.clone());
                }
            }
        }
        Ok(())
    }

    /// Watches a directory, and with `recursive` those below it. Returns what it found inside.
    async fn scan(&mut self, top: PathBuf) -> Result<Vec<PathBuf>, WatchError> {
        let mut found = Vec::new();
        let mut todo = vec![top];
        while let Some(path) = todo.pop() {
            if self.directories.len() >= MAX_DIRECTORIES {
                return Err(WatchError::TooManyDirectories);
            }
            let root = self.root.try_clone()?;
            let directory = if path.as_os_str().is_empty() {
                root
            } else {
                // It is gone, was replaced by a link, or this user may not list it.
                match self.sandbox.open_below(&self.user, root, path.to_string_lossy().into_owned()).await {
                    Ok(Some(directory)) => directory,
                    _ => continue,
                }
            };
            let (inotify, recursive) = (self.inotify.clone(), self.recursive);
            let add = tokio::task::spawn_blocking(move || add(&inotify, directory, recursive));
            let (number, entries) = add.await.expect("adding a directory does not panic")?;
            self.directories.insert(number, path.clone());
            for (name, kind) in entries {
                let child = path.join(name);
                found.push(child.clone());
                if kind == FileType::Directory {
                    todo.push(child);
                }
            }
        }
        Ok(found)
    }
}

/// The content of a directory.
type Entries = Vec<(OsString, FileType)>;

/// Watches one directory. Returns its number, and with `listed` its content.
fn add(inotify: &AsyncFd<OwnedFd>, directory: OwnedFd, listed: bool) -> io::Result<(i32, Entries)> {
    let flags = WatchFlags::CREATE
        | WatchFlags::MODIFY
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::ATTRIB
        | WatchFlags::ONLYDIR;
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let number = inotify::add_watch(inotify.get_ref(), path, flags)?;
    let mut entries = Vec::new();
    if listed {
        for entry in Dir::read_from(&directory)?.flatten() {
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                entries.push((OsStr::from_bytes(name).to_owned(), entry.file_type()));
            }
        }
    }
    Ok((number, entries))
}

struct InotifyEvent {
    watch: i32,
    flags: ReadFlags,
    name: Option<PathBuf>,
}

fn read_events(inotify: &OwnedFd) -> Result<Vec<InotifyEvent>, Errno> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut reader = inotify::Reader::new(inotify.as_fd(), &mut buffer);
    let mut events = Vec::new();
    loop {
        let event = reader.next()?;
        let name = event.file_name().map(|name| PathBuf::from(OsStr::from_bytes(name.to_bytes())));
        events.push(InotifyEvent { watch: event.wd(), flags: event.events(), name });
        if reader.is_buffer_empty() {
            return Ok(events);
        }
    }
}
