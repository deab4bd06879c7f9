//! The state directory and the secrets in it: whose they are, who else may read them, and whether there is room. Their
//! content is never read. The configuration's own warnings cover the secrets that it refers to.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::finding::Finding;
use sandbox_broker_core::disk;

/// Bytes that should be free for the state: the journal, compiled plugins, logs.
const ROOM: u64 = 512 << 20;

/// Files of the state directory that hold secrets.
const SECRET: [&str; 2] = ["invitations.key", "sandboxd/api-key"];

pub(super) fn state(state: &Path) -> Vec<Finding> {
    let name = state.display();
    let mut findings = Vec::new();
    match state.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            findings.push(Finding::good("state", format!("{name} is not there yet, and is made at the first start")));
        }
        Err(error) => findings.push(Finding::wrong("state", format!("{name}: {error}"), "give another --state-dir")),
        Ok(metadata) => {
            let (uid, mode) = (rustix::process::geteuid().as_raw(), metadata.mode() & 0o7777);
            let found = format!("{name} has mode {mode:04o} and belongs to user {}", metadata.uid());
            findings.push(if metadata.uid() != uid {
                let remedy = format!("run this as the broker's user, or `chown -R {uid} {name}`");
                Finding::wrong("state", found, remedy)
            } else if mode & 0o022 != 0 {
                let remedy = format!("others can put code there: look that nobody has, then `chmod 700 {name}`");
                Finding::wrong("state", found, remedy)
            } else if mode & 0o055 != 0 {
                Finding::unwise("state", found, format!("`chmod 700 {name}`"))
            } else {
                Finding::good("state", found)
            });
            findings.extend(SECRET.iter().filter_map(|file| open_to_others(&state.join(file))));
        }
    }
    let there = state.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
    let room = disk::room(there);
    let free = rustix::fs::statvfs(there).map(|found| found.f_bavail * found.f_frsize);
    findings.push(match free {
        Ok(free) if free < ROOM => Finding::wrong("disk", room, "free some space: without it no session can be begun"),
        _ => Finding::good("disk", room),
    });
    findings
}

fn open_to_others(path: &Path) -> Option<Finding> {
    let metadata = path.metadata().ok()?;
    let mode = metadata.mode() & 0o7777;
    (mode & 0o044 != 0).then(|| {
        let name = path.display();
        let found = format!("{name} holds a secret and has mode {mode:04o}: others on this machine can read it");
        Finding::unwise("secret", found, format!("`chmod 600 {name}`, for the broker's user"))
    })
}
