//! The walls of a sandbox: its directory tree on the host and the `bwrap` command line that turns it into a root.
//!
//! A sandbox has its own processes, mounts, users, host name, IPC and terminals; it sees the host's programs read-only and none
//! of its home directories, sockets or secrets. Of the kernel's own files it sees what programs need, and changes none. What
//! the init gives up on its way in is in `init::harden`. Knows nothing of leases or of the API.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::path::Path;

use crate::init::Setup;

use crate::network::{self, Network};

/// Where the init's program is found inside.
const INIT_INSIDE: &str = "/run/sandboxd-init";

/// The user that acts when a request names none. The uid is that of E2B's base template.
pub(crate) const DEFAULT_USER: &str = "user";
const DEFAULT_UID: u32 = 1000;

/// Top-level directories that hold programs and libraries: read-only, or the same symbolic link as on the host.
const SYSTEM: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store"];

/// What programs need of the host's `/etc`: certificates, names, the loader, alternatives, fonts. No accounts, no keys.
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

/// What programs need of the kernel's files in `/proc`, beside those of processes: shown, and read-only, since permissions by
/// uid would let root change them. The rest tells of the machine or of other sandboxes: whatever else a kernel has there is
/// covered.
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

/// Who resolves names, in `/etc`.
const RESOLVER: &str = "resolv.conf";

/// What is `/dev/shm` inside: on disk, so that no sandbox fills the host's memory with files.
const SHARED_MEMORY: &str = "var/shm";

/// The device of file systems in user space.
pub(crate) const FUSE: &str = "/dev/fuse";

/// What root inside a sandbox may do, in a user namespace of the sandbox: what needs a capability of the host is refused. What
/// the kernel allows by uid alone is not, since root inside a sandbox of a server that runs as root has the host's uid 0.
pub(crate) const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// What the init needs besides, to give the sandbox a user namespace and to limit its terminals; nothing of it stays.
const FOR_THE_INIT: &[&str] = &["CAP_SETFCAP", "CAP_SETPCAP", "CAP_SYS_ADMIN"];

/// Why no sandbox here can mount.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FuseError {
    #[error(
        "{FUSE} is missing: load the kernel's module fuse, or give the device to the container that the server runs in"
    )]
    Missing,
    #[error(
        "this server does not run as root, and its user may not open {FUSE}: give it read and write access, or run the server as root"
    )]
    Forbidden,
    #[error("cannot open {FUSE}")]
    Open(#[source] io::Error),
}

/// Whether sandboxes made by this process can mount file systems in user space.
///
/// # Errors
/// [`FuseError`], with what to do.
pub(crate) fn check_fuse() -> Result<(), FuseError> {
    match fs::File::options().read(true).write(true).open(FUSE) {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound => FuseError::Missing,
            io::ErrorKind::PermissionDenied if !is_root() => FuseError::Forbidden,
            _ => FuseError::Open(error),
        }),
    }
}

/// What differs between sandboxes.
#[derive(Debug)]
pub(crate) struct Walls<'a> {
    /// Its directory tree on the host, as [`make_root`] made it.
    pub(crate) root: &'a Path,
    /// The init's program on the host.
    pub(crate) init: &'a Path,
    /// The network that it has. One of its own is there already when the walls are built.
    pub(crate) network: Network,
    /// Whether it may mount file systems in user space.
    pub(crate) fuse: bool,
    /// What its init holds it to.
    pub(crate) setup: Setup,
}

/// Makes the tree that becomes `/` of a sandbox, of one that may mount if `fuse`. All that a sandbox writes is in there.
///
/// # Errors
/// Those of the file system; what was made until then is left to the caller.
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
    // Without it `su` finds no account. Nobody has a password.
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
        write(&root.join("etc").join(RESOLVER), &network::resolver(&host))?;
    }
    if fuse {
        // What one user has mounted is there for the others if the mount says so.
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

/// Uid and gid of the default user inside, which are also those of its files on the host when the server is root.
///
/// Without root there is one user only, and programs that mount insist on being root.
fn identity(fuse: bool) -> (u32, u32) {
    if fuse && !is_root() { (0, 0) } else { (DEFAULT_UID, DEFAULT_UID) }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn own(path: &Path, fuse: bool) -> io::Result<()> {
    let (uid, gid) = identity(fuse);
    if is_root() { chown(path, Some(uid), Some(gid)) } else { Ok(()) }
}

fn directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)?;
    // Again, because the umask took part in the first.
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn write(path: &Path, content: &str) -> io::Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, Permissions::from_mode(0o644))
}

/// The arguments for `bwrap`, to the very end.
///
/// # Errors
/// When the kernel's files cannot be listed.
pub(crate) fn arguments(walls: Walls<'_>) -> io::Result<Vec<OsString>> {
    let mut arguments = Arguments::default();
    arguments.add(["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--as-pid-1"]);
    arguments.add(["--new-session", "--hostname", "sandbox"]);
    if walls.network == Network::None {
        arguments.add(["--unshare-net"]);
    }
    if is_root() {
        arguments.add(["--cap-drop", "ALL"]);
    } else {
        // The init makes them what they are inside.
        arguments.add(["--unshare-user", "--uid", "0", "--gid", "0"]);
    }
    for capability in CAPABILITIES.iter().chain(FOR_THE_INIT) {
        arguments.add(["--cap-add", capability]);
    }
    arguments.bind("--bind", walls.root, "/");
    for path in SYSTEM {
        let found = fs::symlink_metadata(path);
        if found.is_ok_and(|found| found.is_dir()) {
            arguments.bind("--ro-bind", Path::new(path), path);
        }
    }
    // In a network of its own the host's resolver may be out of reach; `make_root` has written another.
    let isolated = walls.network == Network::Isolated;
    for name in ETC.iter().filter(|name| !(isolated && **name == RESOLVER)) {
        let path = format!("/etc/{name}");
        arguments.bind("--ro-bind-try", Path::new(&path), &path);
    }
    arguments.proc()?;
    arguments.add(["--dev", "/dev"]);
    arguments.bind("--bind", &walls.root.join(SHARED_MEMORY), "/dev/shm");
    if walls.fuse {
        arguments.bind("--dev-bind", Path::new(FUSE), FUSE);
    }
    // It lies in memory, which nobody shall fill. Terminals are a file system of their own.
    arguments.add(["--remount-ro", "/dev"]);
    arguments.bind("--ro-bind", walls.init, INIT_INSIDE);
    arguments.add(["--chdir", "/", "--clearenv", "--", INIT_INSIDE, crate::init::ARGUMENT]);
    let only_user = (!is_root()).then(|| identity(walls.fuse).0);
    let setup = Setup { may_mount: walls.fuse, only_user, ..walls.setup };
    arguments.0.push(serde_json::to_string(&setup)?.into());
    Ok(arguments.0)
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn add<const N: usize>(&mut self, words: [&str; N]) {
        self.0.extend(words.map(OsString::from));
    }

    /// The kernel's files, with those covered that a sandbox has no business with.
    fn proc(&mut self) -> io::Result<()> {
        self.add(["--proc", "/proc"]);
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // A process, which may have ended by now.
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
