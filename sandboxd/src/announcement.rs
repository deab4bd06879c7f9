//! The file that tells other programs where a server listens and which build it is.
//!
//! Does not know who reads it.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;

use crate::listen::Address;

/// Identifies a build of the program by its version, its size and the time of its last change.
pub fn build() -> String {
    let program = fs::metadata("/proc/self/exe");
    let modified = program.as_ref().ok().and_then(|found| found.modified().ok());
    let modified = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    let size = program.map_or(0, |found| found.len());
    format!("{}+{size:x}.{:x}", env!("CARGO_PKG_VERSION"), modified.as_millis())
}

/// Writes the file in one step, so that no reader sees half of it.
pub(crate) fn announce(path: &Path, address: &Address, shares_network: bool) -> io::Result<()> {
    #[derive(Serialize)]
    struct Announcement<'a> {
        url: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        socket: Option<&'a Path>,
        pid: u32,
        build: String,
        shares_network: bool,
    }
    let (url, socket) = match address {
        Address::Tcp(address) => (format!("http://{address}"), None),
        Address::Unix(path) => ("http://localhost".to_owned(), Some(path.as_path())),
    };
    let announcement = Announcement { url, socket, pid: std::process::id(), build: build(), shares_network };
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", announcement.pid));
    let _ = fs::remove_file(&draft);
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    serde_json::to_writer(file, &announcement)?;
    fs::rename(&draft, path)
}
