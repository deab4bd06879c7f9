//! What this machine has: programs, limits, control groups, and the unit that the broker runs in. Owns what the broker
//! needs of each; deliberately knows no network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::process::Command;
use tokio::time::timeout;

use super::finding::Finding;
use crate::broker::Checked;

/// Time for a program to say something.
const SAYS_WITHIN: Duration = Duration::from_secs(10);

/// Open files that a broker needs besides those of its sessions: mostly connections that are not sessions yet.
const OWN_FILES: u64 = 4096 + 256;

/// Open files of each session, in the broker and its embedded server.
const FILES_OF_A_SESSION: u64 = 16;

/// The unit that comes with the broker.
const UNIT: &str = "sandbox-broker.service";

pub(super) async fn look(checked: &Checked, state: &Path) -> Vec<Finding> {
    let config = &checked.config;
    let embedded = config.providers[&config.sandbox.provider].embedded.is_some();
    let mut findings = Vec::new();
    if embedded {
        findings.push(bubblewrap().await);
        findings.push(slirp4netns());
        if !config.storage.is_empty() {
            findings.push(fuse());
        }
        findings.push(cgroups());
    }
    findings.push(open_files(config.sandbox.max_sessions as u64));
    findings.extend(unit(embedded).await);
    findings.extend(compiled(state));
    findings
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|place| place.join(name)).find(|place| place.is_file())
}

/// What a program prints. When it fails, the error is what it prints on standard error.
async fn says(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let run = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output =
        timeout(SAYS_WITHIN, run).await.map_err(|_| format!("it said nothing for {} s", SAYS_WITHIN.as_secs()))?;
    let output = output.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

async fn bubblewrap() -> Finding {
    let Some(program) = on_path("bwrap") else {
        return Finding::wrong(
            "bubblewrap",
            "there is no bwrap on PATH",
            "install bubblewrap: sandboxes are made with it",
        );
    };
    let isolated = ["--unshare-user", "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "true"];
    match says(&program, &isolated).await {
        Ok(_) => Finding::good("bubblewrap", format!("{} makes a sandbox", program.display())),
        Err(why) => Finding::wrong(
            "bubblewrap",
            format!("{} makes no sandbox: {why}", program.display()),
            "let users make namespaces: kernel.unprivileged_userns_clone=1, and on Ubuntu \
             kernel.apparmor_restrict_unprivileged_userns=0 or a profile for bwrap; in a container, run it with \
             --privileged or the capabilities for that",
        ),
    }
}

fn slirp4netns() -> Finding {
    match on_path("slirp4netns") {
        None => Finding::unwise(
            "slirp4netns",
            "there is no slirp4netns on PATH: sandboxes share this machine's network",
            "install slirp4netns: then each has a network of its own",
        ),
        Some(_) if !Path::new("/dev/net/tun").exists() => Finding::unwise(
            "slirp4netns",
            "there is no /dev/net/tun: sandboxes share this machine's network",
            "load the module tun; in a container, hand /dev/net/tun in",
        ),
        Some(program) => Finding::good("slirp4netns", program.display().to_string()),
    }
}

fn fuse() -> Finding {
    let remedy = "install fuse3, and let the broker's user open /dev/fuse: sandboxes mount storage with it";
    if on_path("fusermount3").is_none() {
        return Finding::wrong("fuse", "there is no fusermount3 on PATH", remedy);
    }
    match fs::File::options().read(true).write(true).open("/dev/fuse") {
        Ok(_) => Finding::good("fuse", "/dev/fuse can be opened"),
        Err(error) => Finding::wrong("fuse", format!("/dev/fuse: {error}"), remedy),
    }
}

/// Whether a group can be made below our own, in either version.
fn cgroups() -> Finding {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let below = path.trim_start_matches('/');
        match controllers {
            "" => Some(Path::new("/sys/fs/cgroup").join(below)),
            "memory" => Some(Path::new("/sys/fs/cgroup/memory").join(below)),
            _ => None,
        }
    });
    let writable = |path: &PathBuf| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    match groups.into_iter().find(writable) {
        Some(group) => Finding::good("cgroups", format!("groups can be made below {}", group.display())),
        None => Finding::unwise(
            "cgroups",
            "no control group can be made: a sandbox is bounded by the limits of its processes alone",
            "in a unit of systemd: Delegate=yes; in a container: --cgroupns=private and /sys/fs/cgroup writable",
        ),
    }
}

fn open_files(sessions: u64) -> Finding {
    let needed = OWN_FILES + sessions * FILES_OF_A_SESSION;
    let hard = getrlimit(Resource::Nofile).maximum;
    let found = hard.map_or("no limit".to_owned(), |hard| format!("{hard} at most"));
    match hard {
        Some(hard) if hard < needed => Finding::unwise(
            "open files",
            format!("{found}, and {sessions} sessions may need {needed}"),
            format!("raise the hard limit: `LimitNOFILE={}` in the unit, or ulimit -Hn", needed.next_power_of_two()),
        ),
        _ => Finding::good("open files", format!("{found}; {sessions} sessions may need {needed}")),
    }
}

/// How systemd ends the broker's unit; `None` when the unit does not exist.
async fn unit(embedded: bool) -> Option<Finding> {
    let systemctl = on_path("systemctl")?;
    let told = says(&systemctl, &["show", UNIT, "--property=LoadState,KillMode,OOMPolicy"]).await.ok()?;
    let has = |line: &str| told.lines().any(|told| told == line);
    if !embedded || !has("LoadState=loaded") {
        return None;
    }
    Some(if has("KillMode=process") && has("OOMPolicy=continue") {
        Finding::good("systemd", format!("{UNIT} keeps sandboxes through a restart"))
    } else {
        Finding::wrong(
            "systemd",
            format!("{UNIT}: {}", told.replace('\n', ", ")),
            "put KillMode=process and OOMPolicy=continue into [Service]: otherwise a restart, or one large sandbox, ends \
             every session",
        )
    })
}

/// Whether native code may be run from the state directory.
fn compiled(state: &Path) -> Option<Finding> {
    let there = state.ancestors().find(|above| above.exists())?;
    let flags = rustix::fs::statvfs(there).ok()?.f_flag;
    flags.contains(rustix::fs::StatVfsMountFlags::NOEXEC).then(|| {
        Finding::unwise(
            "state",
            format!("{} is on a file system without the right to execute (noexec)", there.display()),
            "give a --state-dir elsewhere: compiled plugins are run from there",
        )
    })
}
