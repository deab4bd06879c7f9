//! Words for a file system that has no room: which one it is and how much of it is free. Owns nothing else; deliberately
//! does not know what is written there.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The system's message. For a full disk, it also says which file system is full and how full it is. `path` need not
/// exist.
pub fn explain(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("{error} ({}): free some space there", room(path))
        }
        _ => error.to_string(),
    }
}

/// Such as "the file system at /var has 12 KiB free of 20 GiB".
pub fn room(path: &Path) -> String {
    let Some(there) = path.ancestors().find(|above| above.exists()) else { return "there is no such place".to_owned() };
    let mount = mount_point(there).unwrap_or_else(|| there.to_owned());
    match rustix::fs::statvfs(there) {
        Ok(found) => {
            let (free, all) = (found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize);
            let inodes = if found.f_files > 0 && found.f_favail == 0 { " and no room for one file more" } else { "" };
            format!("the file system at {} has {} free of {}{inodes}", mount.display(), size(free), size(all))
        }
        Err(errno) => format!("the file system at {} tells nothing of itself: {errno}", mount.display()),
    }
}

/// The highest directory above `path` on the same device.
fn mount_point(path: &Path) -> Option<PathBuf> {
    let path = fs::canonicalize(path).ok()?;
    let device = path.metadata().ok()?.dev();
    let same = |above: &&Path| above.metadata().is_ok_and(|metadata| metadata.dev() == device);
    path.ancestors().take_while(same).last().map(Path::to_owned)
}

/// Bytes for people, rounded down.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let (mut size, mut unit) = (bytes, 0);
    while size >= 10 * 1024 && unit + 1 < UNITS.len() {
        (size, unit) = (size / 1024, unit + 1);
    }
    format!("{size} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_and_another_error_is_left_alone() {
        let full = explain(Path::new("/proc/no/such/file"), &io::Error::from(ErrorKind::StorageFull));
        assert!(full.contains("the file system at /proc has 0 bytes free"), "{full}");
        let denied = io::Error::from(ErrorKind::PermissionDenied);
        assert_eq!(explain(Path::new("/x"), &denied), denied.to_string());
    }

    #[test]
    fn sizes_are_read_by_people() {
        for (bytes, words) in [(0, "0 bytes"), (10_239, "10239 bytes"), (10_240, "10 KiB"), (20 << 30, "20 GiB")] {
            assert_eq!(size(bytes), words);
        }
    }
}
