//! Other web terminals, started where they are installed: each variable names a
//! program, `PEER_TERMINADO` a Python that has the package.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use super::socket::Dialect;
use super::support::eventually;

/// A server to compare with, and how it is found.
pub struct Peer {
    pub name: &'static str,
    variable: &'static str,
    pub dialect: Dialect,
}

pub const PEERS: [Peer; 4] = [
    Peer { name: "ttyd", variable: "PEER_TTYD", dialect: Dialect::Ttyd },
    Peer { name: "tty-web", variable: "PEER_TTY_WEB", dialect: Dialect::TtyWeb },
    Peer { name: "terminado", variable: "PEER_TERMINADO", dialect: Dialect::Terminado },
    Peer { name: "wetty", variable: "PEER_WETTY", dialect: Dialect::Wetty },
];

/// A running peer; ends with the value, its shells with it.
pub struct Running {
    pub url: String,
    child: Child,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const TERMINADO: &str = "
import sys, tornado.ioloop, tornado.web, terminado
manager = terminado.UniqueTermManager(shell_command=['bash', '-l'])
app = tornado.web.Application([(r'/websocket', terminado.TermSocket, {'term_manager': manager})])
app.listen(int(sys.argv[1]), '127.0.0.1')
tornado.ioloop.IOLoop.current().start()
";

impl Peer {
    /// Starts it on a free port; none when it is not installed.
    pub async fn start(&self) -> Option<Running> {
        let Peer { name, variable, dialect } = self;
        let Some(program) = std::env::var_os(variable).filter(|v| !v.is_empty()) else {
            eprintln!("{name}: {variable} is not set, left out");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let mut command = Command::new(program);
        match dialect {
            Dialect::Ttyd => command.args(["--interface", "127.0.0.1", "--writable", "--port", &port, "bash", "-l"]),
            Dialect::TtyWeb => command.args(["--address", "127.0.0.1", "--log-level", "error", "--port", &port]),
            Dialect::Terminado => command.args(["-c", TERMINADO, &port]),
            _ => command.args(["--host", "127.0.0.1", "--port", &port, "--command", "bash -l"]),
        };
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.inspect_err(|error| eprintln!("{name}: cannot be started: {error}; left out")).ok()?;
        let address = format!("127.0.0.1:{port}");
        let running = Running { url: format!("http://{address}"), child };
        eventually(name, async || tokio::net::TcpStream::connect(&address).await.ok()).await;
        Some(running)
    }
}
