//! A person at a terminal: the real program on a real PTY.
//!
//! Owns the terminal's side, which may answer queries as an emulator does.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::{DEADLINE, eventually, program};

/// What a terminal says to the query of its attributes.
pub const QUERY: &[u8] = b"\x1b[c";
pub const ANSWER: &[u8] = b"\x1b[?1;2c";

/// A program that has a terminal for itself. Its standard error goes
/// elsewhere, so that what is shown is what the session has printed.
pub struct Tty {
    child: Child,
    master: File,
    shown: Arc<Mutex<Vec<u8>>>,
    /// Queries that the terminal answered.
    answered: Arc<Mutex<usize>>,
    directory: tempfile::TempDir,
    passed: usize,
}

impl Tty {
    /// Starts `broker` with these arguments.
    pub fn start(size: (u16, u16), arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = File::options().read(true).write(true).open(name).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let said = File::create(directory.path().join("stderr")).unwrap();
        let master = File::from(master);
        set_size(&master, size);
        // Its own session with the PTY in control, so that it gets SIGWINCH.
        let child = Command::new("setsid")
            .args(["--ctty", program()])
            .args(arguments)
            .env_remove("BROKER_TOKEN")
            .envs(environment.iter().copied())
            .stdin(Stdio::from(slave.try_clone().unwrap()))
            .stdout(Stdio::from(slave))
            .stderr(said)
            .spawn()
            .unwrap();
        let (shown, answered) = (Arc::default(), Arc::default());
        let emulator = (master.try_clone().unwrap(), Arc::clone(&shown), Arc::clone(&answered));
        std::thread::spawn(move || emulate(emulator.0, &emulator.1, &emulator.2));
        Tty { child, master, shown, answered, directory, passed: 0 }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn press(&mut self, keys: impl AsRef<[u8]>) {
        self.master.write_all(keys.as_ref()).unwrap();
    }

    pub fn resize(&self, size: (u16, u16)) {
        set_size(&self.master, size);
    }

    /// Everything that it was given to show.
    pub fn shown(&self) -> Vec<u8> {
        self.shown.lock().unwrap().clone()
    }

    /// Queries that the terminal answered.
    pub fn answered(&self) -> usize {
        *self.answered.lock().unwrap()
    }

    /// Whether keys come as lines with an echo, as before.
    pub fn is_cooked(&self) -> bool {
        tcgetattr(&self.master).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Waits until `text` is shown beyond what was expected before.
    pub async fn expect(&mut self, text: &str) {
        let passed = self.passed;
        let find = async || {
            let shown = self.shown.lock().unwrap();
            let found = shown[passed..].windows(text.len()).position(|window| window == text.as_bytes());
            found.map(|at| passed + at + text.len())
        };
        let waited = tokio::time::timeout(DEADLINE, eventually(text, find)).await;
        self.passed = waited.unwrap_or_else(|_| panic!("{text:?} is not shown:\n{}", self.story()));
    }

    fn story(&self) -> String {
        format!("shown {:?}\nsaid {:?}", String::from_utf8_lossy(&self.shown()), self.said())
    }

    /// What it says about itself.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.stderr()).unwrap()
    }

    fn stderr(&self) -> PathBuf {
        self.directory.path().join("stderr")
    }

    /// Waits until it has said `text`.
    pub async fn says(&self, text: &str) {
        eventually(&format!("`{text}` on stderr"), async || self.said().contains(text).then_some(())).await;
    }

    /// Waits for the session that it tells.
    pub async fn session(&self) -> String {
        eventually("a session", async || {
            let said = self.said();
            let (_, after) = said.split_once("session ")?;
            after.get(..32).filter(|id| id.bytes().all(|b| b.is_ascii_hexdigit())).map(str::to_owned)
        })
        .await
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = std::cell::RefCell::new(&mut self.child);
        eventually("the end of the program", async || child.borrow_mut().try_wait().unwrap()).await
    }

    /// Waits for its end, and that it left the terminal as it was.
    pub async fn left(&mut self) -> i32 {
        let status = self.ended().await;
        assert!(self.is_cooked(), "the terminal is still raw:\n{}", self.story());
        status.code().unwrap_or_else(|| panic!("{status}:\n{}", self.story()))
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- terminal\n{}", self.story());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(master: &File, (cols, rows): (u16, u16)) {
    tcsetwinsize(master, Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// Shows what comes, and answers as every terminal does. Ends with the last
/// program on it.
fn emulate(mut master: File, shown: &Mutex<Vec<u8>>, answered: &Mutex<usize>) {
    let (mut buffer, mut looked) = (vec![0; 64 << 10], 0);
    while let Ok(n @ 1..) = master.read(&mut buffer) {
        let mut shown = shown.lock().unwrap();
        shown.extend_from_slice(&buffer[..n]);
        while let Some(at) = shown[looked..].windows(QUERY.len()).position(|window| window == QUERY) {
            looked += at + QUERY.len();
            *answered.lock().unwrap() += 1;
            master.write_all(ANSWER).unwrap();
        }
        looked = looked.max((shown.len() + 1).saturating_sub(QUERY.len()));
    }
}
