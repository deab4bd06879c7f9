//! The bare PTY: what no server can beat.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::percentile;

/// A program on a PTY of its own, and the master side.
fn open(script: &str) -> (std::fs::File, std::process::Child) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = std::fs::File::options().read(true).write(true).open(name).unwrap();
    let child = Command::new("/bin/sh")
        .args(["-c", script])
        .stdin(Stdio::from(slave.try_clone().unwrap()))
        .stdout(Stdio::from(slave.try_clone().unwrap()))
        .stderr(Stdio::from(slave))
        .process_group(0)
        .spawn()
        .unwrap();
    (std::fs::File::from(master), child)
}

pub fn echo(keys: usize) -> (f64, f64) {
    let (mut master, mut child) = open("stty raw -echo; printf ready; exec cat");
    let mut buffer = [0; 4096];
    let mut seen = Vec::new();
    while !seen.ends_with(b"ready") {
        let n = master.read(&mut buffer).unwrap();
        seen.extend_from_slice(&buffer[..n]);
    }
    let mut times = Vec::new();
    for n in 0..keys + keys / 10 {
        let began = Instant::now();
        master.write_all(b"x").unwrap();
        assert_eq!(master.read(&mut buffer).unwrap(), 1);
        if n >= keys / 10 {
            times.push(began.elapsed());
        }
    }
    times.sort();
    child.kill().unwrap();
    child.wait().unwrap();
    (percentile(&times, 50), percentile(&times, 99))
}

pub fn flood(bytes: usize) -> f64 {
    let (mut master, mut child) = open(&format!("stty raw -echo; head -c {bytes} /dev/zero; sleep 1000"));
    let mut buffer = vec![0; 64 << 10];
    let mut got = 0;
    let began = Instant::now();
    while got < bytes {
        got += master.read(&mut buffer).unwrap();
    }
    let rate = bytes as f64 / 1e6 / began.elapsed().as_secs_f64();
    child.kill().unwrap();
    child.wait().unwrap();
    rate
}
