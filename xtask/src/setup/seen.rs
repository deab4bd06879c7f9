//! Puts programs where the sandboxes of tests see them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Puts a program there. By rename, because another test run may
/// use the old one.
pub(super) fn put(place: &Path, program: &[u8]) -> std::io::Result<()> {
    let new = place.with_extension(format!("new-{}", std::process::id()));
    fs::create_dir_all(place.parent().unwrap_or(place))?;
    fs::write(&new, program)?;
    fs::set_permissions(&new, Permissions::from_mode(0o755))?;
    fs::rename(&new, place)
}
