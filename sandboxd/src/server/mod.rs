//! The composition root: prepares the state directory, listens, serves connections, and shuts everything down.
//!
//! Start and shutdown are one function each. Decides nothing about requests: see `dispatch`.

mod connections;
mod dispatch;
mod error;
mod route;
mod state_dir;

use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Resource;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use self::connections::accept;
use self::dispatch::Dispatcher;
pub use self::error::Error;
use self::state_dir::{LOCK, default_state_dir, prepare, set_aside_init};
use crate::activity::Activity;
use crate::announcement;
use crate::control::{self, Control};
use crate::envd;
use crate::limits::Limits;
use crate::listen::{Address, Listener};
use crate::machine;
use crate::network::{Network, Networks};
use crate::options::Options;
use crate::sandbox::MakeContext;
use crate::sandbox::registry::Registry;
use crate::sandbox::trash::Trash;
use crate::secret::Secret;
use sandboxd_gatekeeper::Gatekeeper;

/// How long answers may still be sent at shutdown, after the last sandbox has ended.
const GRACE: Duration = Duration::from_secs(1);

/// How long shutdown waits for the removal of ended sandboxes' files. The process that removes them goes on without the
/// server.
const REMOVAL_DEADLINE: Duration = Duration::from_secs(5);

/// How often the server checks that its state directory still exists.
const LOOK: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or SIGINT arrives, or until the server was idle for as long as the options say. Then ends every
/// sandbox.
///
/// A second signal during shutdown makes it return at once. The kernel kills the sandboxes' processes when this process
/// ends.
///
/// # Errors
/// [`Error`]. All errors come before the first request is served.
pub async fn run(options: Options) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    raise_open_files();
    let exit_when_idle = options.exit_when_idle;
    let server = Server::bind(options).await?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: shutting down"),
        _ = interrupt.recv() => tracing::info!("SIGINT: shutting down"),
        () = server.idle(exit_when_idle) => tracing::info!("idle: shutting down"),
        () = server.evicted() => tracing::error!(
            "the state directory was removed, and with it the files of every sandbox: shutting down"
        ),
    }
    tokio::select! {
        () = server.shutdown() => {}
        _ = terminate.recv() => tracing::warn!("second signal: not waiting"),
        _ = interrupt.recv() => tracing::warn!("second signal: not waiting"),
    }
    Ok(())
}

/// Raises the limit of open files to the maximum. Every connection and every terminal is one file.
fn raise_open_files() {
    let mut files = rustix::process::getrlimit(Resource::Nofile);
    files.current = files.maximum;
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, files) {
        tracing::warn!(%error, "cannot raise the number of open files");
    }
}

/// A running server. If it is dropped without [`Server::shutdown`], its sandboxes live until the process ends.
#[derive(Debug)]
pub struct Server {
    address: Address,
    dispatcher: Arc<Dispatcher>,
    announcement: Option<PathBuf>,
    stop_accepting: CancellationToken,
    connections: TaskTracker,
    /// Removes what ended sandboxes leave and watches the disk.
    _upkeep: [AbortOnDropHandle<()>; 2],
    /// The lock on the state directory.
    lock: OwnedFd,
    /// The file that is locked.
    locked: PathBuf,
}

impl Server {
    /// Starts a server. On return it accepts connections.
    ///
    /// # Errors
    /// [`Error`]. Nothing is left running then.
    pub async fn bind(options: Options) -> Result<Self, Error> {
        let state_dir = options.state_dir.clone().map_or_else(default_state_dir, Ok)?;
        let trash = Trash::new(state_dir.join("trash"));
        let lock = prepare(&state_dir, &trash)?;
        let limits = Limits::prepare(&options, &state_dir);
        let key_file = options.api_key_file.unwrap_or_else(|| state_dir.join("api-key"));
        let key = Secret::read_or_make(&key_file).map_err(|source| Error::ApiKey { path: key_file.clone(), source })?;
        let init = set_aside_init(options.init_program, &state_dir)?;

        let networks = Networks::choose(options.network, options.slirp4netns, options.forward_ports, &init)
            .await
            .map_err(Error::Network)?;
        let network = networks.mode;
        let shares_network = network == Network::Shared;
        let context = MakeContext {
            bwrap: options.bwrap,
            init: init.clone(),
            networks,
            sandboxes: state_dir.join("sandboxes"),
            trash: trash.clone(),
            limits,
        };
        let registry = Registry::new(context, options.max_sandboxes);
        let activity = Arc::new(Activity::new());
        let control = control::router(Arc::new(Control {
            registry: registry.clone(),
            key,
            max_timeout: options.max_timeout,
            templates: options.templates,
            fuse_templates: options.fuse_templates,
            machine: machine::describe(&state_dir),
            activity: activity.clone(),
        }));
        let dispatcher = Arc::new(Dispatcher { registry: registry.clone(), activity, control, envd: envd::router() });

        let asked = options.socket.map_or(Address::Tcp(options.listen), Address::Unix);
        let listen_error = |source| Error::Listen { address: asked.to_string(), source };
        let listener = Listener::bind(&asked).await.map_err(listen_error)?;
        let address = listener.address(&asked).map_err(listen_error)?;
        let gatekeeper = Gatekeeper::default();
        gatekeeper.watch(shares_network.then(std::process::id)).map_err(Error::Gatekeeper)?;
        let connections = TaskTracker::new();
        let stop_accepting = CancellationToken::new();
        connections.spawn(accept(
            listener,
            gatekeeper,
            dispatcher.clone(),
            connections.clone(),
            stop_accepting.clone(),
        ));
        let upkeep = [tokio::spawn(trash.keep_empty(init)), tokio::spawn(registry.clone().watch_disk())];
        if let Some(path) = &options.announce {
            announcement::announce(path, &address, shares_network)
                .map_err(|source| Error::Announce { path: path.clone(), source })?;
        }
        tracing::info!(
            %address,
            state_dir = %state_dir.display(),
            api_key_file = %key_file.display(),
            ?network,
            max_sandboxes = options.max_sandboxes,
            max_timeout_s = options.max_timeout.as_secs(),
            "listening"
        );
        Ok(Self {
            address,
            dispatcher,
            announcement: options.announce,
            stop_accepting,
            connections,
            _upkeep: upkeep.map(AbortOnDropHandle::new),
            lock,
            locked: state_dir.join(LOCK),
        })
    }

    /// The address that it listens on, with the port that the kernel chose. `None` if it listens on a Unix socket.
    pub fn addr(&self) -> Option<SocketAddr> {
        match self.address {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        }
    }

    /// The number of sandboxes that live, are being made, or are being taken down.
    pub fn sandboxes(&self) -> usize {
        *self.dispatcher.registry.count().borrow()
    }

    /// Returns when no sandbox lives and no authenticated request has come for the time `after`. Never returns for
    /// `None`.
    pub async fn idle(&self, after: Option<Duration>) {
        let Some(after) = after else {
            return std::future::pending().await;
        };
        let mut count = self.dispatcher.registry.count();
        loop {
            let due = self.dispatcher.activity.last() + after;
            if *count.borrow_and_update() > 0 {
                let _ = count.changed().await;
                // The end of the last sandbox counts as activity too: its client may want the next one.
                self.dispatcher.activity.note();
            } else if due <= tokio::time::Instant::now() {
                return;
            } else {
                tokio::select! {
                    _ = count.changed() => {}
                    () = tokio::time::sleep_until(due) => {}
                }
            }
        }
    }

    /// Returns when the state directory has been removed or replaced. From then on no sandbox can be made, and the live
    /// ones have lost their files.
    pub async fn evicted(&self) {
        use rustix::io::Errno;
        let id = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        let held = rustix::fs::fstat(&self.lock).map(id);
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            match rustix::fs::stat(&self.locked).map(id) {
                Err(Errno::NOENT | Errno::NOTDIR) => return,
                Ok(found) if held != Ok(found) => return,
                // Other errors are temporary, or say nothing about the files.
                _ => {}
            }
        }
    }

    /// Stops accepting connections, ends every sandbox, and gives running answers one more second.
    pub async fn shutdown(self) {
        let begun = tokio::time::Instant::now();
        if let Some(path) = &self.announcement {
            let _ = fs::remove_file(path);
        }
        self.dispatcher.registry.close().await;
        self.stop_accepting.cancel();
        self.connections.close();
        let _ = tokio::time::timeout(GRACE, self.connections.wait()).await;
        let _ = tokio::time::timeout(REMOVAL_DEADLINE, self.dispatcher.registry.files_removed()).await;
        tracing::info!(duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), "shut down");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_accepting.cancel();
    }
}
