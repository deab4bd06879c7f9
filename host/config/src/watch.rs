//! Notices that files change, however they are replaced: written in place, renamed over, deleted and made again, reached
//! through symbolic links that are swapped (as Kubernetes does with ConfigMaps), or below a directory that is exchanged.
//! Owns the watches, and the wait until a change is over; deliberately never looks into a file.
//!
//! A watch on a file itself ends when the file is replaced. So for every name on the way to a file, following links, the
//! directory that holds the name is watched, and events about other names in it are dropped. After each change, the ways
//! are looked up again.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, Event, EventKind};
use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use sandbox_stdx::lock::lock;

/// A change is over when nothing has happened for this long. An editor takes a few milliseconds between its steps.
const QUIET: Duration = Duration::from_millis(60);

/// A change is reported after this long even while it goes on, so that a file that is written all the time is still read
/// now and then.
const OVER_AT_LAST: Duration = Duration::from_millis(400);

/// How often files are looked at when the system reports nothing about them, as in network file systems and directories
/// shared with a virtual machine.
const LOOK: Duration = Duration::from_secs(5);

/// Symbolic links on the way to one file, as many as Linux follows.
const MAX_LINKS: usize = 40;

/// How often the ways to the files are looked up again because they changed while watches were being set. The watches
/// notice a later change.
const MAX_ROUNDS: usize = 4;

/// Watches a set of files until it is dropped.
///
/// Its receiver gets a signal when the watches are set for the first time,
/// when [`Watcher::set_paths`] has taken effect, and at most half a second after
/// a change to one of the files. At most one signal waits. Read the files after
/// each signal and compare their [`Fingerprint`](super::Fingerprint). Then no change is missed, and a signal without a
/// change costs nothing.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    wake: SyncSender<()>,
}

#[derive(Debug, Default)]
struct Shared {
    paths: Mutex<Vec<PathBuf>>,
    /// Every name on the way to one of `paths`.
    names: Mutex<BTreeSet<PathBuf>>,
    stop: AtomicBool,
}

impl Watcher {
    /// Starts to watch these files; they need not exist. Runs a thread of its own, and fails only when it cannot start it.
    /// When the system cannot report changes, it looks every five seconds.
    pub fn new(paths: Vec<PathBuf>) -> io::Result<(Self, mpsc::Receiver<()>)> {
        Self::start(paths, |shared, wake| {
            let tell = move |event: notify::Result<Event>| {
                if event.map_or(true, |event| concerns(&event, &lock(&shared.names))) {
                    // When it is full, a wake-up waits already.
                    let _ = wake.try_send(());
                }
            };
            notify::recommended_watcher(tell)
                .inspect_err(|error| tracing::warn!(%error, "cannot watch files, looking every {LOOK:?} instead"))
                .ok()
        })
    }

    fn start(
        paths: Vec<PathBuf>,
        watches: impl FnOnce(Arc<Shared>, SyncSender<()>) -> Option<RecommendedWatcher>,
    ) -> io::Result<(Self, mpsc::Receiver<()>)> {
        let (wake, woken) = sync_channel(1);
        let (signal, signals) = mpsc::channel(1);
        let shared = Arc::new(Shared { paths: Mutex::new(paths), ..Shared::default() });
        let watches = watches(shared.clone(), wake.clone());
        let task = Task { shared: shared.clone(), woken, watches, watched: BTreeSet::new(), signal };
        std::thread::Builder::new().name("watch-files".into()).spawn(|| task.run())?;
        Ok((Watcher { shared, wake }, signals))
    }

    /// Watches these files instead. Gives a signal unless they are the same as
    /// before.
    pub fn set_paths(&self, paths: Vec<PathBuf>) {
        let mut current = lock(&self.shared.paths);
        if *current != paths {
            *current = paths;
            let _ = self.wake.try_send(());
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let _ = self.wake.try_send(());
    }
}

struct Task {
    shared: Arc<Shared>,
    woken: Receiver<()>,
    watches: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    signal: mpsc::Sender<()>,
}

impl Task {
    fn run(mut self) {
        loop {
            let paths = lock(&self.shared.paths).clone();
            self.set(&paths);
            let seen = looks(&paths);
            // The watches are set before the signal is sent, so a change after the receiver has read the files causes
            // another signal.
            if let Err(mpsc::error::TrySendError::Closed(())) = self.signal.try_send(()) {
                return;
            }
            loop {
                match self.woken.recv_timeout(LOOK) {
                    Ok(()) => break,
                    Err(RecvTimeoutError::Timeout) if looks(&paths) == seen => {}
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            let began = Instant::now();
            while began.elapsed() < OVER_AT_LAST && self.woken.recv_timeout(QUIET).is_ok() {}
            if self.shared.stop.load(Ordering::Acquire) {
                return;
            }
        }
    }

    /// Sets all watches again, because a directory of the same name may be another directory.
    fn set(&mut self, paths: &[PathBuf]) {
        for _ in 0..MAX_ROUNDS {
            let names: BTreeSet<PathBuf> = paths.iter().flat_map(|path| way(path)).collect();
            *lock(&self.shared.names) = names.clone();
            let Some(watches) = &mut self.watches else { return };
            for directory in std::mem::take(&mut self.watched) {
                // It fails for a directory that is gone, whose watch is gone as well.
                let _ = watches.unwatch(&directory);
            }
            let directories: BTreeSet<&Path> = names.iter().filter_map(|name| name.parent()).collect();
            for directory in directories.into_iter().filter(|directory| directory.is_dir()) {
                match watches.watch(directory, RecursiveMode::NonRecursive) {
                    Ok(()) => {
                        self.watched.insert(directory.to_owned());
                    }
                    Err(error) if matches!(error.kind, ErrorKind::MaxFilesWatch) => {
                        tracing::warn!(?directory, %error, "cannot watch a directory, looking every {LOOK:?} instead");
                    }
                    // Usually a directory above the file that may be searched but not read.
                    Err(error) => tracing::debug!(?directory, %error, "cannot watch a directory"),
                }
            }
            if names == paths.iter().flat_map(|path| way(path)).collect() {
                return;
            }
        }
    }
}

/// Every name on the way to a file. The directory of each name is reached without a link. After a name that does not exist,
/// the way goes on as if there were no links.
fn way(path: &Path) -> Vec<PathBuf> {
    let Ok(path) = std::path::absolute(path) else { return Vec::new() };
    let mut names = Vec::new();
    let mut at = PathBuf::new();
    let mut left: VecDeque<OsString> = path.components().map(|part| part.as_os_str().to_owned()).collect();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        match Path::new(&part).components().next() {
            Some(Component::ParentDir) => {
                at.pop();
            }
            Some(Component::Normal(name)) => {
                let next = at.join(name);
                names.push(next.clone());
                match fs::read_link(&next) {
                    Ok(target) if links < MAX_LINKS => {
                        links += 1;
                        for part in target.components().rev() {
                            left.push_front(part.as_os_str().to_owned());
                        }
                    }
                    _ => at = next,
                }
            }
            Some(Component::RootDir | Component::Prefix(_)) => at = PathBuf::from(&part),
            Some(Component::CurDir) | None => {}
        }
    }
    names
}

/// Whether an event may mean that a file has changed.
fn concerns(event: &Event, names: &BTreeSet<PathBuf>) -> bool {
    let change = match event.kind {
        // Reading the files must not wake the reader again.
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    };
    event.need_rescan() || (change && event.paths.iter().any(|path| names.contains(path)))
}

/// The metadata by which a replaced or rewritten file can be told.
#[derive(PartialEq)]
struct Look {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

fn looks(paths: &[PathBuf]) -> Vec<Option<Look>> {
    let look = |path: &PathBuf| {
        let meta = path.metadata().ok()?;
        Some(Look {
            file: (meta.dev(), meta.ino()),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    };
    paths.iter().map(look).collect()
}

#[cfg(test)]
mod tests;
