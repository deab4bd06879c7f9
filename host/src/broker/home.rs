//! The state directory: which of its content must be this broker's alone, and that it stays there while the broker runs.
//!
//! Owns the permissions of the directory and the identity that this broker keeps in it. Deliberately knows nothing about the
//! files of others there; the journal looks after its own file when it is asked to.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use sandbox_broker_core::disk;
use sandbox_broker_http::ConfigStatus;
use sandbox_broker_journal::Journal;
use sandbox_stdx::hex::hex;

/// How often the directory is checked.
const LOOK: Duration = Duration::from_secs(1);

/// While all is well, one of this many checks writes something, so that a sleeping disk may go on sleeping.
const LOOKS_PER_PROBE: u32 = 10;

/// Bytes that are written to find out whether there is room: more than the journal needs for one change.
const ROOM: usize = 64 * 1024;

/// The file that they are written to.
const PROBE: &str = "room";

/// The file of the name by which this broker recognises its sandboxes.
const BROKER_ID: &str = "broker-id";

/// The file of the key that signs invitations.
const INVITATIONS: &str = "invitations.key";

/// Makes the state directory, or checks the one that is there.
///
/// # Errors
/// In words for the operator.
pub(super) fn prepare(state: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(state);
    made.map_err(|e| file_error("cannot make the state directory", state, &e))?;
    let metadata = state.metadata().map_err(|e| file_error("cannot use the state directory", state, &e))?;
    let (uid, owner, mode) = (rustix::process::geteuid().as_raw(), metadata.uid(), metadata.mode() & 0o7777);
    if !metadata.is_dir() {
        bail!("the state directory {} is not a directory", state.display());
    }
    // The broker runs native code from there and keeps keys there.
    if owner != uid {
        bail!(
            "the state directory {} belongs to user {owner}, and the broker runs as user {uid}: give it to that user, \
             or give another --state-dir",
            state.display()
        );
    }
    if mode & 0o022 != 0 {
        bail!(
            "others can write to the state directory {} (mode {mode:04o}), from which code is run: if nobody has put \
             anything there, chmod 700 it; otherwise give another --state-dir",
            state.display()
        );
    }
    Ok(())
}

/// The state directory, and the identity that this broker keeps in it.
#[derive(Clone, Debug)]
pub(super) struct Home {
    state: PathBuf,
    /// Random, kept in the state directory.
    pub(super) broker_id: String,
    /// Random as well, and secret.
    pub(super) invitations: String,
}

impl Home {
    /// Reads the identity, and makes the parts that are missing.
    ///
    /// # Errors
    /// In words for the operator: a file cannot be read or written, is damaged, or others can read a secret.
    pub(super) fn of(state: &Path) -> anyhow::Result<Self> {
        Ok(Home {
            state: state.to_owned(),
            broker_id: broker_id(state)?,
            invitations: random::<32>(&state.join(INVITATIONS))?,
        })
    }

    /// Writes files again that were removed.
    fn restore(&self) -> io::Result<()> {
        for (name, text) in [(BROKER_ID, &self.broker_id), (INVITATIONS, &self.invitations)] {
            let path = self.state.join(name);
            if !path.exists() {
                write(&path, text.as_bytes())?;
                tracing::error!(file = %path.display(), "it was removed while the broker ran, and was written again");
            }
        }
        Ok(())
    }

    /// Checks that something can be written.
    fn probe_room(&self) -> io::Result<()> {
        let path = self.state.join(PROBE);
        let written = write(&path, &[0; ROOM]);
        let removed = fs::remove_file(&path);
        written.and(removed)
    }

    async fn look(&self, journal: &dyn Journal, probe: bool) -> Result<(), String> {
        // The journal comes first, because it makes the directory again.
        journal.keep().await.map_err(|e| e.to_string())?;
        let home = self.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let kept = home.restore();
            let kept = if probe { kept.and_then(|()| home.probe_room()) } else { kept };
            kept.map_err(|e| format!("cannot write to {}: {}", home.state.display(), disk::explain(&home.state, &e)))
        });
        // The task fails only when the runtime ends.
        looked.await.unwrap_or(Ok(()))
    }
}

/// Looks after the directory until the broker ends, and puts its state into `status`.
pub(super) async fn look_after(home: Home, journal: Arc<dyn Journal>, status: watch::Sender<ConfigStatus>) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for look in 0_u32.. {
        ticks.tick().await;
        let probe = look % LOOKS_PER_PROBE == 0 || status.borrow().state_error.is_some();
        let trouble = home.look(&*journal, probe).await.err();
        status.send_if_modified(|status| {
            let before = status.state_error.is_some();
            match &trouble {
                Some(trouble) if !before => tracing::error!(
                    "{trouble}; open sessions go on, new ones are refused while they cannot be written down"
                ),
                None if before => tracing::info!(state = %home.state.display(), "the state directory is well again"),
                _ => {}
            }
            let changed = status.state_error != trouble;
            status.state_error.clone_from(&trouble);
            changed
        });
    }
}

/// The name by which the broker of this directory recognises its sandboxes.
pub(super) fn broker_id(state: &Path) -> anyhow::Result<String> {
    random::<8>(&state.join(BROKER_ID))
}

/// `BYTES` random bytes in hexadecimal digits, the same for every process that finds them in this file.
fn random<const BYTES: usize>(path: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(path) {
        Ok(kept) => {
            let kept = kept.trim();
            let whole = kept.len() == 2 * BYTES && kept.bytes().all(|b| b.is_ascii_hexdigit());
            // A start on a full disk leaves an empty file, which is filled now.
            if !whole && !kept.is_empty() {
                bail!(
                    "{} is damaged: put a copy of it back, or remove it; what was given out by it is then void",
                    path.display()
                );
            }
            let mode = path.metadata().map_or(0, |metadata| metadata.mode() & 0o777);
            if mode & 0o077 != 0 {
                bail!(
                    "others can read or write {} (mode {mode:04o}): chmod 600 it, or remove it if somebody may have; \
                     what was given out by it is then void",
                    path.display()
                );
            }
            if whole {
                return Ok(kept.to_owned());
            }
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file_error("cannot read", path, &error)),
        Err(_) => {}
    }
    let mut random = [0; BYTES];
    getrandom::fill(&mut random).context("the system gives no random numbers")?;
    let text = hex(&random);
    write(path, text.as_bytes()).map_err(|e| file_error("cannot write", path, &e))?;
    Ok(text)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// The error of an operation on a file, in words for the operator.
fn file_error(what: &str, path: &Path, error: &io::Error) -> anyhow::Error {
    anyhow::anyhow!("{what} {}: {}", path.display(), disk::explain(path, error))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_directory_in_which_others_write_is_refused_and_one_that_they_read_is_not() {
        let state = tempfile::tempdir().unwrap();
        for mode in [0o777, 0o770, 0o1777, 0o702] {
            set_mode(state.path(), mode);
            let error = prepare(state.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("mode {mode:04o}")) && error.contains("chmod 700"), "{error}");
        }
        for mode in [0o700, 0o755, 0o750] {
            set_mode(state.path(), mode);
            prepare(state.path()).unwrap();
        }
    }

    #[test]
    fn a_key_that_others_read_and_a_damaged_one_are_refused_and_a_missing_one_is_made() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join(INVITATIONS);
        let made = Home::of(state.path()).unwrap();
        assert_eq!(Home::of(state.path()).unwrap().invitations, made.invitations);
        set_mode(&path, 0o644);
        let error = Home::of(state.path()).unwrap_err().to_string();
        assert!(error.contains("mode 0644") && error.contains(INVITATIONS), "{error}");
        set_mode(&path, 0o600);
        for rubbish in ["rubbish", &"x".repeat(64), &made.invitations[1..], &format!("{}0", made.invitations)] {
            fs::write(&path, rubbish).unwrap();
            let error = Home::of(state.path()).unwrap_err().to_string();
            assert!(error.contains("damaged") && !error.contains(rubbish), "{error}");
        }
        fs::write(&path, "").unwrap();
        assert_ne!(Home::of(state.path()).unwrap().invitations, made.invitations);
    }
}
