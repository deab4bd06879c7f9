//! The state directory: where it is, who holds it, and what an earlier server left in it.
//!
//! Owns its lock and the copy of the init's program. Does not know what sandboxes keep there.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::error::Error;
use crate::sandbox::trash::Trash;

/// The name of the lock file.
pub(super) const LOCK: &str = "lock";

pub(super) fn default_state_dir() -> Result<PathBuf, Error> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/sandboxd"));
    }
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    Ok(base.ok_or(Error::NoStateDir)?.join("sandboxd"))
}

/// Makes the directories, takes the lock, and throws away what an earlier server left behind.
pub(super) fn prepare(state_dir: &Path, trash: &Trash) -> Result<OwnedFd, Error> {
    let state_dir_error = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::StateDir { path, source }
    };
    let private =
        |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(state_dir_error(path));
    private(state_dir)?;
    let path = state_dir.join(LOCK);
    let lock = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(state_dir_error(&path))?;
    let lock = OwnedFd::from(lock);
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Locked(state_dir.to_owned())),
        result => result.map_err(|errno| state_dir_error(&path)(errno.into()))?,
    }
    private(&state_dir.join("trash"))?;
    let sandboxes = state_dir.join("sandboxes");
    private(&sandboxes)?;
    for entry in fs::read_dir(&sandboxes).map_err(state_dir_error(&sandboxes))?.flatten() {
        trash.throw(&entry.path());
    }
    Ok(lock)
}

/// Keeps the init's program reachable when its file is replaced. A sandbox that is made after an upgrade must get the
/// init that speaks this server's protocol. Makes a hard link, or a copy across file systems.
pub(super) fn set_aside_init(program: Option<PathBuf>, state_dir: &Path) -> Result<PathBuf, Error> {
    // An upgrade may have replaced the file of this program while it runs.
    const SELF: &str = "/proc/self/exe";
    let own = || std::env::current_exe().and_then(fs::canonicalize).unwrap_or_else(|_| SELF.into());
    let named = program.clone().unwrap_or_else(|| SELF.into());
    let init_error = |source| Error::InitProgram { path: named.clone(), source };
    let from = program.map_or_else(|| Ok(own()), fs::canonicalize).map_err(init_error)?;
    let aside = state_dir.join("init");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(init_error(error)),
        _ => {}
    }
    if fs::hard_link(&from, &aside).is_err() {
        fs::copy(&from, &aside).map_err(init_error)?;
    }
    fs::canonicalize(&aside).map_err(init_error)
}
