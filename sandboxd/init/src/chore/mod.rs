//! Work that the server leaves to a process of its own: the init's program, started outside of any sandbox.
//!
//! There are two reasons. A directory tree that a sandbox made may crash the process that walks it. And only a process
//! with a single thread can enter a user namespace.
//!
//! Owns both ends: the command line and the work. Decides nothing.

mod tree;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};
use rustix::thread::ThreadNameSpaceType;
use tokio::process::Command;

use crate::invocation::ARGUMENT;

/// Lower than the priority of interactive work, but high enough that a busy machine does not stop it.
const NICE: i32 = 5;

/// A sandbox gets one part in this many of what the host allows one user. Several sandboxes and the host count as one
/// user there.
const SHARE: u64 = 4;

/// The limits of a user namespace, each with the host's limit that it takes a share of. Without one, the limit is zero.
const NAMESPACE_LIMITS: &[(&str, Option<&str>)] = &[
    ("max_inotify_instances", Some("/proc/sys/fs/inotify/max_user_instances")),
    ("max_inotify_watches", Some("/proc/sys/fs/inotify/max_user_watches")),
    ("max_fanotify_groups", Some("/proc/sys/fs/fanotify/max_user_groups")),
    ("max_user_namespaces", None),
];

/// One piece of work.
#[derive(Debug, PartialEq, Eq)]
pub enum Chore {
    /// Removes all that is in a directory.
    Empty {
        /// The directory. It stays.
        directory: PathBuf,
    },
    /// Prints one line for each sandbox: its id, and the bytes of disk that it takes. Stops to count a little above
    /// `enough`.
    Measure {
        /// Holds one directory for each sandbox, named by its id.
        directory: PathBuf,
        /// In bytes.
        enough: u64,
        /// The id of each sandbox, and the pid of its init.
        sandboxes: Vec<(String, u32)>,
    },
    /// Sets the limits of the user namespace that a process is in.
    Limit {
        /// The process.
        pid: u32,
    },
}

const EMPTY: &str = "empty";
const MEASURE: &str = "measure";
const LIMIT: &str = "limit";

impl Chore {
    /// The command that does the work. Only its standard error is connected, and standard output if it prints
    /// something.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg(ARGUMENT).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        match self {
            Self::Empty { directory } => command.arg(EMPTY).arg(directory),
            Self::Measure { directory, enough, sandboxes } => {
                command.stdout(Stdio::piped()).arg(MEASURE).arg(directory).arg(enough.to_string());
                command.args(sandboxes.iter().map(|(id, init)| format!("{id}:{init}")))
            }
            Self::Limit { pid } => command.arg(LIMIT).arg(pid.to_string()),
        };
        command
    }

    /// The work that the arguments after [`ARGUMENT`] name. `None` for the arguments of an init.
    pub(crate) fn from_arguments(mut arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let word = arguments.next()?;
        match word.to_str()? {
            EMPTY => Some(Self::Empty { directory: arguments.next()?.into() }),
            MEASURE => {
                let directory = arguments.next()?.into();
                let enough = arguments.next()?.to_str()?.parse().ok()?;
                let sandbox = |word: OsString| {
                    let (id, init) = word.to_str()?.split_once(':')?;
                    Some((id.to_owned(), init.parse().ok()?))
                };
                Some(Self::Measure { directory, enough, sandboxes: arguments.map(sandbox).collect::<Option<_>>()? })
            }
            LIMIT => Some(Self::Limit { pid: arguments.next()?.to_str()?.parse().ok()? }),
            _ => None,
        }
    }

    /// Does the work. Prints the error to standard error if it fails.
    pub(crate) fn run(&self) -> bool {
        let done = match self {
            Self::Empty { directory } => empty(directory),
            Self::Measure { directory, enough, sandboxes } => measure(directory, *enough, sandboxes),
            Self::Limit { pid } => limit(*pid),
        };
        if let Err(error) = &done {
            eprintln!("{error}");
        }
        done.is_ok()
    }
}

fn empty(directory: &Path) -> io::Result<()> {
    let _ = rustix::process::nice(NICE);
    Ok(tree::empty(open(directory)?)?)
}

fn open(directory: &Path) -> rustix::io::Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::empty())
}

fn measure(directory: &Path, enough: u64, sandboxes: &[(String, u32)]) -> io::Result<()> {
    let inits = sandboxes.iter().filter_map(|(id, init)| Some((pid_namespace(*init)?, id.as_str())));
    let removed = open_but_removed(directory, &inits.collect())?;
    for (id, _) in sandboxes {
        // The sandbox may have ended in the meantime.
        let files = open(&directory.join(id)).map_or(0, |root| tree::usage(root, enough));
        println!("{id} {}", files.saturating_add(removed.get(id.as_str()).copied().unwrap_or(0)));
    }
    Ok(())
}

/// The bytes of files without a name that processes of a sandbox still hold open.
fn open_but_removed<'a>(directory: &Path, sandboxes: &HashMap<PathBuf, &'a str>) -> io::Result<HashMap<&'a str, u64>> {
    let disk = rustix::fs::stat(directory)?.st_dev;
    let (mut seen, mut bytes) = (HashSet::new(), HashMap::new());
    let processes = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for pid in processes {
        let Some(sandbox) = pid_namespace(pid).and_then(|namespace| sandboxes.get(&namespace)) else { continue };
        // The process may end during the look.
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(found) = rustix::fs::stat(entry.path()) else { continue };
            if found.st_dev == disk && found.st_nlink == 0 && seen.insert(found.st_ino) {
                *bytes.entry(*sandbox).or_default() += found.st_blocks.cast_unsigned() * 512;
            }
        }
    }
    Ok(bytes)
}

fn pid_namespace(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

fn limit(pid: u32) -> io::Result<()> {
    let share = |(name, of): &(&'static str, Option<&str>)| {
        let all = of.map_or("0".to_owned(), |path| fs::read_to_string(path).unwrap_or_default());
        // A limit that this kernel does not have needs no value.
        Some((*name, all.trim().parse::<u64>().ok()?.div_ceil(SHARE)))
    };
    let limits: Vec<(&str, u64)> = NAMESPACE_LIMITS.iter().filter_map(share).collect();
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    rustix::thread::move_into_thread_name_spaces(process.as_fd(), ThreadNameSpaceType::USER)?;
    for (name, most) in limits {
        fs::write(format!("/proc/sys/user/{name}"), most.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: the child process does what its parent meant.
    #[test]
    fn arguments_mean_the_same_at_both_ends() {
        let sandboxes = vec![("a".to_owned(), 7), ("b".to_owned(), 8)];
        for chore in [
            Chore::Empty { directory: "/some where".into() },
            Chore::Measure { directory: "/x".into(), enough: 5, sandboxes },
            Chore::Limit { pid: 9 },
        ] {
            let command = chore.command(Path::new("program"));
            let mut arguments = command.as_std().get_args().map(OsString::from);
            assert_eq!(arguments.next().unwrap(), ARGUMENT);
            assert_eq!(Chore::from_arguments(arguments), Some(chore));
        }
        assert_eq!(Chore::from_arguments(["{\"may_mount\":true}".into()].into_iter()), None);
    }
}
