//! What the server has done by a process of its own: the init's program, started outside of any sandbox.
//!
//! A tree that a sandbox made may break who walks it, and a user namespace can be entered by a process with one thread only.
//! Owns both ends: the command line and the work. Decides nothing.

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

use crate::init::ARGUMENT;
use crate::tree;

/// Lower than the priority of what somebody waits for, but not so low that other work stops it.
const NICE: i32 = 5;

/// The share of what the host allows one user that a sandbox gets: several sandboxes and the host are the same user to it.
const SHARE: u64 = 4;

/// Limits of a user namespace, each with that of the host that it takes a share of. Nothing without it.
const NAMESPACE_LIMITS: &[(&str, Option<&str>)] = &[
    ("max_inotify_instances", Some("/proc/sys/fs/inotify/max_user_instances")),
    ("max_inotify_watches", Some("/proc/sys/fs/inotify/max_user_watches")),
    ("max_fanotify_groups", Some("/proc/sys/fs/fanotify/max_user_groups")),
    ("max_user_namespaces", None),
];

/// One piece of work.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chore {
    /// Removes all that is in a directory.
    Empty { directory: PathBuf },
    /// Prints a line for each sandbox: its id and the bytes of the disk that it takes, or a little more than `enough`.
    Measure { directory: PathBuf, enough: u64, sandboxes: Vec<(String, u32)> },
    /// Limits what the kernel counts per user for the user namespace of a process.
    Limit { pid: u32 },
}

const EMPTY: &str = "empty";
const MEASURE: &str = "measure";
const LIMIT: &str = "limit";

impl Chore {
    /// The command that does it, with nothing connected but its standard error.
    pub(crate) fn command(&self, program: &Path) -> Command {
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

    /// The work that the arguments after [`ARGUMENT`] name; none for those of an init.
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

    /// Does it; says on standard error why not.
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
        // It may have ended meanwhile.
        let files = open(&directory.join(id)).map_or(0, |root| tree::usage(root, enough));
        println!("{id} {}", files.saturating_add(removed.get(id.as_str()).copied().unwrap_or(0)));
    }
    Ok(())
}

/// Bytes of files that have no name any more and that processes of a sandbox still hold open.
fn open_but_removed<'a>(directory: &Path, sandboxes: &HashMap<PathBuf, &'a str>) -> io::Result<HashMap<&'a str, u64>> {
    let disk = rustix::fs::stat(directory)?.st_dev;
    let (mut seen, mut bytes) = (HashSet::new(), HashMap::new());
    let processes = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for pid in processes {
        let Some(sandbox) = pid_namespace(pid).and_then(|namespace| sandboxes.get(&namespace)) else { continue };
        // A process may end while it is looked at.
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
        // What this kernel does not count needs no limit.
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

    /// Promise: the child does what its parent meant.
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
