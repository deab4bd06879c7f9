//! How much one sandbox may take, and how this machine enforces it.
//!
//! Owns the numbers and the control groups. Logs at start what cannot be limited here. Numbers that nobody needs to
//! choose stand where they are enforced: that of terminals, for example, in the init.

pub(crate) mod cgroup;
pub(crate) mod disk;

use std::path::Path;

use crate::limits::cgroup::{Bounds, Cgroup, Cgroups, Controller};
use crate::machine;
use crate::options::{DEFAULT_MAX_MEMORY_MIB, Options};
use sandboxd_init::invocation::Setup;

const MIB: u64 = 1 << 20;

/// The limits of every sandbox of this server.
#[derive(Debug)]
pub(crate) struct Limits {
    cgroups: Cgroups,
    processes: u64,
    /// In bytes.
    memory: u64,
    /// In bytes.
    pub(crate) disk: u64,
}

impl Limits {
    /// Finds out what can be limited here, and logs what cannot.
    pub(crate) fn prepare(options: &Options, state_dir: &Path) -> Self {
        let half = machine::describe(state_dir).memory_mb / 2;
        let memory = options.max_memory.unwrap_or(DEFAULT_MAX_MEMORY_MIB.min(half)) * MIB;
        let bounds = Bounds { processes: options.max_processes, memory };
        let limits = Self {
            cgroups: Cgroups::prepare(bounds),
            processes: bounds.processes,
            memory,
            disk: options.max_disk * MIB,
        };
        let missing = limits.missing();
        if !missing.is_empty() {
            tracing::warn!(
                missing = missing.join(", "),
                "not limited per sandbox, because this server may make no control groups: run it as root, or as a unit \
                 of systemd with Delegate=yes"
            );
        }
        limits
    }

    fn missing(&self) -> Vec<&'static str> {
        let missing = Controller::ALL.iter().filter(|controller| !self.cgroups.has(**controller));
        let words = missing.map(|controller| match controller {
            Controller::Processes => "processes (each user of a sandbox is limited, but not root)",
            Controller::Memory => "memory (each process is limited)",
            Controller::Processor => "processor",
        });
        words.collect()
    }

    /// The control group for one sandbox.
    ///
    /// # Errors
    /// Errors of the file system of control groups.
    pub(crate) fn group(&self, id: &str) -> std::io::Result<Cgroup> {
        self.cgroups.make(id)
    }

    /// The limits that a sandbox's init must set for itself, because there is no control group for them.
    pub(crate) fn setup(&self) -> Setup {
        Setup {
            file_bytes: self.disk,
            processes: (!self.cgroups.has(Controller::Processes)).then_some(self.processes),
            data_bytes: (!self.cgroups.has(Controller::Memory)).then_some(self.memory),
            ..Setup::default()
        }
    }
}
