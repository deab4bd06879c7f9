//! Keys, tokens and ids: random, compared in constant time, never printed.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use subtle::ConstantTimeEq;

/// Bytes of randomness in a key or token.
const RANDOM: usize = 32;

/// Length of a sandbox id after its first letter, as on E2B.
const ID_LENGTH: usize = 20;

/// A secret that does not show itself in logs.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret")
    }
}

impl Secret {
    pub(crate) fn matches(&self, given: &[u8]) -> bool {
        same(self.0.as_bytes(), given)
    }

    /// Reads the key from a file. Creates the file with a random key if there is none.
    ///
    /// # Errors
    /// Errors of the file system; `InvalidData` for an empty file; `PermissionDenied` for a file that others may read.
    pub(crate) fn read_or_make(path: &Path) -> io::Result<Self> {
        let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match made {
            Ok(mut file) => {
                let key = format!("e2b_{}", token());
                file.write_all(key.as_bytes())?;
                Ok(Self(key))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
                    let message = "others than its owner may read it: chmod 600";
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
                }
                match fs::read_to_string(path)?.trim() {
                    "" => Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty")),
                    key => Ok(Self(key.to_owned())),
                }
            }
            Err(error) => Err(error),
        }
    }
}

/// Compares in constant time: the duration does not tell where the two differ.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// A new random token of hexadecimal digits.
pub(crate) fn token() -> String {
    random::<RANDOM>().iter().fold(String::with_capacity(2 * RANDOM), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A new random id: `i` and twenty letters or digits.
pub(crate) fn sandbox_id() -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let random = random::<ID_LENGTH>();
    std::iter::once('i')
        .chain(random.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])))
        .collect()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}
