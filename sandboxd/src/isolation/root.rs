//! Makes the directory tree on the host that becomes the root of a sandbox. All that a sandbox writes is in there.
//!
//! Does not know how the tree becomes the root: see `bwrap`.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::path::Path;

use super::shared::{RESOLVER, SHARED_MEMORY, SYSTEM};
use super::users::{DEFAULT_USER, identity, is_root};
use crate::network::{Network, resolver};

/// Makes the tree that becomes `/` of a sandbox. With `fuse` the sandbox may mount.
///
/// # Errors
/// Errors of the file system. The caller removes what was made until then.
pub(crate) fn make_root(root: &Path, fuse: bool, mode: Network) -> io::Result<()> {
    directory(root, 0o755)?;
    for name in
        ["etc", "home", "mnt", "opt", "proc", "dev", "run", "srv", "usr", "var", "var/lib", "var/cache", "var/log"]
    {
        directory(&root.join(name), 0o755)?;
    }
    for name in ["tmp", "var/tmp", SHARED_MEMORY] {
        directory(&root.join(name), 0o1777)?;
    }
    directory(&root.join("root"), 0o700)?;
    symlink("../run", root.join("var/run"))?;
    for path in SYSTEM {
        if let Ok(target) = fs::read_link(path) {
            symlink(target, root.join(path.trim_start_matches('/')))?;
        }
    }
    write(&root.join("etc/passwd"), &passwd(fuse))?;
    write(&root.join("etc/group"), &group(fuse))?;
    symlink("/proc/self/mounts", root.join("etc/mtab"))?;
    // `su` needs this file to find an account. Nobody has a password.
    write(&root.join("etc/shadow"), &format!("root:*:1::::::\n{DEFAULT_USER}:*:1::::::\n"))?;
    fs::set_permissions(root.join("etc/shadow"), Permissions::from_mode(0o600))?;
    write(&root.join("etc/hostname"), "sandbox\n")?;
    write(&root.join("etc/hosts"), "127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost ip6-loopback\n")?;
    write(
        &root.join("etc/nsswitch.conf"),
        "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    )?;

    if mode == Network::Isolated {
        let host = fs::read_to_string(Path::new("/etc").join(RESOLVER)).unwrap_or_default();
        write(&root.join("etc").join(RESOLVER), &resolver(&host))?;
    }
    if fuse {
        // Lets a mount be visible to other users if the mount says so.
        write(&root.join("etc/fuse.conf"), "user_allow_other\n")?;
    }

    let home = root.join("home").join(DEFAULT_USER);
    directory(&home, 0o755)?;
    directory(&root.join("workspace"), 0o755)?;
    for name in [".bashrc", ".profile", ".bash_logout"] {
        let from = Path::new("/etc/skel").join(name);
        if from.is_file() {
            let to = home.join(name);
            fs::copy(from, &to)?;
            own(&to, fuse)?;
        }
    }
    own(&home, fuse)?;
    own(&root.join("workspace"), fuse)
}

fn passwd(fuse: bool) -> String {
    let (uid, gid) = identity(fuse);
    let root = "root:x:0:0:root:/root:/bin/bash\n";
    format!(
        "{root}{DEFAULT_USER}:x:{uid}:{gid}:,,,:/home/{DEFAULT_USER}:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
}

fn group(fuse: bool) -> String {
    format!("root:x:0:\ntty:x:5:\n{DEFAULT_USER}:x:{}:\nnogroup:x:65534:\n", identity(fuse).1)
}

fn own(path: &Path, fuse: bool) -> io::Result<()> {
    let (uid, gid) = identity(fuse);
    if is_root() { chown(path, Some(uid), Some(gid)) } else { Ok(()) }
}

fn directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)?;
    // The umask took part in the creation.
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn write(path: &Path, content: &str) -> io::Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, Permissions::from_mode(0o644))
}
