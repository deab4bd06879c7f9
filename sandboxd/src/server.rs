//! The composition root: prepares the state directory, listens, serves connections, and ends everything again.
//!
//! Decides only which router a request goes to. Start and shutdown are one function each.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustix::fs::FlockOperation;
use rustix::process::Resource;
use rustix::thread::CapabilitySet;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tower::ServiceExt;

use crate::activity::Activity;
use crate::control::error::ApiError;
use crate::control::{self, Control};
use crate::envd::signature::{Operation, SignatureError};
use crate::envd::{self, FileQuery};
use crate::gatekeeper::{Gatekeeper, Peer, Question};
use crate::limits::Limits;
use crate::listen::{self, Address, Listener, Stream, Visitor, Visitors};
use crate::machine;
use crate::network::{Network, NetworkError, Networks};
use crate::options::Options;
use crate::registry::Registry;
use crate::route::{self, Destination};
use crate::sandbox::{Ground, Sandbox};
use crate::secret::Secret;
use crate::trash::Trash;

/// HTTP/2 streams of one connection: a terminal holds one for its whole life.
const MAX_STREAMS: u32 = 1024;

/// How long a connection that has shown a key may be idle or send its headers; longer than any client keeps an idle one, as E2B's proxies do.
const IDLE: Duration = Duration::from_secs(640);

/// How long answers may still be sent after the last sandbox has ended at shutdown.
const GRACE: Duration = Duration::from_secs(1);

/// How long files of ended sandboxes may take to be removed at the end. What removes them goes on by itself.
const REMOVAL_DEADLINE: Duration = Duration::from_secs(5);

/// Locked by the server that uses the state directory.
const LOCK: &str = "lock";

/// How often the server looks whether its state directory is still there.
const LOOK: Duration = Duration::from_secs(1);

/// After a failed accept, mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no home directory to keep state in.
    #[error("no place for the state directory: give --state-dir, or set XDG_STATE_HOME or HOME")]
    NoStateDir,
    /// The state directory could not be prepared.
    #[error("cannot prepare the state directory: {path}")]
    StateDir {
        /// What could not be made or opened.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another server uses the state directory.
    #[error("another server uses the state directory {0}: end it, or give another --state-dir")]
    Locked(PathBuf),
    /// The API key could not be read or made.
    #[error("cannot read or make the API key file {path}")]
    ApiKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program that becomes the init of a sandbox could not be set aside.
    #[error("cannot set aside the program for the init of sandboxes: {path}")]
    InitProgram {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Sandboxes cannot have the network that was asked for.
    #[error("sandboxes cannot have a network of their own here")]
    Network(#[source] NetworkError),
    /// The address could not be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The announcement could not be written.
    #[error("cannot announce the server in {path}")]
    Announce {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Sandboxes that share the machine's network cannot be told from its other programs.
    #[error("cannot tell the connections of sandboxes from others")]
    Gatekeeper(#[source] io::Error),
    /// The process's signals could not be watched.
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
}

/// Serves until SIGTERM or SIGINT comes, or until it was idle as long as the options say; ends every sandbox then.
///
/// A second signal while it ends returns at once; the sandboxes' processes die with this process.
///
/// # Errors
/// [`Error`], all before the first request is served.
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

/// Lets this process open as many files as it may: every connection and every terminal is one.
fn raise_open_files() {
    let mut files = rustix::process::getrlimit(Resource::Nofile);
    files.current = files.maximum;
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, files) {
        tracing::warn!(%error, "cannot raise the number of open files");
    }
}

/// A running server. Dropping it without [`Server::shutdown`] leaves its sandboxes until the process ends.
#[derive(Debug)]
pub struct Server {
    address: Address,
    shared: Arc<Shared>,
    announcement: Option<PathBuf>,
    stop_accepting: CancellationToken,
    connections: TaskTracker,
    /// Removes what ended sandboxes leave and watches the disk.
    _upkeep: [AbortOnDropHandle<()>; 2],
    /// Held as long as the state directory is used.
    lock: OwnedFd,
    /// The file that is locked.
    locked: PathBuf,
}

#[derive(Debug)]
struct Shared {
    registry: Registry,
    activity: Arc<Activity>,
    control: Router,
    envd: Router,
}

impl Server {
    /// Starts a server; when it returns, connections are accepted.
    ///
    /// # Errors
    /// [`Error`]; nothing is left running then.
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
        let ground = Ground {
            bwrap: options.bwrap,
            init: init.clone(),
            networks,
            sandboxes: state_dir.join("sandboxes"),
            trash: trash.clone(),
            limits,
        };
        let registry = Registry::new(ground, options.max_sandboxes);
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
        let shared = Arc::new(Shared { registry: registry.clone(), activity, control, envd: envd::router() });

        let asked = options.socket.map_or(Address::Tcp(options.listen), Address::Unix);
        let failed = |source| Error::Listen { address: asked.to_string(), source };
        let listener = Listener::bind(&asked).await.map_err(failed)?;
        let address = listener.address(&asked).map_err(failed)?;
        let gatekeeper = Gatekeeper::default();
        gatekeeper.watch(shares_network.then(std::process::id)).map_err(Error::Gatekeeper)?;
        let connections = TaskTracker::new();
        let stop_accepting = CancellationToken::new();
        connections.spawn(accept(listener, gatekeeper, shared.clone(), connections.clone(), stop_accepting.clone()));
        let upkeep = [tokio::spawn(trash.keep_empty(init)), tokio::spawn(registry.clone().watch_disk())];
        if let Some(path) = &options.announce {
            listen::announce(path, &address, shares_network)
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
            shared,
            announcement: options.announce,
            stop_accepting,
            connections,
            _upkeep: upkeep.map(AbortOnDropHandle::new),
            lock,
            locked: state_dir.join(LOCK),
        })
    }

    /// The address that it listens on, with the real port; none where it listens on a Unix socket.
    pub fn addr(&self) -> Option<SocketAddr> {
        match self.address {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        }
    }

    /// How many sandboxes live, are being made, or are being taken down.
    pub fn sandboxes(&self) -> usize {
        *self.shared.registry.count().borrow()
    }

    /// Returns when no sandbox lives and no authenticated request came for so long; never for `None`.
    pub async fn idle(&self, after: Option<Duration>) {
        let Some(after) = after else {
            return std::future::pending().await;
        };
        let mut count = self.shared.registry.count();
        loop {
            let due = self.shared.activity.last() + after;
            if *count.borrow_and_update() > 0 {
                let _ = count.changed().await;
                // The end of the last sandbox is activity too: its client may want the next.
                self.shared.activity.note();
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

    /// Returns when the state directory is no longer where it was: no sandbox can be made then, and those that live have
    /// lost their files.
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
                // Another error passes, or says nothing of the files.
                _ => {}
            }
        }
    }

    /// Stops accepting, ends every sandbox, lets answers under way finish for at most a second.
    pub async fn shutdown(self) {
        let begun = tokio::time::Instant::now();
        if let Some(path) = &self.announcement {
            let _ = fs::remove_file(path);
        }
        self.shared.registry.close().await;
        self.stop_accepting.cancel();
        self.connections.close();
        let _ = tokio::time::timeout(GRACE, self.connections.wait()).await;
        let _ = tokio::time::timeout(REMOVAL_DEADLINE, self.shared.registry.files_removed()).await;
        tracing::info!(duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), "shut down");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_accepting.cancel();
    }
}

fn default_state_dir() -> Result<PathBuf, Error> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/sandboxd"));
    }
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    Ok(base.ok_or(Error::NoStateDir)?.join("sandboxd"))
}

/// Makes the directories, takes the lock, and throws away what a server before this one left behind.
fn prepare(state_dir: &Path, trash: &Trash) -> Result<OwnedFd, Error> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::StateDir { path, source }
    };
    let private = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail(path));
    private(state_dir)?;
    let path = state_dir.join(LOCK);
    let lock =
        fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(fail(&path))?;
    let lock = OwnedFd::from(lock);
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Locked(state_dir.to_owned())),
        result => result.map_err(|errno| fail(&path)(errno.into()))?,
    }
    private(&state_dir.join("trash"))?;
    let sandboxes = state_dir.join("sandboxes");
    private(&sandboxes)?;
    for entry in fs::read_dir(&sandboxes).map_err(fail(&sandboxes))?.flatten() {
        trash.throw(&entry.path());
    }
    Ok(lock)
}

/// Keeps the program for the init reachable when the file it came from is replaced: a sandbox made after an upgrade must
/// get the init that this server speaks with. A hard link, or a copy across file systems.
fn set_aside_init(program: Option<PathBuf>, state_dir: &Path) -> Result<PathBuf, Error> {
    // An upgrade may have put another program in the place of this one, which still runs.
    const SELF: &str = "/proc/self/exe";
    let own = || std::env::current_exe().and_then(fs::canonicalize).unwrap_or_else(|_| SELF.into());
    let named = program.clone().unwrap_or_else(|| SELF.into());
    let fail = |source| Error::InitProgram { path: named.clone(), source };
    let from = program.map_or_else(|| Ok(own()), fs::canonicalize).map_err(fail)?;
    let aside = state_dir.join("init");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    if fs::hard_link(&from, &aside).is_err() {
        fs::copy(&from, &aside).map_err(fail)?;
    }
    fs::canonicalize(&aside).map_err(fail)
}

async fn accept(
    listener: Listener,
    gatekeeper: Gatekeeper,
    shared: Arc<Shared>,
    connections: TaskTracker,
    stop: CancellationToken,
) {
    let visitors = Visitors::new();
    let own = matches!(listener, Listener::Unix(_));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(Some(mut stream)) => {
                let question = match &stream {
                    Stream::Left(tcp) => {
                        // It has gone already.
                        let (Ok(peer), Ok(here)) = (tcp.peer_addr(), tcp.local_addr()) else { continue };
                        Some(gatekeeper.ask(peer, here).await)
                    }
                    // Who may connect to it is known.
                    Stream::Right(_) => None,
                };
                let (gatekeeper, visitors, shared, stop) =
                    (gatekeeper.clone(), visitors.clone(), shared.clone(), stop.clone());
                connections.spawn(async move {
                    if let Some(question) = question
                        && !admits(&gatekeeper, question, &mut stream).await
                    {
                        return;
                    }
                    let visitor = visitors.enter(own);
                    serve(stream, visitor.clone(), shared, stop).await;
                    visitor.leave();
                });
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether a connection is one to serve; else it was told why not.
async fn admits(gatekeeper: &Gatekeeper, question: Question, stream: &mut Stream) -> bool {
    // There is no question of another.
    let Stream::Left(tcp) = &*stream else { return true };
    match question.answer(tcp).await {
        Peer::Outside => true,
        // It has to show a key or a token, which no sandbox has. Who may look at every process has no client that it cannot see.
        Peer::Hidden if !may_look_at_all() => true,
        Peer::Hidden | Peer::Sandbox => {
            gatekeeper.refuse(stream).await;
            false
        }
    }
}

fn may_look_at_all() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_PTRACE))
}

async fn serve(stream: Stream, visitor: Visitor, shared: Arc<Shared>, stop: CancellationToken) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS).keep_alive_interval(Some(GRACE * 30));
    let service = hyper::service::service_fn({
        let visitor = visitor.clone();
        move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(visitor.clone());
            let shared = shared.clone();
            async move { Ok::<_, Infallible>(shared.answer(request).await) }
        }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = visitor.overstayed() => return,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}

/// What a proxy answers when it cannot reach a sandbox; clients look for these words.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Unreachable<'a> {
    sandbox_id: &'a str,
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    code: u16,
}

impl Unreachable<'_> {
    fn answer(&self) -> Response {
        (StatusCode::BAD_GATEWAY, axum::Json(self)).into_response()
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response {
        let (parts, body) = request.into_parts();
        let destination = route::destination(&parts);
        let mut request = Request::from_parts(parts, Body::new(body));
        match destination {
            Destination::Invalid(message) => ApiError::bad_request(message).into_response(),
            Destination::Control => match self.by_signature(&request) {
                Some(Ok(sandbox)) => {
                    listen::introduce(request.extensions());
                    request.extensions_mut().insert(sandbox);
                    call(&self.envd, request).await
                }
                Some(Err(error)) => ApiError::new(StatusCode::UNAUTHORIZED, error.to_string()).into_response(),
                None => call(&self.control, request).await,
            },
            Destination::Sandbox { id, port } => {
                let Some(sandbox) = self.registry.get(&id) else {
                    let message = "The sandbox was not found";
                    return Unreachable { sandbox_id: &id, message, port: None, code: 502 }.answer();
                };
                if port != envd::PORT {
                    // Nothing leads into a sandbox's network, and in a shared one its ports cannot be told from the host's.
                    let message = "The sandbox is running but port is not open";
                    return Unreachable { sandbox_id: &id, message, port: Some(port), code: 502 }.answer();
                }
                request.extensions_mut().insert(sandbox);
                call(&self.envd, request).await
            }
        }
    }

    /// A signed URL for file contents names no sandbox; the signature fits the token of one only. `None` if the request
    /// is no such URL.
    fn by_signature(&self, request: &Request<Body>) -> Option<Result<Arc<Sandbox>, SignatureError>> {
        if request.uri().path() != "/files" {
            return None;
        }
        let operation = if request.method() == http::Method::POST { Operation::Write } else { Operation::Read };
        let query = Query::<FileQuery>::try_from_uri(request.uri()).ok()?;
        query.signature.as_ref()?;
        let mut worst = SignatureError::Invalid;
        for sandbox in self.registry.all() {
            match query.check(operation, &sandbox.token) {
                Ok(()) => return Some(Ok(sandbox)),
                Err(SignatureError::Expired) => worst = SignatureError::Expired,
                Err(SignatureError::Invalid) => {}
            }
        }
        Some(Err(worst))
    }
}

async fn call(router: &Router, request: Request<Body>) -> Response {
    match router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
