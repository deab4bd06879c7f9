//! The lock on a state directory: one process at a time serves from there. Owns the lock's file; deliberately knows no
//! journal.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::FlockOperation;

use crate::port::{Error, Result};
use sandbox_broker_core::disk;

/// Takes the lock `path` on the state directory `state`, or says who has it.
pub(super) fn lock(path: &Path, state: &Path) -> Result<File> {
    let failed = |e: io::Error| Error::Failed(format!("cannot use {}: {}", path.display(), disk::explain(path, &e)));
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = open.map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            // The pid may not be written yet, or another program may have the file. Then the error names no pid.
            let mut pid = String::new();
            let _ = (&file).take(32).read_to_string(&mut pid);
            let pid = pid.trim().parse().map_or(String::new(), |pid: u32| format!(" (pid {pid})"));
            return Err(Error::Failed(format!(
                "another broker{pid} serves from the state directory {}: stop it, or give this one a directory of its \
                 own with --state-dir",
                state.display()
            )));
        }
        Err(errno) => return Err(failed(errno.into())),
    }
    let write = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    write.map_err(failed)?;
    Ok(file)
}
