//! A real one-node Kubernetes for tests of the provider `kubernetes`: its programs, kept between runs.
//!
//! Kubernetes and its store are built from Go modules, which takes minutes once; what runs containers comes from Debian
//! packages that are unpacked and not installed. Knows nothing of how a cluster is started: `xtask/kubernetes/cluster` does.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::debian;
use super::go::command;
use crate::command::Cmd;
use crate::workspace::{Workspace, sha256_hex};

const FOLDER: &str = "xtask/kubernetes";

/// Where the programs are kept.
const TARGET: &str = "target/kubernetes";

/// What the large program is made of. Each of them decides whether a build that is kept can be used.
const INPUTS: [&str; 3] = ["go.mod", "go.sum", "parts/main.go"];

/// The line of `go.mod` with the release.
const MODULE: &str = "k8s.io/kubernetes v";

/// Debian packages, and the files of each that are used, by the name under which they are kept.
const PACKAGES: [(&str, &[(&str, &str)]); 6] = [
    (
        "containerd",
        &[
            ("usr/bin/containerd", "containerd"),
            ("usr/bin/containerd-shim-runc-v2", "containerd-shim-runc-v2"),
            ("usr/bin/ctr", "ctr"),
        ],
    ),
    ("runc", &[("usr/sbin/runc", "runc")]),
    (
        "containernetworking-plugins",
        &[
            ("usr/lib/cni/bridge", "cni/bridge"),
            ("usr/lib/cni/host-local", "cni/host-local"),
            ("usr/lib/cni/loopback", "cni/loopback"),
        ],
    ),
    ("busybox-static", &[("bin/busybox", "busybox")]),
    ("bash-static", &[("bin/bash-static", "bash")]),
    ("mksh", &[("usr/lib/klibc/bin/mksh", "mksh")]),
];

/// What this machine lacks, whatever is installed.
fn lacks(ws: &Workspace) -> Option<&'static str> {
    let probe = |program: &str, args: &[&str]| ws.cmd(program).args(args).probe().is_some();
    if !cfg!(target_os = "linux") || !rustix::process::geteuid().is_root() {
        Some("it needs Linux and root")
    } else if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        Some("it is written for control groups of version 1, and this machine has version 2")
    } else if !probe("unshare", &["--mount", "--net", "--pid", "--fork", "true"]) {
        Some("this machine makes no namespaces")
    } else if !probe("go", &["version"]) {
        Some("it is built with Go, which is not here")
    } else if !probe("dpkg", &["--version"]) {
        Some("its programs come from packages of Debian")
    } else {
        None
    }
}

/// The variables by which tests find the programs: the one that starts a cluster, and the folder of those that it starts.
pub(crate) fn install(ws: &Workspace) -> Result<[(&'static str, OsString); 2]> {
    if let Some(why) = lacks(ws) {
        bail!("a Kubernetes of one node (tests of the provider kubernetes): {why}");
    }
    let starter = ws.path(TARGET).join("cluster");
    go(ws).arg("-o").arg(&starter).arg("./cluster").run()?;
    Ok([("KUBERNETES", starter.into()), ("KUBERNETES_PARTS", parts(ws)?.into())])
}

fn go(ws: &Workspace) -> Cmd {
    command(ws, FOLDER).env("CGO_ENABLED", "0")
}

/// The folder of the programs, made unless it is there.
fn parts(ws: &Workspace) -> Result<PathBuf> {
    let go_mod = ws.path(FOLDER).join(INPUTS[0]);
    let text = fs::read_to_string(&go_mod).with_context(|| format!("reading {}", go_mod.display()))?;
    let flags = flags(&text).context("go.mod names no release of Kubernetes")?;
    let mut inputs = format!("{flags}\n{PACKAGES:?}\n");
    for file in INPUTS {
        let path = ws.path(FOLDER).join(file);
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        inputs.push_str(&format!("{file} {}\n", sha256_hex(&bytes)));
    }
    let folder = ws.path(TARGET).join("parts");
    // The note is written last, so what was broken off is done again.
    let done = folder.join("inputs");
    if fs::read_to_string(&done).is_ok_and(|old| old == inputs) {
        return Ok(folder);
    }
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).context(TARGET),
        _ => {}
    }
    eprintln!("building Kubernetes for tests: once, and some minutes");
    let unpacked = folder.join("packages");
    fs::create_dir_all(folder.join("cni")).with_context(|| format!("making {}", folder.display()))?;
    let names: Vec<&str> = PACKAGES.iter().map(|(package, _)| *package).collect();
    debian::unpack(ws, &names, &unpacked)?;
    for (from, to) in PACKAGES.iter().flat_map(|(_, files)| *files) {
        fs::rename(unpacked.join(from), folder.join(to)).with_context(|| format!("the packages have no {from}"))?;
    }
    fs::remove_dir_all(&unpacked).context("removing what was unpacked")?;
    let build = go(ws).args(["-gcflags=all=-dwarf=false", &format!("-ldflags={flags}"), "-o"]);
    build.arg(folder.join("parts")).arg("./parts").run()?;
    fs::write(&done, inputs).with_context(|| format!("writing {}", done.display()))?;
    Ok(folder)
}

/// Flags of the linker. A build that is not Kubernetes' own does not know its version unless it is told.
fn flags(go_mod: &str) -> Option<String> {
    let line = go_mod.lines().find_map(|line| line.trim().strip_prefix(MODULE))?;
    let minor = line.split('.').nth(1)?;
    let told = [
        ("gitVersion", format!("v{line}")),
        ("gitMajor", "1".to_owned()),
        ("gitMinor", minor.to_owned()),
        ("gitTreeState", "clean".to_owned()),
        ("gitCommit", "none".to_owned()),
    ];
    let told = told.map(|(name, value)| format!(" -X k8s.io/component-base/version.{name}={value}"));
    Some(format!("-s -w{}", told.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_says_the_version_that_go_mod_names() {
        let ws = Workspace::find().unwrap();
        let text = fs::read_to_string(ws.path(FOLDER).join("go.mod")).unwrap();
        let flags = flags(&text).unwrap();
        assert!(flags.contains("version.gitVersion=v1.") && flags.contains("version.gitMajor=1 "), "{flags}");
        assert_eq!(self::flags("module x\n"), None);
    }
}
