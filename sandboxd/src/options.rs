//! What a server is started with, as command line arguments and as a plain struct. Does nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::network::Network;

/// Address to listen on when none is given: the loopback, on the port that the documentation of clients names.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 49000);

/// Live sandboxes when no bound is given: 50 idle ones take some 200 MB, and 4 MB more each where they have networks of
/// their own.
pub const DEFAULT_MAX_SANDBOXES: usize = 50;

/// Longest lease that a request may ask for when none is given: 24 hours, E2B's own largest.
pub const DEFAULT_MAX_TIMEOUT: Duration = Duration::from_hours(24);

/// Processes and threads of one sandbox when no bound is given: several language servers and a browser fit.
pub const DEFAULT_MAX_PROCESSES: u64 = 2048;

/// MiB of the disk for one sandbox when no bound is given: E2B's own.
pub const DEFAULT_MAX_DISK_MIB: u64 = 10_240;

/// MiB of memory for one sandbox when no bound is given, at most; on a small machine it is half of the machine's.
pub const DEFAULT_MAX_MEMORY_MIB: u64 = 4096;

/// Options of a sandbox server. [`Default`] gives the values of the command line's defaults.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value_t = DEFAULT_LISTEN)]
    pub listen: SocketAddr,

    /// Unix socket to listen on instead of an address. Only root and the server's own user may connect.
    #[arg(long, value_name = "PATH", conflicts_with = "listen")]
    pub socket: Option<PathBuf>,

    /// Directory for the sandboxes' files, the API key and the lock; one server each. By default /var/lib/sandboxd for root,
    /// else sandboxd in the user's state directory.
    #[arg(long, value_name = "DIRECTORY")]
    pub state_dir: Option<PathBuf>,

    /// File with the API key; made with a random key, readable by its owner only, if it does not exist. By default `api-key`
    /// in the state directory.
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// File to write `{"url":…,"pid":…,"build":…,"shares_network":…}` to once the server listens, with `socket` where it has
    /// one.
    #[arg(long, value_name = "FILE")]
    pub announce: Option<PathBuf>,

    /// End the server when no sandbox lives and no authenticated request came for so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub exit_when_idle: Option<Duration>,

    /// Largest number of live sandboxes.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_SANDBOXES)]
    pub max_sandboxes: usize,

    /// Longest lease of a sandbox in seconds.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, default_value = "86400")]
    pub max_timeout: Duration,

    /// Most processes and threads of one sandbox.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_PROCESSES, value_parser = clap::value_parser!(u64).range(16..))]
    pub max_processes: u64,

    /// Most memory of one sandbox in MiB. By default 4096, or half of the machine's if that is less.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(64..))]
    pub max_memory: Option<u64>,

    /// Most disk space of one sandbox in MiB; one that takes more is ended.
    #[arg(long, value_name = "MIB", default_value_t = DEFAULT_MAX_DISK_MIB, value_parser = clap::value_parser!(u64).range(16..))]
    pub max_disk: u64,

    /// Further template names to accept beside `base`. Each gives the same sandbox: the system of this machine.
    #[arg(long = "template", value_name = "NAME")]
    pub templates: Vec<String>,

    /// Further template names whose sandboxes get /dev/fuse and may mount file systems inside. They are isolated less: see
    /// the README.
    #[arg(long = "fuse-template", value_name = "NAME")]
    pub fuse_templates: Vec<String>,

    /// What network sandboxes have. By default one of their own where this machine can give it, else the machine's.
    #[arg(long, value_enum, value_name = "KIND")]
    pub network: Option<Network>,

    /// Port of this machine's loopback that a sandbox with a network of its own finds on its loopback: a service that it
    /// needs. TCP only; may be given several times.
    #[arg(long = "forward-port", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub forward_ports: Vec<u16>,

    /// The slirp4netns program, which carries connections out of a sandbox's own network.
    #[arg(long, value_name = "PROGRAM", default_value = "slirp4netns")]
    pub slirp4netns: PathBuf,

    /// The bubblewrap program.
    #[arg(long, value_name = "PROGRAM", default_value = "bwrap")]
    pub bwrap: PathBuf,

    /// Program that becomes the init of a sandbox; it must route [`crate::init::ARGUMENT`] to [`crate::init::main`]. By
    /// default the running program itself.
    #[arg(long, value_name = "PROGRAM", hide = true)]
    pub init_program: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN,
            socket: None,
            state_dir: None,
            api_key_file: None,
            announce: None,
            exit_when_idle: None,
            max_sandboxes: DEFAULT_MAX_SANDBOXES,
            max_timeout: DEFAULT_MAX_TIMEOUT,
            max_processes: DEFAULT_MAX_PROCESSES,
            max_memory: None,
            max_disk: DEFAULT_MAX_DISK_MIB,
            templates: Vec::new(),
            fuse_templates: Vec::new(),
            network: None,
            forward_ports: Vec::new(),
            slirp4netns: PathBuf::from("slirp4netns"),
            bwrap: PathBuf::from("bwrap"),
            init_program: None,
        }
    }
}

fn parse_seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}
