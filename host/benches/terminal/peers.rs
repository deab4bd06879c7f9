//! Other web terminals, started where they are installed: `PEER_TTYD` and
//! `PEER_WETTY` are programs, `PEER_TERMINADO` a Python that has the package.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use super::socket::Dialect;
use super::support::eventually;

/// A running peer; ends with the value.
pub struct Peer {
    pub name: &'static str,
    pub url: String,
    pub dialect: Dialect,
    child: Child,
}

impl Peer {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
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

/// All that can be started.
pub async fn all() -> Vec<Peer> {
    let mut peers = Vec::new();
    for (name, variable, dialect) in [
        ("ttyd", "PEER_TTYD", Dialect::Ttyd),
        ("terminado", "PEER_TERMINADO", Dialect::Terminado),
        ("wetty", "PEER_WETTY", Dialect::Wetty),
    ] {
        let Some(program) = std::env::var_os(variable).filter(|v| !v.is_empty()) else {
            eprintln!("{name}: {variable} is not set, left out");
            continue;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let mut command = Command::new(program);
        match dialect {
            Dialect::Ttyd => command.args(["--interface", "127.0.0.1", "--writable", "--port", &port, "bash", "-l"]),
            Dialect::Terminado => command.args(["-c", TERMINADO, &port]),
            _ => command.args(["--host", "127.0.0.1", "--port", &port, "--command", "bash -l"]),
        };
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(child) = child else {
            eprintln!("{name}: cannot be started, left out");
            continue;
        };
        let address = format!("127.0.0.1:{port}");
        eventually(name, async || tokio::net::TcpStream::connect(&address).await.ok()).await;
        peers.push(Peer { name, url: format!("http://{address}"), dialect, child });
    }
    peers
}
