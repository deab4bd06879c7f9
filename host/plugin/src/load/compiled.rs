//! Native code of plugins: made by a bounded process, kept in a directory.
//!
//! Owns that directory: its names, its permissions, its bound. Deliberately knows nothing of what a plugin is for.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use super::error::LoadError;
use super::native::Native;
use super::work::{self, Work, WorkFailure};
use sandbox_broker_core::disk;
use sandbox_broker_footprint::Footprint;

/// How the names of kept code end.
const END: &str = "native";

/// The form of the files: code behind its footprint.
const FORM: u8 = 2;

/// Files that are kept: the plugins in use and some earlier ones.
const KEPT: usize = 16;

/// Bytes of the digest at the beginning of each file.
const DIGEST: usize = 32;

/// The code of plugins, in a directory that only this user may write, because the broker runs what it finds there.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    directory: PathBuf,
}

impl Compiled {
    /// Uses this directory, and makes it when it does not exist.
    ///
    /// # Errors
    /// When it cannot be made, or when others may write there.
    pub(super) fn new(directory: &Path) -> Result<Self, LoadError> {
        let unusable = |why: String| LoadError::Compiled { directory: directory.to_owned(), why };
        match DirBuilder::new().recursive(true).mode(0o700).create(directory) {
            Ok(()) => {}
            // A full disk is no reason not to start: compiled code is then not kept.
            Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                tracing::warn!(
                    directory = %directory.display(), error = disk::explain(directory, &error),
                    "compiled plugins cannot be kept"
                );
                return Ok(Compiled { directory: directory.to_owned() });
            }
            Err(error) => return Err(unusable(error.to_string())),
        }
        let metadata = directory.metadata().map_err(|e| unusable(e.to_string()))?;
        let own = metadata.uid() == rustix::process::geteuid().as_raw();
        if !own || metadata.mode() & 0o022 != 0 {
            return Err(unusable("others may write there, and what lies there is run".to_owned()));
        }
        Ok(Compiled { directory: directory.to_owned() })
    }

    /// The component of a file with this digest and these bytes. Compiles it unless its code is kept.
    pub(super) async fn component(
        &self,
        engine: &wasmtime::Engine,
        digest: &str,
        bytes: &[u8],
    ) -> Result<Native, WorkFailure> {
        let file = self.directory.join(format!("{}.{END}", key(engine, digest)));
        if let Some(native) = read(&file).and_then(|code| usable(engine, &code).ok()) {
            return Ok(native);
        }
        let code = work::run(Work::Compile, work::COMPILE, bytes).await?;
        let unusable =
            |e: wasmtime::Error| WorkFailure::Broken(format!("the code that it was compiled to is bad: {e:#}"));
        let native = usable(engine, &code).map_err(unusable)?;
        if let Err(error) = self.keep(&file, &code) {
            let error = disk::explain(&self.directory, &error);
            tracing::warn!(file = %file.display(), error, "a compiled plugin cannot be kept; the next start compiles it");
        }
        Ok(native)
    }

    fn keep(&self, file: &Path, code: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let beside = file.with_extension(format!("{}.new", std::process::id()));
        let _ = fs::remove_file(&beside);
        let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        let done = written.write_all(&Sha256::digest(code)).and_then(|()| written.write_all(code));
        let done = done.and_then(|()| fs::rename(&beside, file));
        if done.is_err() {
            let _ = fs::remove_file(&beside);
        }
        self.forget();
        done
    }

    /// Removes all but the newest files, and what other versions left.
    fn forget(&self) {
        let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                let _ = fs::remove_dir_all(&path);
            } else if path.extension() == Some(OsStr::new(END)) {
                kept.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), path));
            }
        }
        kept.sort();
        for (_, path) in kept.iter().rev().skip(KEPT) {
            let _ = fs::remove_file(path);
        }
    }
}

/// The name of the code that one engine makes from one file. It differs for another version of the engine, another
/// processor, other settings, and another form of the file.
fn key(engine: &wasmtime::Engine, digest: &str) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{digest}-{:016x}-{FORM}", hasher.finish())
}

/// The code in a file, if the file exists and is whole.
fn read(file: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(file).ok().filter(|bytes| bytes.len() >= DIGEST)?;
    let code = bytes.split_off(DIGEST);
    (Sha256::digest(&code)[..] == bytes[..]).then_some(code)
}

/// Turns code behind its footprint into a component. The engine refuses code that another version made.
fn usable(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Native> {
    let (footprint, code) = Footprint::split(code).ok_or_else(|| wasmtime::format_err!("it is cut off"))?;
    // SAFETY: the code was made by this very program in a process that it started, or it was read whole from a
    // directory that only this user may write.
    let component = unsafe { Component::deserialize(engine, code)? };
    Ok(Native { component, footprint })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_in_which_others_write_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let directory = state.path().join("compiled");
        Compiled::new(&directory).unwrap();
        assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        for mode in [0o777, 0o770, 0o702] {
            fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
            let error = Compiled::new(&directory).unwrap_err().to_string();
            assert!(error.contains("others may write there") && error.contains("compiled"), "{error}");
        }
    }

    #[test]
    fn what_was_changed_or_cut_is_not_run() {
        let state = tempfile::tempdir().unwrap();
        let compiled = Compiled::new(&state.path().join("compiled")).unwrap();
        let file = compiled.directory.join("x.native");
        compiled.keep(&file, b"some code").unwrap();
        assert_eq!(read(&file).as_deref(), Some(&b"some code"[..]));
        let whole = fs::read(&file).unwrap();
        for cut in [0, DIGEST - 1, DIGEST, whole.len() - 1] {
            fs::write(&file, &whole[..cut]).unwrap();
            assert_eq!(read(&file), None, "{cut}");
        }
        let mut changed = whole;
        *changed.last_mut().unwrap() ^= 1;
        fs::write(&file, changed).unwrap();
        assert_eq!(read(&file), None);
    }

    #[test]
    fn only_the_newest_are_kept_and_nothing_of_other_versions() {
        let state = tempfile::tempdir().unwrap();
        let compiled = Compiled::new(&state.path().join("compiled")).unwrap();
        fs::create_dir_all(compiled.directory.join("modules/old")).unwrap();
        for i in 0..KEPT + 3 {
            compiled.keep(&compiled.directory.join(format!("{i:02}.native")), b"code").unwrap();
        }
        assert_eq!(fs::read_dir(&compiled.directory).unwrap().count(), KEPT);
        assert!(compiled.directory.join(format!("{:02}.native", KEPT + 2)).exists());
    }
}
