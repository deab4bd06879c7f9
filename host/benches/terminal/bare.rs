//! The bare PTY: what no server can beat.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{FLOOD, KEYS, flooding};

/// A program on a PTY of its own; ends with the value.
struct Bare {
    master: File,
    child: Child,
}

impl Bare {
    fn open(script: &str) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = File::options().read(true).write(true).open(name).unwrap();
        let child = Command::new("/bin/bash")
            .args(["-c", script])
            .stdin(Stdio::from(slave.try_clone().unwrap()))
            .stdout(Stdio::from(slave.try_clone().unwrap()))
            .stderr(Stdio::from(slave))
            .process_group(0)
            .spawn()
            .unwrap();
        Bare { master: File::from(master), child }
    }

    /// Reads until `text` comes last.
    fn until(&mut self, text: &str) {
        let mut buffer = vec![0; 64 << 10];
        let mut last = Vec::new();
        while !last.ends_with(text.as_bytes()) {
            let n = self.master.read(&mut buffer).unwrap();
            last.extend_from_slice(&buffer[..n]);
            last.drain(..last.len().saturating_sub(text.len()));
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // The group: a shell and what it runs.
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Times of one key there and back.
pub fn echo() -> Vec<Duration> {
    let mut bare = Bare::open("stty raw -echo; printf ready; exec cat");
    bare.until("ready");
    let key = |_| {
        let began = Instant::now();
        bare.master.write_all(b"x").unwrap();
        bare.master.read_exact(&mut [0]).unwrap();
        began.elapsed()
    };
    (0..KEYS + KEYS / 10).map(key).skip(KEYS / 10).collect()
}

/// Megabytes per second of plain output.
pub fn flood() -> f64 {
    let mut bare = Bare::open(&flooding());
    bare.until("good");
    bare.master.write_all(b"\n").unwrap();
    let began = Instant::now();
    bare.until("end");
    FLOOD as f64 / 1e6 / began.elapsed().as_secs_f64()
}
