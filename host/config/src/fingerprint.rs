//! Whether files are still what they were. Owns the comparison by content; deliberately does not know what they mean.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Bytes read at once: enough that system calls do not show.
const PIECE_BYTES: usize = 64 * 1024;

/// The content of a list of files at one moment, for comparison with another.
///
/// Take it *before* the files are loaded. Then a change during the load gives another fingerprint at the next look, and no
/// change is missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Reads every file to its end, a piece at a time. A file that cannot be read differs from any that can.
    pub fn of(files: &[PathBuf]) -> Self {
        let mut whole = Sha256::new();
        for file in files {
            whole.update(Sha256::digest(file.as_os_str().as_encoded_bytes()));
            match content(file) {
                Ok(hash) => {
                    whole.update([1]);
                    whole.update(hash);
                }
                Err(_) => whole.update([0]),
            }
        }
        Fingerprint(whole.finalize().into())
    }
}

fn content(path: &Path) -> io::Result<[u8; 32]> {
    // This comes before the file is opened, because opening a FIFO would wait for its writer.
    if !path.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut hash = Sha256::new();
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            n => hash.update(&piece[..n]),
        }
    }
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_content_counts() {
        let dir = tempfile::tempdir().unwrap();
        let files = [dir.path().join("a"), dir.path().join("b")];
        let empty = Fingerprint::of(&files);
        std::fs::write(&files[0], "one").unwrap();
        let one = Fingerprint::of(&files);
        assert_ne!(empty, one);
        std::fs::write(&files[0], "one").unwrap();
        assert_eq!(Fingerprint::of(&files), one, "written again with the same content");
        std::fs::write(&files[0], "two").unwrap();
        assert_ne!(Fingerprint::of(&files), one);
        std::fs::rename(&files[0], &files[1]).unwrap();
        std::fs::write(&files[1], "one").unwrap();
        assert_ne!(Fingerprint::of(&files), one, "the same content in another file");
        std::fs::write(&files[1], "").unwrap();
        assert_ne!(Fingerprint::of(&files), empty, "an empty file is not a missing one");
    }
}
