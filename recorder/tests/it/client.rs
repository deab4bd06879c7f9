//! A broker's end of a recorder, and what tests look at from outside.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use sandbox_recorder::wire::{Decoder, Hello, Size, ToBroker, ToRecorder};

/// What should come at once comes within this, or the test has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What a condition without an event is looked at again after.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// [`ToBroker`], owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Hello(Hello),
    Output(u64, Vec<u8>),
    Gap(u64, u64),
    Taken(u64),
    Exit { code: i32, signal: u32, end: u64 },
    Screen(u64, Size, String),
    Size(u64, Size),
    Title(String),
    Directory(String),
    Refused(String),
}

impl From<ToBroker<'_>> for Frame {
    fn from(frame: ToBroker<'_>) -> Self {
        match frame {
            ToBroker::Hello(hello) => Self::Hello(hello),
            ToBroker::Output { offset, bytes } => Self::Output(offset, bytes.to_vec()),
            ToBroker::Gap { from, to } => Self::Gap(from, to),
            ToBroker::Taken { input } => Self::Taken(input),
            ToBroker::Exit { code, signal, end } => Self::Exit { code, signal, end },
            ToBroker::Screen { offset, size, text } => Self::Screen(offset, size, text.to_owned()),
            ToBroker::Size { offset, size } => Self::Size(offset, size),
            ToBroker::Title { text } => Self::Title(text.to_owned()),
            ToBroker::Directory { path } => Self::Directory(path.to_owned()),
            ToBroker::Refused { reason } => Self::Refused(reason.to_owned()),
        }
    }
}

fn program() -> PathBuf {
    std::env::var_os("BROKER_RECORDER").map_or_else(|| env!("CARGO_BIN_EXE_sandbox-recorder").into(), PathBuf::from)
}

/// A folder for one recording. Dropped, it ends every process of it.
pub(crate) struct Recording {
    temporary: tempfile::TempDir,
    /// Options of each `attach` and `run`.
    pub(crate) options: Vec<String>,
}

impl Drop for Recording {
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Recording {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Self { temporary: tempfile::tempdir().unwrap(), options }
    }

    /// The recording's folder, which the recorder makes.
    pub(crate) fn dir(&self) -> PathBuf {
        // Longer than the address of a socket may be.
        self.path(&"long".repeat(30)).join("recording")
    }

    /// A file beside it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    /// A file beside it with this content.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program());
        command.arg(name).arg("--dir").arg(self.dir()).current_dir(self.temporary.path());
        command
    }

    /// `run` with a script of `sh` on 80 columns and 24 rows.
    pub(crate) fn run(&self, script: &str) -> Client {
        let mut command = self.command("run");
        command.args(["--cols", "80", "--rows", "24"]).args(&self.options).args(["--", "sh", "-c", script]);
        Client::start(command)
    }

    /// The same, left at once: nobody is attached.
    pub(crate) fn run_alone(&self, script: &str) {
        let mut client = self.run(script);
        client.hello();
        assert_eq!(client.leave(), Some(0));
    }

    pub(crate) fn attach(&self, since: u64) -> Client {
        self.attach_with(&["--since", &since.to_string()])
    }

    pub(crate) fn attach_with(&self, options: &[&str]) -> Client {
        let patience = self.options.windows(2).find(|pair| pair[0] == "--patience");
        let mut command = self.command("attach");
        command.args(options).args(patience.into_iter().flatten());
        Client::start(command)
    }

    /// Runs one of the commands that look at what is held.
    pub(crate) fn look(&self, name: &str, options: &[&str]) -> Output {
        self.command(name).args(options).output().unwrap()
    }

    /// The same, as frames.
    pub(crate) fn frames(&self, name: &str, options: &[&str]) -> Vec<Frame> {
        let output = self.look(name, options);
        let (mut decoder, mut bytes, mut frames) = (Decoder::default(), &output.stdout[..], Vec::new());
        while let Some(frame) = decoder.next::<ToBroker<'_>>(&mut bytes).unwrap() {
            frames.push(frame.into());
        }
        frames
    }

    /// Begins one of them, whose answer nobody reads.
    pub(crate) fn begin(&self, name: &str) -> Child {
        self.command(name).stdout(Stdio::null()).spawn().unwrap()
    }

    /// The end of the output, from the ring's first page.
    pub(crate) fn end(&self) -> u64 {
        let mut page = [0; 32];
        fs::File::open(self.dir().join("ring")).unwrap().read_exact(&mut page).unwrap();
        u64::from_ne_bytes(page[24..].try_into().unwrap())
    }

    /// Processes with the folder's path among their arguments.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let needle = self.temporary.path().to_str().unwrap().to_owned();
        let names = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names
            .filter_map(|name| name.parse().ok())
            .filter(|pid: &i32| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).contains(&needle)
            })
            .filter_map(Pid::from_raw)
            .collect()
    }
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "{what} did not come to be");
        poll(&mut [], Some(&LOOK)).unwrap();
    }
}

/// Bytes of a process that are in memory.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The parent of a process.
pub(crate) fn parent(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// One attachment.
pub(crate) struct Client {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    decoder: Decoder,
    bytes: Vec<u8>,
    used: usize,
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process inherits every pipe that is open at the fork of another thread, until it
/// becomes its program: ends of pipes that must be seen are made one at a time.
static FORK: Mutex<()> = Mutex::new(());

impl Client {
    fn start(mut command: Command) -> Self {
        let _alone = FORK.lock().unwrap();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        rustix::io::ioctl_fionbio(stdin.as_ref().unwrap(), true).unwrap();
        Self { child, stdin, decoder: Decoder::default(), bytes: Vec::new(), used: 0 }
    }

    /// The next frame, or nothing at the end.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        loop {
            let mut rest = &self.bytes[self.used..];
            let frame = self.decoder.next::<ToBroker<'_>>(&mut rest).unwrap().map(Frame::from);
            self.used = self.bytes.len() - rest.len();
            if frame.is_some() {
                return frame;
            }
            let stdout = self.child.stdout.as_mut().unwrap();
            let mut fds = [PollFd::new(stdout, PollFlags::IN)];
            let timeout = Timespec { tv_sec: DEADLINE.as_secs() as i64, tv_nsec: 0 };
            assert_eq!(poll(&mut fds, Some(&timeout)).unwrap(), 1, "no frame came");
            self.bytes.resize(64 * 1024, 0);
            let count = stdout.read(&mut self.bytes).unwrap();
            self.bytes.truncate(count);
            self.used = 0;
            if count == 0 {
                return None;
            }
        }
    }

    pub(crate) fn hello(&mut self) -> Hello {
        match self.next() {
            Some(Frame::Hello(hello)) => hello,
            other => panic!("{other:?} came in the place of HELLO; {}", self.complaint()),
        }
    }

    /// Sends a frame; waits for room in the pipe.
    pub(crate) fn send(&mut self, frame: ToRecorder<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.write(&bytes);
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        while !bytes.is_empty() {
            match stdin.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::OUT)];
                    let timeout = Timespec { tv_sec: DEADLINE.as_secs() as i64, tv_nsec: 0 };
                    assert_eq!(poll(&mut fds, Some(&timeout)).unwrap(), 1, "the recorder does not read");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Reads until the output contains this, from an offset that is told.
    pub(crate) fn expect(&mut self, needle: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.next() {
                Some(Frame::Output(offset, bytes)) => {
                    seen.extend_from_slice(&bytes);
                    self.send(ToRecorder::Ack { offset: offset + bytes.len() as u64 });
                    if String::from_utf8_lossy(&seen).contains(needle) {
                        return String::from_utf8_lossy(&seen).into_owned();
                    }
                }
                Some(Frame::Taken(_) | Frame::Size(..) | Frame::Title(_) | Frame::Directory(_)) => {}
                other => panic!("{other:?} came in the place of {needle:?} after {:?}", String::from_utf8_lossy(&seen)),
            }
        }
    }

    /// Reads and acknowledges to the exit: all output and how it ended.
    pub(crate) fn until_exit(&mut self) -> (Vec<u8>, Frame) {
        let mut output = Vec::new();
        loop {
            match self.next() {
                Some(Frame::Output(offset, bytes)) => {
                    output.extend_from_slice(&bytes);
                    self.send(ToRecorder::Ack { offset: offset + bytes.len() as u64 });
                }
                Some(Frame::Taken(_) | Frame::Size(..) | Frame::Title(_) | Frame::Directory(_)) => {}
                Some(exit @ Frame::Exit { .. }) => return (output, exit),
                other => panic!("{other:?} came in the place of output or EXIT"),
            }
        }
    }

    /// Closes its input: the exit status of the process.
    pub(crate) fn leave(&mut self) -> Option<i32> {
        self.stdin = None;
        self.child.wait().unwrap().code()
    }

    /// The exit status of a process that ends by itself.
    pub(crate) fn status(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// What it said on its standard error, after its end.
    pub(crate) fn complaint(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.as_mut().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Random numbers from a seed, the same on each run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

/// A script that writes a file through a terminal that changes nothing, then says so
/// by another file.
pub(crate) fn flood(file: &Path, done: &Path) -> String {
    format!("stty raw -echo; cat '{}'; : >'{}'", file.display(), done.display())
}
