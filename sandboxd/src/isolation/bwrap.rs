//! The `bwrap` command line that turns a directory tree into the root of a sandbox.
//!
//! Decides what of the host is visible inside, and how. Runs nothing.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;

use super::shared::{RESOLVER, SHARED_MEMORY, SYSTEM};
use super::users::{identity, is_root};
use crate::network::Network;
use sandboxd_init::invocation::{ARGUMENT, Setup};
use sandboxd_init::privileges::{CAPABILITIES, FOR_THE_INIT, FUSE};

/// Where the init's program is found inside.
const INIT_INSIDE: &str = "/run/sandboxd-init";

/// The files of the host's `/etc` that programs need: certificates, names, the loader, alternatives, fonts. No accounts
/// and no keys.
const ETC: &[&str] = &[
    "alternatives",
    "bash.bashrc",
    "bash_completion.d",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "ethertypes",
    "fonts",
    "gai.conf",
    "host.conf",
    "inputrc",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "lsb-release",
    "login.defs",
    "magic",
    "magic.mime",
    "mime.types",
    "nanorc",
    "os-release",
    "pam.conf",
    "pam.d",
    "perl",
    "pki/ca-trust",
    "pki/tls",
    "profile",
    "protocols",
    "python3",
    RESOLVER,
    "rpc",
    "security/limits.conf",
    "security/pam_env.conf",
    "services",
    "skel",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
    "vim",
];

/// The kernel's files in `/proc` that programs need, besides those of processes. They are visible and read-only: by uid
/// alone, root could change them. Everything else that a kernel has there is covered, because it tells about the
/// machine or about other sandboxes.
const PROC: &[&str] = &[
    "cgroups",
    "cmdline",
    "cpuinfo",
    "crypto",
    "devices",
    "filesystems",
    "loadavg",
    "meminfo",
    "misc",
    "pressure",
    "stat",
    "swaps",
    "sys",
    "sysvipc",
    "tty",
    "uptime",
    "version",
    "vmstat",
];

/// What differs between sandboxes.
#[derive(Debug)]
pub(crate) struct Isolation<'a> {
    /// Its directory tree on the host, as `make_root` made it.
    pub(crate) root: &'a Path,
    /// The init's program on the host.
    pub(crate) init: &'a Path,
    /// Its network. A network of its own exists already when `bwrap` starts.
    pub(crate) network: Network,
    /// Whether it may mount file systems in user space.
    pub(crate) fuse: bool,
    /// The limits that its init sets.
    pub(crate) setup: Setup,
}

/// All arguments for `bwrap`.
///
/// # Errors
/// When the kernel's files cannot be listed.
pub(crate) fn arguments(isolation: Isolation<'_>) -> io::Result<Vec<OsString>> {
    let mut arguments = Arguments::default();
    arguments.add(["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--as-pid-1"]);
    arguments.add(["--new-session", "--hostname", "sandbox"]);
    if isolation.network == Network::None {
        arguments.add(["--unshare-net"]);
    }
    if is_root() {
        arguments.add(["--cap-drop", "ALL"]);
    } else {
        // The init maps them to the users inside.
        arguments.add(["--unshare-user", "--uid", "0", "--gid", "0"]);
    }
    for capability in CAPABILITIES.iter().chain(FOR_THE_INIT) {
        arguments.add(["--cap-add", capability]);
    }
    arguments.bind("--bind", isolation.root, "/");
    for path in SYSTEM {
        let found = fs::symlink_metadata(path);
        if found.is_ok_and(|found| found.is_dir()) {
            arguments.bind("--ro-bind", Path::new(path), path);
        }
    }
    // The host's resolver may be out of reach of an isolated network. `make_root` has written another file.
    let isolated = isolation.network == Network::Isolated;
    for name in ETC.iter().filter(|name| !(isolated && **name == RESOLVER)) {
        let path = format!("/etc/{name}");
        arguments.bind("--ro-bind-try", Path::new(&path), &path);
    }
    arguments.proc()?;
    arguments.add(["--dev", "/dev"]);
    arguments.bind("--bind", &isolation.root.join(SHARED_MEMORY), "/dev/shm");
    if isolation.fuse {
        arguments.bind("--dev-bind", Path::new(FUSE), FUSE);
    }
    // `/dev` is in memory, which no sandbox may fill. Terminals are a file system of their own.
    arguments.add(["--remount-ro", "/dev"]);
    arguments.bind("--ro-bind", isolation.init, INIT_INSIDE);
    arguments.add(["--chdir", "/", "--clearenv", "--", INIT_INSIDE, ARGUMENT]);
    let only_user = (!is_root()).then(|| identity(isolation.fuse).0);
    let setup = Setup { may_mount: isolation.fuse, only_user, ..isolation.setup };
    arguments.0.push(serde_json::to_string(&setup)?.into());
    Ok(arguments.0)
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn add<const N: usize>(&mut self, words: [&str; N]) {
        self.0.extend(words.map(OsString::from));
    }

    /// The kernel's files. Those that a sandbox does not need are covered.
    fn proc(&mut self) -> io::Result<()> {
        self.add(["--proc", "/proc"]);
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // This is a process. It may have ended by now.
            if name.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            let kind = entry.file_type()?;
            // Links lead to files of the process that follows them.
            if kind.is_symlink() {
                continue;
            }
            let path = format!("/proc/{name}");
            if PROC.contains(&name.as_str()) {
                self.bind("--ro-bind", Path::new(&path), &path);
            } else if kind.is_dir() {
                self.add(["--tmpfs", &path, "--remount-ro", &path]);
            } else {
                self.bind("--ro-bind", Path::new("/dev/null"), &path);
            }
        }
        Ok(())
    }

    fn bind(&mut self, how: &str, from: &Path, to: &str) {
        self.0.extend([OsStr::new(how), from.as_os_str(), OsStr::new(to)].map(OsStr::to_os_string));
    }
}
