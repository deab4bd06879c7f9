//! The loop of the first process in a sandbox: takes the server's messages, reaps processes, and answers.
//!
//! Owns the socket to the server and the list of children. Others do what a message asks for.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::chore::Chore;
use crate::invocation::{OOM_SCORE_ADJUSTMENT, OWN_NETWORK, Setup};
use crate::wire::{
    self, ExitStatus, Failure, FailureKind, FromInit, Inbox, ProcessSignal, Reply, ToInit, WireError, into_errno,
};
use crate::{closing, files, harden, network, spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions};
use sandbox_stdx::lock::lock;

/// Runs the init until the server goes away, or runs a chore of the server. Never returns.
pub fn main() -> ! {
    if let Some(chore) = Chore::from_arguments(std::env::args_os().skip(2)) {
        std::process::exit(i32::from(!chore.run()));
    }
    let code = match run() {
        Ok(()) | Err(WireError::Closed) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    };
    std::process::exit(i32::from(code == ExitCode::FAILURE))
}

fn run() -> Result<(), WireError> {
    if std::env::args_os().nth(2).is_some_and(|kind| kind == OWN_NETWORK) {
        return network::enter(std::env::args_os().skip(3)).map_err(|error| {
            // The server reads this, as it reads the errors of `bwrap`.
            eprintln!("{error}");
            into_errno(error).into()
        });
    }
    let argument = std::env::args().nth(2).unwrap_or_default();
    let setup: Setup = serde_json::from_str(&argument).map_err(|_| WireError::from(Errno::INVAL))?;
    if let Err(error) = harden::all(&setup) {
        // The server reads this, as it reads the errors of `bwrap`.
        eprintln!("{error}");
        return Err(into_errno(error.error).into());
    }
    // Keeps processes of the same user out of the init's memory and away from its socket.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJUSTMENT);
    rustix::process::umask(Mode::from_raw_mode(0o022));

    close_inherited()?;
    let signals = signal_descriptor()?;
    let socket = take_socket()?;
    let outbox = Outbox { socket: Arc::new(Mutex::new(socket.try_clone().map_err(into_errno)?)) };
    let me = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    outbox.send(&FromInit::Hello { version: wire::VERSION }, &[me.as_fd()])?;
    drop(me);

    let mut init = Init { outbox, children: HashSet::new() };
    let mut inbox = Inbox::default();
    loop {
        let mut ready = [PollFd::new(&socket, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        match poll(&mut ready, None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        let [from_server, from_kernel] = ready.map(|descriptor| !descriptor.revents().is_empty());
        if from_kernel {
            while matches!(signals.read_signal(), Ok(Some(_))) {}
            init.reap()?;
        }
        if from_server {
            inbox.receive(&socket)?;
            while let Some((message, mut descriptors)) = inbox.next_message()? {
                init.handle(message, descriptors.pop())?;
            }
        }
    }
}

/// Closes the descriptors that the server itself inherited. A descriptor of the host would be a way out of the sandbox.
fn close_inherited() -> Result<(), Errno> {
    let open = std::fs::read_dir("/proc/self/fd").map_err(into_errno)?;
    let open: Vec<i32> = open
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2)
        .collect();
    for descriptor in open {
        // The descriptor that the directory was read with is already closed.
        if std::fs::symlink_metadata(format!("/proc/self/fd/{descriptor}")).is_ok() {
            // SAFETY: it is open, and this process, which has opened none that it keeps yet, does not use it.
            unsafe { rustix::io::close(descriptor) };
        }
    }
    Ok(())
}

fn signal_descriptor() -> Result<SignalFd, Errno> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().map_err(|errno| Errno::from_raw_os_error(errno as i32))?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// Moves the socket away from descriptor 0 and releases the server's standard output and error.
fn take_socket() -> Result<OwnedFd, Errno> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned().map_err(into_errno)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(socket)
}

struct Init {
    outbox: Outbox,
    children: HashSet<u32>,
}

impl Init {
    fn handle(&mut self, message: ToInit, beside: Option<OwnedFd>) -> Result<(), WireError> {
        match message {
            ToInit::Spawn { id, spawn } => match spawn::spawn(&spawn) {
                Ok((pid, descriptors)) => {
                    self.children.insert(pid);
                    let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
                    self.outbox.send(&FromInit::Reply { id, result: Ok(Reply::Spawned { pid }) }, &descriptors)
                }
                Err(failure) => self.outbox.send(&FromInit::Reply { id, result: Err(failure) }, &[]),
            },
            ToInit::Signal { pid, signal } => {
                // A child keeps its pid until it is reaped, so this cannot hit another process.
                if self.children.contains(&pid)
                    && let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw)
                {
                    let signal = match signal {
                        ProcessSignal::Kill => rustix::process::Signal::KILL,
                        ProcessSignal::Terminate => rustix::process::Signal::TERM,
                    };
                    let _ = rustix::process::kill_process(pid, signal);
                }
                Ok(())
            }
            ToInit::File { id, user, op } => self.answer_later(id, move || files::perform(&user, op, beside)),
            ToInit::Close { id, within_ms } => self.answer_later(id, move || {
                closing::close(Duration::from_millis(within_ms)).map(|()| (Reply::Done, None))
            }),
        }
    }

    /// Does the work in a thread of its own. A file system in user space may block for ever, and the work may change
    /// the user of its thread. The server limits the number of such threads.
    fn answer_later(
        &self,
        id: u64,
        work: impl FnOnce() -> Result<(Reply, Option<OwnedFd>), Failure> + Send + 'static,
    ) -> Result<(), WireError> {
        let outbox = self.outbox.clone();
        let work = move || {
            let (result, descriptor) = match work() {
                Ok((reply, descriptor)) => (Ok(reply), descriptor),
                Err(failure) => (Err(failure), None),
            };
            let descriptors: Vec<BorrowedFd<'_>> = descriptor.iter().map(AsFd::as_fd).collect();
            if let Err(WireError::TooLarge(size)) = outbox.send(&FromInit::Reply { id, result }, &descriptors) {
                let failure = Failure {
                    kind: FailureKind::ResourceExhausted,
                    message: format!("the answer of {size} bytes is too large"),
                };
                let _ = outbox.send(&FromInit::Reply { id, result: Err(failure) }, &[]);
            }
        };
        if let Err(error) = std::thread::Builder::new().spawn(work) {
            let failure = Failure {
                kind: FailureKind::ResourceExhausted,
                message: format!("no thread for the request: {error}"),
            };
            return self.outbox.send(&FromInit::Reply { id, result: Err(failure) }, &[]);
        }
        Ok(())
    }

    /// Reaps every ended process: own children, and orphans, which become children of process 1.
    fn reap(&mut self) -> Result<(), WireError> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let pid = pid.as_raw_nonzero().get().unsigned_abs();
                    let status = match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => ExitStatus::Code(code),
                        (None, Some(signal)) => ExitStatus::Signal(signal),
                        (None, None) => continue,
                    };
                    if self.children.remove(&pid) {
                        self.outbox.send(&FromInit::Exit { pid, status }, &[])?;
                    }
                }
                Ok(None) | Err(Errno::CHILD) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The sending end of the socket, shared by the main loop and the threads.
#[derive(Clone)]
struct Outbox {
    socket: Arc<Mutex<OwnedFd>>,
}

impl Outbox {
    fn send(&self, message: &FromInit, descriptors: &[BorrowedFd<'_>]) -> Result<(), WireError> {
        let frame = wire::encode(message, descriptors.len())?;
        let socket = lock(&self.socket);
        let mut sent = 0;
        while sent < frame.len() {
            let beside = if sent == 0 { descriptors } else { &[] };
            match wire::send(&*socket, &frame[sent..], beside) {
                Err(Errno::INTR) => {}
                other => sent += other?,
            }
        }
        Ok(())
    }
}
