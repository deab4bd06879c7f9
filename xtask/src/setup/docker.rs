//! A Docker engine for tests: Debian's programs, unpacked and not installed, so that nothing runs on the machine and an
//! engine that is there already is left alone. And two images for it, made from packages, since no registry is asked.
//!
//! `xtask/docker/engine.sh` starts it, for as long as a test wants. Knows nothing of what tests do with it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::debian::{self, Program};
use crate::workspace::Workspace;

const FOLDER: &str = "target/docker";

/// The engine, a registry, and libraries that a small Debian may lack.
const ENGINE: &[&str] =
    &["docker.io", "docker-registry", "containerd", "runc", "tini", "libdevmapper1.02.1", "libseccomp2", "libsystemd0"];

/// Where the programs above lie, to see that they came.
const PROGRAMS: &[&str] =
    &["usr/sbin/dockerd", "usr/bin/containerd", "usr/sbin/runc", "usr/bin/docker-registry", "usr/bin/docker-init"];

/// An image with the tools of GNU, as most have them.
const DEBIAN: &[&str] = &[
    "base-files",
    "bash",
    "coreutils",
    "dash",
    "grep",
    "sed",
    "libacl1",
    "libattr1",
    "libc-bin",
    "libc6",
    "libgmp10",
    "libpcre2-8-0",
    "libselinux1",
    "libtinfo6",
    "ncurses-base",
];

/// An image with nothing else.
const BUSYBOX: &[&str] = &["busybox-static"];

/// What `engine.sh` runs, beside `ip`.
const TOOLS: &[&Program] = &[
    &Program { any_of: &["openssl"], package: "openssl", needed_for: "tests with a Docker engine over TLS" },
    &Program { any_of: &["curl"], package: "curl", needed_for: "tests with a Docker engine" },
];

/// Puts it into `target/docker`: `root` has the programs, `busybox.tar` and `debian.tar` are root folders of images.
pub(crate) fn install(ws: &Workspace) -> Result<PathBuf> {
    let folder = ws.path(FOLDER);
    if !rustix::process::geteuid().is_root() {
        bail!("a Docker engine for tests needs root: run `cargo xtask setup` and the tests as root");
    }
    debian::ensure(ws, TOOLS)?;
    let content = format!("{ENGINE:?} {DEBIAN:?} {BUSYBOX:?}\n");
    // The note is written last, so what was broken off is done again.
    let done = folder.join("packages");
    if fs::read_to_string(&done).is_ok_and(|old| old == content) {
        return Ok(folder);
    }
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).context(FOLDER),
        _ => {}
    }
    let root = folder.join("root");
    debian::unpack(ws, ENGINE, &root)?;
    if let Some(missing) = PROGRAMS.iter().find(|program| !root.join(program).exists()) {
        bail!("Debian's packages of the Docker engine have no {missing}");
    }

    let busybox = folder.join("busybox");
    debian::unpack(ws, BUSYBOX, &busybox)?;
    let applets = ws.cmd(busybox.join("bin/busybox")).arg("--list").read()?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", busybox.join("bin").join(applet)).with_context(|| format!("linking {applet}"))?;
    }
    image(ws, &busybox, &folder.join("busybox.tar"))?;

    let debian = folder.join("debian");
    debian::unpack(ws, DEBIAN, &debian)?;
    // What the package's script would do.
    if !debian.join("bin/sh").exists() {
        symlink("dash", debian.join("bin/sh")).context("linking sh")?;
    }
    image(ws, &debian, &folder.join("debian.tar"))?;

    fs::write(&done, content).with_context(|| format!("writing {}", done.display()))?;
    Ok(folder)
}

/// Packs a root folder, with users and without what programs do not need.
fn image(ws: &Workspace, root: &Path, out: &Path) -> Result<()> {
    for folder in ["dev", "etc", "home/user", "proc", "root", "sys", "tmp", "var/tmp"] {
        fs::create_dir_all(root.join(folder)).with_context(|| format!("making {folder}"))?;
    }
    let write = |name: &str, text: &str| fs::write(root.join(name), text).with_context(|| format!("writing {name}"));
    write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n")?;
    write("etc/group", "root:x:0:\nuser:x:1000:\n")?;
    for documents in ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"] {
        let _ = fs::remove_dir_all(root.join(documents));
    }
    ws.cmd("chmod").args(["1777"]).args([root.join("tmp"), root.join("var/tmp")]).run()?;
    ws.cmd("chown").args(["1000:1000"]).arg(root.join("home/user")).run()?;
    ws.cmd("tar").arg("-C").arg(root).arg("-cf").arg(out).arg(".").run()
}
