//! Control groups: the kernel's limits for all processes of a sandbox together.
//!
//! Uses version 2 or version 1, whichever this machine has and lets this server use.
//!
//! Owns one group for this server and, in it, one for each sandbox. Knows only the ids of sandboxes. It writes a few
//! files; the libraries for this manage whole containers.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The beginning of a server group's name. The server's pid and its number within the process follow.
const PREFIX: &str = "sandboxd-";

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    Processes,
    Memory,
    /// Equal shares, which need no number.
    Processor,
}

impl Controller {
    pub(crate) const ALL: [Self; 3] = [Self::Processes, Self::Memory, Self::Processor];

    /// Its name in the kernel.
    fn name(self) -> &'static str {
        match self {
            Self::Processes => "pids",
            Self::Memory => "memory",
            Self::Processor => "cpu",
        }
    }
}

/// The most that one sandbox may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) processes: u64,
    /// In bytes.
    pub(crate) memory: u64,
}

/// A hierarchy in which this server has a group.
#[derive(Debug)]
struct Hierarchy {
    /// This server's group.
    group: PathBuf,
    controllers: Vec<Controller>,
    unified: bool,
}

/// This server's groups.
#[derive(Debug)]
pub(crate) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    bounds: Bounds,
}

impl Cgroups {
    /// Makes this server's groups where it is allowed to, and removes the groups of servers that died.
    pub(crate) fn prepare(bounds: Bounds) -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        /// Distinguishes the groups of several servers in one process.
        static SERVERS: AtomicU32 = AtomicU32::new(0);
        let name = format!("{PREFIX}{}-{}", std::process::id(), SERVERS.fetch_add(1, Ordering::Relaxed));
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for controller in Controller::ALL {
            let Some((group, unified)) = places(&own, &mounts, controller)
                .into_iter()
                .find_map(|(place, unified)| Some((make_group(&place, &name, controller, unified)?, unified)))
            else {
                continue;
            };
            match hierarchies.iter_mut().find(|hierarchy| hierarchy.group == group) {
                Some(hierarchy) => hierarchy.controllers.push(controller),
                None => hierarchies.push(Hierarchy { group, controllers: vec![controller], unified }),
            }
        }
        Self { hierarchies, bounds }
    }

    /// Whether something can be limited here.
    pub(crate) fn has(&self, controller: Controller) -> bool {
        self.hierarchies.iter().any(|hierarchy| hierarchy.controllers.contains(&controller))
    }

    /// Makes the group of one sandbox.
    ///
    /// # Errors
    /// Errors of the file system. No group is left then.
    pub(crate) fn make(&self, id: &str) -> io::Result<Cgroup> {
        let mut made = Cgroup { groups: Vec::new() };
        for hierarchy in &self.hierarchies {
            let group = hierarchy.group.join(id);
            fs::create_dir(&group)?;
            made.groups.push(group.clone());
            hierarchy.bound(&group, self.bounds)?;
        }
        Ok(made)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for hierarchy in &self.hierarchies {
            // Fails if a process in it does not end.
            let _ = fs::remove_dir(&hierarchy.group);
        }
    }
}

impl Hierarchy {
    fn bound(&self, group: &Path, bounds: Bounds) -> io::Result<()> {
        let write = |name: &str, value: u64| fs::write(group.join(name), value.to_string());
        for controller in &self.controllers {
            match (controller, self.unified) {
                (Controller::Processes, _) => write("pids.max", bounds.processes)?,
                (Controller::Memory, true) => {
                    write("memory.max", bounds.memory)?;
                    // The file does not exist if the kernel has no swap.
                    let _ = write("memory.swap.max", 0);
                }
                (Controller::Memory, false) => {
                    write("memory.limit_in_bytes", bounds.memory)?;
                    let _ = write("memory.memsw.limit_in_bytes", bounds.memory);
                }
                (Controller::Processor, _) => {}
            }
        }
        Ok(())
    }
}

/// The group of one sandbox. Dropping it removes it if no process is left in it.
#[derive(Debug)]
pub(crate) struct Cgroup {
    groups: Vec<PathBuf>,
}

impl Cgroup {
    /// The files that a process writes `0` to in order to join the group.
    pub(crate) fn entrances(&self) -> io::Result<Vec<File>> {
        let open = |group: &PathBuf| File::options().write(true).open(group.join("cgroup.procs"));
        self.groups.iter().map(open).collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for group in &self.groups {
            if let Err(error) = fs::remove_dir(group) {
                tracing::debug!(group = %group.display(), %error, "a control group stays");
            }
        }
    }
}

/// The directories in which a group for a controller may be made, best first, and whether they are of version 2. The
/// server's own group comes first, then the groups around it.
fn places(own: &str, mounts: &str, controller: Controller) -> Vec<(PathBuf, bool)> {
    let name = controller.name();
    let version_1 = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        fields.next()?.split(',').any(|found| found == name).then(|| fields.next())?
    });
    let unified = version_1.is_none();
    let Some(path) = version_1.or_else(|| own.lines().find_map(|line| line.strip_prefix("0::"))) else {
        return Vec::new();
    };
    let Some((root, mount)) = mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, mount) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let found = match right.next()? {
            "cgroup2" => unified,
            "cgroup" => right.nth(1)?.split(',').any(|option| option == name),
            _ => false,
        };
        found.then_some((root, mount))
    }) else {
        return Vec::new();
    };
    // Joins component by component, so that an empty path adds nothing.
    let inside = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
    let own: PathBuf = Path::new(mount).iter().chain(inside.iter()).collect();
    own.ancestors().take_while(|place| place.starts_with(mount)).map(|place| (place.to_owned(), unified)).collect()
}

/// Makes the server's group in `place`. `None` if the controller does not work there.
fn make_group(place: &Path, name: &str, controller: Controller, unified: bool) -> Option<PathBuf> {
    if unified {
        // Fails if the group contains processes. Then a group further up may work.
        let _ = fs::write(place.join("cgroup.subtree_control"), format!("+{}", controller.name()));
    }
    remove_left_behind(place);
    let group = place.join(name);
    let made = match fs::create_dir(&group) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        other => {
            other.ok()?;
            true
        }
    };
    let passes_on = || fs::write(group.join("cgroup.subtree_control"), format!("+{}", controller.name())).is_ok();
    if !unified || passes_on() {
        return Some(group);
    }
    if made {
        let _ = fs::remove_dir(&group);
    }
    None
}

/// Removes the groups of servers that were killed; the processes of their sandboxes died with them.
fn remove_left_behind(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-')?.0.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            for sandbox in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(sandbox.path());
            }
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: groups are made where the machine has the controller, nearest to the server first.
    #[test]
    fn places_are_found() {
        let of = |own: &str, mounts: &str, controller| -> Vec<String> {
            let places = places(own, mounts, controller);
            places.into_iter().map(|(path, unified)| format!("{} {unified}", path.display())).collect()
        };
        let mounts = "25 20 0:23 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            31 25 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            32 25 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            38 25 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = "4:memory:/a/b\n1:cpu,cpuacct:/\n0::/\n";
        let memory =
            ["/sys/fs/cgroup/memory/a/b false", "/sys/fs/cgroup/memory/a false", "/sys/fs/cgroup/memory false"];
        assert_eq!(of(own, mounts, Controller::Memory), memory);
        assert_eq!(of(own, mounts, Controller::Processor), ["/sys/fs/cgroup/cpu,cpuacct false"]);
        assert_eq!(of(own, mounts, Controller::Processes), ["/sys/fs/cgroup/unified true"]);
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let wanted =
            ["/sys/fs/cgroup/user.slice/x.scope true", "/sys/fs/cgroup/user.slice true", "/sys/fs/cgroup true"];
        assert_eq!(of("0::/user.slice/x.scope\n", mounts, Controller::Memory), wanted);
        // A container sees a part of the hierarchy as its root.
        let mounts = "30 23 0:26 /docker/1 /sys/fs/cgroup ro - cgroup cgroup rw,pids\n";
        assert_eq!(of("2:pids:/docker/1\n", mounts, Controller::Processes), ["/sys/fs/cgroup false"]);
        assert_eq!(of("", mounts, Controller::Processes), [""; 0]);
    }
}
