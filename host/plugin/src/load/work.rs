//! Work on a stranger's plugin in a process of its own, so that it cannot use up the broker's time or memory.
//!
//! Owns both ends: in the broker, which waits and puts the result into words, and in the process, which sets its own limits
//! before it reads. Deliberately knows no plugin: bytes go in, and bytes come out.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use sandbox_stdx::words::clean;

/// The hidden subcommand that does the work.
pub const SUBCOMMAND: &str = "plugin-work";

/// This very program, even after an upgrade has replaced its file.
const PROGRAM: &str = "/proc/self/exe";

/// Bytes that a process may answer: the code of the largest plugin.
const ANSWER_BYTES: u64 = 512 << 20;

/// Bytes of an error message that are kept.
const COMPLAINT_BYTES: u64 = 4096;

/// Arenas of the process's heap. By default there are eight for each core, and each takes a part of the address space, which
/// is bounded.
const ARENAS: &str = "2";

/// Stack of a check. A thread of the broker has twice as much, so a schema that passes here cannot overflow the stack
/// there.
const CHECK_STACK: usize = 1 << 20;

/// Stack of a compilation, which happens only here.
const COMPILE_STACK: usize = 8 << 20;

/// The kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// Compiles a component.
    Compile,
    /// Checks settings against a plugin's schema.
    Check,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Work::Compile => "compile",
            Work::Check => "check",
        }
    }
}

/// The limits of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct Bounds {
    /// Time of all its threads together, in seconds.
    #[arg(long)]
    pub cpu: u64,
    /// Bytes of address space.
    #[arg(long)]
    pub memory: u64,
}

/// Compiling the largest plugin known, a Python one of 22 MB, takes about 30 s of a core and 1 GiB. An unoptimised build of
/// the broker takes four times as long.
pub(super) const COMPILE: Bounds = Bounds { cpu: 300, memory: 6 << 30 };

/// A check takes less than a millisecond.
pub(super) const CHECK: Bounds = Bounds { cpu: 2, memory: 1 << 30 };

/// How many times its CPU time a process may take by the clock, because the machine may be busy.
const PATIENCE: u32 = 4;

/// Why the process gave no answer.
#[derive(Debug)]
pub(super) enum WorkFailure {
    /// The process found something wrong, in these words.
    Wrong(String),
    /// It was stopped, or crashed.
    Broken(String),
}

impl fmt::Display for WorkFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (WorkFailure::Wrong(words) | WorkFailure::Broken(words)) = self;
        f.write_str(words)
    }
}

/// Does `work` on `input` in a process. Dropping the future kills the process.
pub(super) async fn run(work: Work, bounds: Bounds, input: &[u8]) -> Result<Vec<u8>, WorkFailure> {
    let broken = |e: io::Error| WorkFailure::Broken(format!("cannot run a process of the broker for it: {e}"));
    let mut child = Command::new(PROGRAM)
        .args([SUBCOMMAND, work.name(), "--cpu", &bounds.cpu.to_string(), "--memory", &bounds.memory.to_string()])
        // The environment holds secrets, and the work needs none of it.
        .env_clear()
        .env("MALLOC_ARENA_MAX", ARENAS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C at the broker's terminal is not meant for the process.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(broken)?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let (stdout, stderr) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
    let fed = async move {
        // A process that was stopped reads no more. Its status says so.
        let _ = stdin.write_all(input).await;
    };
    let ended = async {
        let ((), answer, complaint, status) =
            tokio::join!(fed, read_all(stdout, ANSWER_BYTES), read_all(stderr, COMPLAINT_BYTES), child.wait());
        Ok::<_, io::Error>((answer?, complaint?, status?))
    };
    let deadline = Duration::from_secs(bounds.cpu) * PATIENCE;
    match timeout(deadline, ended).await {
        Err(_) => Err(WorkFailure::Broken(format!("it took more than {} s", deadline.as_secs()))),
        Ok(Err(error)) => Err(broken(error)),
        Ok(Ok((answer, _, status))) if status.success() => Ok(answer),
        Ok(Ok((_, complaint, status))) => Err(failure(bounds, status, &complaint)),
    }
}

/// Everything that comes, up to `most` bytes.
async fn read_all(from: impl AsyncRead + Unpin, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// The exit status of a process that found something wrong and printed what.
const WRONG: u8 = 3;

/// Why a process failed, from its exit status and its message.
fn failure(bounds: Bounds, status: ExitStatus, complaint: &[u8]) -> WorkFailure {
    let complaint = String::from_utf8_lossy(complaint);
    let words = clean(&complaint, COMPLAINT_BYTES as usize);
    if status.code() == Some(WRONG.into()) {
        return WorkFailure::Wrong(words);
    }
    let of_time = [Signal::XCPU, Signal::KILL].map(Signal::as_raw);
    WorkFailure::Broken(if status.signal().is_some_and(|signal| of_time.contains(&signal)) {
        format!("it took more than {} s of processor time", bounds.cpu)
    } else if words.contains("memory allocation of") {
        format!("it took more than {} MiB of memory", bounds.memory >> 20)
    } else {
        format!("it broke the process that worked on it ({status}: {words})")
    })
}

/// The process: sets its limits, reads its input, does the work and writes the answer. Returns its exit status.
pub fn main(work: Work, bounds: Bounds) -> u8 {
    let done = bound(bounds).map_err(io::Error::from).and_then(|()| {
        let mut input = Vec::new();
        io::stdin().lock().read_to_end(&mut input)?;
        Ok(input)
    });
    let stack = match work {
        Work::Compile => COMPILE_STACK,
        Work::Check => CHECK_STACK,
    };
    let thread = std::thread::Builder::new().stack_size(stack);
    let done = done.map_err(|e| e.to_string()).and_then(|input| {
        let work = move || match work {
            Work::Compile => super::native::precompile(input),
            Work::Check => sandbox_broker_config::trial(&input).map(|()| Vec::new()),
        };
        thread.spawn(work).map_err(|e| e.to_string())?.join().map_err(|_| "it panicked".to_owned())
    });
    let (status, said) = match done {
        Ok(Ok(answer)) => match io::stdout().lock().write_all(&answer) {
            Ok(()) => return 0,
            Err(error) => (1, error.to_string()),
        },
        Ok(Err(wrong)) => (WRONG, wrong),
        Err(error) => (1, error),
    };
    let _ = io::stderr().write_all(said.as_bytes());
    status
}

/// Sets the limits of this process.
fn bound(Bounds { cpu, memory }: Bounds) -> rustix::io::Result<()> {
    let at_most = |most| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::Core, at_most(0))?;
    setrlimit(Resource::As, at_most(memory))?;
    // The hard limit kills. The soft limit comes first, and its signal says why.
    setrlimit(Resource::Cpu, Rlimit { current: Some(cpu), maximum: Some(cpu + 1) })
}
