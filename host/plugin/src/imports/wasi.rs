//! The imports `wasi:*@0.2`: what the runtimes of Python and JavaScript ask of any host. And `wasi:random@0.3`, for plugins.
//!
//! Owns that they grant nothing: no environment and no arguments, no standard input, no directory, no socket, and `exit`
//! is a trap. What is printed goes to the log, within the section's budget. Clocks and random numbers are real. Deliberately knows
//! no interface of the contract.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::component::Linker;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::p3::bindings::random::random;
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{WasiCtx, WasiView};

use super::log::LogView;
use crate::bindings::host::log::{Host as _, Level};
use crate::convert::MESSAGE_BYTES;
use crate::permissions::Permissions;
use sandbox_stdx::lock::lock;

/// Random bytes that a guest gets at once. A runtime asks for some dozens.
const RANDOM_BYTES: u64 = 64 << 10;

/// Bytes that a guest may print at once.
const PRINTED_BYTES: usize = 4 << 10;

/// How the names of these interfaces begin, and their versions.
const PACKAGES: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
const VERSIONS: &str = "0.2.";

/// The interface of WASI 0.3 for random numbers.
const RANDOM: &str = "wasi:random/random@0.3.";

/// Adds all interfaces of WASI 0.2 and the random numbers of 0.3 to what a guest may import.
pub(crate) fn link<T: WasiView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    random::add_to_linker::<T, WasiRandom>(linker, |store| store.ctx().ctx.random())?;
    wasmtime_wasi::p2::add_to_linker_async(linker)
}

/// Whether an import of this name grants nothing, because it is one of these.
pub(crate) fn grants_nothing(import: &str) -> bool {
    let version = import.split_once('@').map_or("", |(_, version)| version);
    let old = version.starts_with(VERSIONS) && PACKAGES.iter().any(|package| import.starts_with(package));
    old || import.starts_with(RANDOM)
}

/// What one Store keeps for these imports. A guest that has none, as one in Rust, costs a pointer.
#[derive(Default)]
pub(crate) struct Wasi(Option<Box<WasiCtx>>);

impl Wasi {
    /// The world that grants nothing, for a guest with these permissions.
    pub(crate) fn lend(&mut self, permissions: &Arc<Permissions>) -> &mut WasiCtx {
        self.0.get_or_insert_with(|| {
            let printed = |level| Printed(Arc::new(Mutex::new(Line::new(permissions.clone(), level))));
            // Nothing is granted that is not granted here.
            let mut wasi = WasiCtx::builder();
            wasi.max_random_size(RANDOM_BYTES).stdout(printed(Level::Info)).stderr(printed(Level::Warn));
            Box::new(wasi.build())
        })
    }
}

/// The line that is being printed to standard output or standard error.
struct Line {
    permissions: Arc<Permissions>,
    level: Level,
    /// Its first [`MESSAGE_BYTES`]; the log keeps no more.
    text: Vec<u8>,
}

impl Line {
    fn new(permissions: Arc<Permissions>, level: Level) -> Self {
        Line { permissions, level, text: Vec::new() }
    }

    fn print(&mut self, bytes: &[u8]) {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        self.add(lines.next().unwrap_or_default());
        for line in lines {
            self.log();
            self.add(line);
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = MESSAGE_BYTES - self.text.len();
        self.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn log(&mut self) {
        let text = String::from_utf8_lossy(&self.text).trim_end().to_owned();
        self.text.clear();
        if text.is_empty() {
            return;
        }
        let Permissions { provider, log_budget, .. } = &*self.permissions;
        LogView { provider, budget: log_budget }.log(self.level, text, Vec::new());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.log();
    }
}

/// Standard output or standard error: all streams of one of them print the same line.
#[derive(Clone)]
struct Printed(Arc<Mutex<Line>>);

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        lock(&self.0).print(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PRINTED_BYTES)
    }
}

#[async_trait]
impl Pollable for Printed {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Printed {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).print(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::component::ResourceTable;
    use wasmtime_wasi::cli::WasiCliView as _;
    use wasmtime_wasi::filesystem::WasiFilesystemView as _;
    use wasmtime_wasi::p2::bindings::cli::{environment, exit, stdin};
    use wasmtime_wasi::p2::bindings::filesystem::preopens;
    use wasmtime_wasi::p2::bindings::random::random;
    use wasmtime_wasi::p2::bindings::sockets::network::IpAddressFamily;
    use wasmtime_wasi::p2::bindings::sockets::{
        instance_network, ip_name_lookup, tcp_create_socket, udp_create_socket,
    };
    use wasmtime_wasi::sockets::WasiSocketsView as _;
    use wasmtime_wasi::{I32Exit, WasiCtxView};

    use super::*;

    /// A Store that lends nothing else.
    #[derive(Default)]
    struct Alone {
        wasi: Wasi,
        table: ResourceTable,
        permissions: Arc<Permissions>,
    }

    impl WasiView for Alone {
        fn ctx(&mut self) -> WasiCtxView<'_> {
            WasiCtxView { ctx: self.wasi.lend(&self.permissions), table: &mut self.table }
        }
    }

    #[tokio::test]
    async fn nothing_of_the_machine_is_there() {
        link(&mut Linker::<Alone>::new(&wasmtime::Engine::default())).unwrap();
        let mut store = Alone::default();
        assert!(store.wasi.0.is_none(), "a Store whose guest never asks keeps nothing");

        let mut cli = store.cli();
        assert!(environment::Host::get_environment(&mut cli).unwrap().is_empty());
        assert!(environment::Host::get_arguments(&mut cli).unwrap().is_empty());
        assert_eq!(environment::Host::initial_cwd(&mut cli).unwrap(), None);
        let input = stdin::Host::get_stdin(&mut cli).unwrap();
        let read = store.table.get_mut(&input).unwrap().read(1);
        assert!(matches!(read, Err(wasmtime_wasi::p2::StreamError::Closed)));

        assert!(preopens::Host::get_directories(&mut store.filesystem()).unwrap().is_empty());

        let mut sockets = store.sockets();
        for family in [IpAddressFamily::Ipv4, IpAddressFamily::Ipv6] {
            assert!(tcp_create_socket::Host::create_tcp_socket(&mut sockets, family).is_err());
            assert!(udp_create_socket::Host::create_udp_socket(&mut sockets, family).await.is_err());
        }
        for name in ["localhost", "127.0.0.1"] {
            let network = instance_network::Host::instance_network(&mut sockets).unwrap();
            assert!(ip_name_lookup::Host::resolve_addresses(&mut sockets, network, name.to_owned()).is_err());
        }
    }

    #[test]
    fn an_exit_is_a_trap_and_random_numbers_are_bounded() {
        let mut store = Alone::default();
        let left = exit::Host::exit(&mut store.cli(), Ok(())).unwrap_err();
        assert!(left.is::<I32Exit>());
        let ctx = store.ctx().ctx.random();
        assert_eq!(random::Host::get_random_bytes(ctx, RANDOM_BYTES).unwrap().len() as u64, RANDOM_BYTES);
        assert!(random::Host::get_random_bytes(ctx, RANDOM_BYTES + 1).is_err());
    }

    #[test]
    fn what_is_printed_is_lines_of_the_log_within_their_budget() {
        let permissions = Arc::new(Permissions { provider: "p".to_owned(), ..Permissions::default() });
        let mut line = Line::new(permissions.clone(), Level::Info);
        for part in [&b"one\ntw"[..], b"o", b"\n\n", &[b'x'; 3 * MESSAGE_BYTES]] {
            line.print(part);
            assert!(line.text.len() <= MESSAGE_BYTES);
        }
        assert_eq!(permissions.log_budget.lines(), 2, "an empty line is none, and the last has no end yet");
        drop(line);
        assert_eq!(permissions.log_budget.lines(), 3);
        let mut flood = Printed(Arc::new(Mutex::new(Line::new(permissions.clone(), Level::Warn))));
        OutputStream::write(&mut flood, "a\n".repeat(1000).into()).unwrap();
        assert!(!permissions.log_budget.take("p"), "nothing more is written in this second");
    }

    #[test]
    fn only_these_interfaces_grant_nothing() {
        for name in
            ["wasi:cli/environment@0.2.0", "wasi:io/poll@0.2.12", "wasi:sockets/tcp@0.2.9", "wasi:random/random@0.3.0"]
        {
            assert!(grants_nothing(name), "{name}");
        }
        for name in [
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:clocks/system-clock@0.3.0",
            "wasi:cli/run@0.20.0",
            "wasi:random/insecure@0.3.0",
            "x",
        ] {
            assert!(!grants_nothing(name), "{name}");
        }
    }
}
