//! A short shell script that runs in the sandbox as a user, and what it prints.
//!
//! Owns its life: started, read to its end, killed when nobody wants it any
//! more. Knows no file.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use sandbox_broker_sdk::stream::{Chunks, FutureReader, StreamReader};
use sandbox_broker_sdk::{Code, Error, Exit, net, quote, time};

use crate::envd::{Envd, Live};
use crate::process::{About, Command, Sink, Start};
use crate::session;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// Bytes of a script's own complaint that are kept.
const MAX_WORDS: usize = 4 << 10;

/// Time for ending a script.
const KILL: Duration = Duration::from_secs(5);

/// Messages and times in one form, whatever the template's language.
const ENVIRONMENT: [(&str, &str); 2] = [("LC_ALL", "C"), ("TZ", "UTC0")];

/// A running script.
pub struct Script {
    /// Its process.
    pub pid: u32,
    envd: Envd,
    stdout: Chunks,
    stderr: Chunks,
    /// None once it was heard.
    ended: Option<FutureReader<Result<String, Error>>>,
    /// It is not known to have ended.
    lives: bool,
    words: Vec<u8>,
}

impl Script {
    /// Starts `script` as this user with `args` as its `$1` and so on, and `stdin` as its input if there is one.
    pub async fn start(
        envd: &Envd,
        user: Option<&str>,
        script: &str,
        args: &[&str],
        stdin: Option<StreamReader<u8>>,
    ) -> Result<Self, Error> {
        let argv: Vec<String> = ["-c", script, "sh"].iter().chain(args).map(|&arg| arg.to_owned()).collect();
        let process = Command { cmd: "/bin/sh", args: &argv, envs: ENVIRONMENT.into(), cwd: Some("/") };
        let start = Start { process, pty: None, stdin: Some(stdin.is_some()) };
        let Live { pid, connection } = envd.start(&start, user).await?;
        let ended = match stdin {
            Some(stdin) => net::feed(&envd.input(pid, Sink::Stdin), stdin, connection.ended),
            None => connection.ended,
        };
        Ok(Self {
            pid,
            envd: envd.clone(),
            stdout: Chunks::new(connection.first, PIECE),
            stderr: Chunks::new(connection.second, MAX_WORDS),
            ended: Some(ended),
            lives: true,
            words: Vec::new(),
        })
    }

    /// Waits until it prints more, and appends that to `out`. `false` when it
    /// has ended well; an error when it failed, in its own words, or when the
    /// connection to it broke.
    pub async fn print(&mut self, out: &mut Vec<u8>) -> Result<bool, Error> {
        let Some(ended) = self.ended.take() else { return Ok(false) };
        loop {
            let next = match select(pin!(self.stdout.next()), pin!(self.stderr.next())).await {
                Either::Left((piece, _)) => Some(piece),
                Either::Right((None, stdout)) => Some(stdout.await),
                Either::Right((Some(words), _)) => {
                    keep(&mut self.words, &words);
                    None
                }
            };
            match next {
                Some(Some(piece)) => {
                    out.extend_from_slice(&piece);
                    self.ended = Some(ended);
                    return Ok(true);
                }
                Some(None) => break,
                None => {}
            }
        }
        while let Some(words) = self.stderr.next().await {
            keep(&mut self.words, &words);
        }
        let exit = session::exit(ended.await)?;
        self.lives = false;
        if matches!(exit, Exit::Code(0)) { Ok(false) } else { Err(failure(&exit, &self.words)) }
    }

    /// Ends it, for nobody reads or feeds it any more. A failure is of no
    /// interest: what failed before that is.
    pub async fn kill(self) {
        if self.lives {
            let about = About { signal: Some("SIGNAL_SIGKILL"), ..About::process(self.pid) };
            let _ = time::timeout(KILL, self.envd.command("process.Process/SendSignal", &about)).await;
        }
    }
}

/// Keeps the first of a script's words.
fn keep(kept: &mut Vec<u8>, words: &[u8]) {
    let room = MAX_WORDS.saturating_sub(kept.len()).min(words.len());
    kept.extend_from_slice(&words[..room]);
}

/// Runs a script to its end and returns what it printed, at most `most` bytes.
pub async fn run(envd: &Envd, user: Option<&str>, script: &str, args: &[&str], most: usize) -> Result<Vec<u8>, Error> {
    let mut script = Script::start(envd, user, script, args, None).await?;
    let mut printed = Vec::new();
    let whole = async {
        while script.print(&mut printed).await? {
            if printed.len() > most {
                return Err(Error::new(Code::ResourceExhausted, format!("the answer has more than {most} bytes")));
            }
        }
        Ok(())
    };
    let ended = time::timeout(envd.timeout, whole).await.unwrap_or_else(|_| {
        Err(Error::new(Code::DeadlineExceeded, format!("sandbox {} did not answer in time", envd.id)))
    });
    match ended {
        Ok(()) => Ok(printed),
        Err(e) => {
            script.kill().await;
            Err(e)
        }
    }
}

/// Endings of what programs say, and what they mean. Shells and tools of GNU
/// and of busybox differ in capitals and in "or directory".
const MEANINGS: [(&str, Code); 14] = [
    ("no such file", Code::NotFound),
    ("no such file or directory", Code::NotFound),
    ("directory nonexistent", Code::NotFound),
    ("nonexistent directory", Code::NotFound),
    ("permission denied", Code::PermissionDenied),
    ("operation not permitted", Code::PermissionDenied),
    ("read-only file system", Code::PermissionDenied),
    ("no space left on device", Code::ResourceExhausted),
    ("quota exceeded", Code::ResourceExhausted),
    ("file exists", Code::AlreadyExists),
    ("not a regular file", Code::InvalidArgument),
    ("not a directory", Code::InvalidArgument),
    ("is a directory", Code::InvalidArgument),
    ("file name too long", Code::InvalidArgument),
];

/// Why a script failed: by the end of a line of what was said, for what comes
/// before may be a name, and a name may hold anything, line feeds too.
fn failure(exit: &Exit, words: &[u8]) -> Error {
    let words = String::from_utf8_lossy(words);
    let words = words.trim();
    let meaning = |line: &str| {
        let end = line.rsplit(": ").next().unwrap_or_default().to_ascii_lowercase();
        MEANINGS.iter().find(|(ending, _)| end == *ending).map(|(_, code)| *code)
    };
    let meant = words.lines().find_map(meaning);
    match (exit, meant) {
        (Exit::Signal(signal), _) => {
            Error::new(Code::Internal, format!("a process in the sandbox was ended ({signal})"))
        }
        (_, Some(Code::ResourceExhausted)) => {
            Error::new(Code::ResourceExhausted, "the disk of the sandbox is full: remove files")
        }
        (_, Some(code)) => Error::new(code, quote(words)),
        (Exit::Code(126 | 127), None) => Error::new(
            Code::Unimplemented,
            format!("the sandbox's image lacks a program of coreutils or findutils: {}", quote(words)),
        ),
        (_, None) if words.is_empty() => Error::new(Code::Internal, "a process in the sandbox failed"),
        (_, None) => Error::new(Code::Internal, quote(words)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shells_and_tools_say_has_a_meaning() {
        for (words, code) in [
            ("/bin/sh: 4: cannot open /w/none: No such file", Code::NotFound),
            ("sh: can't open /w/none: no such file", Code::NotFound),
            ("sh: 2: cannot create /none/x: Directory nonexistent", Code::NotFound),
            ("sh: can't create /none/x: nonexistent directory", Code::NotFound),
            ("stat: cannot statx '/w/none': No such file or directory", Code::NotFound),
            ("mkdir: cannot create directory '/w/a': File exists", Code::AlreadyExists),
            ("/bin/sh: 1: cannot create /etc/x: Permission denied", Code::PermissionDenied),
            ("cat: write error: No space left on device", Code::ResourceExhausted),
            ("cat: standard output: No space left on device", Code::ResourceExhausted),
            ("sh: 3: cannot open /w/a\nb: No such file", Code::NotFound),
            ("dd: error reading 'standard input': Input/output error\n0+0 records in", Code::Internal),
            // A name is no message.
            ("rm: cannot remove 'x: Permission denied': Device or resource busy", Code::Internal),
        ] {
            let e = failure(&Exit::Code(1), words.as_bytes());
            assert_eq!(e.code, code, "{words}");
        }
        let lacking = failure(&Exit::Code(127), b"sh: 1: find: not found");
        assert_eq!(lacking.code, Code::Unimplemented);
        let killed = failure(&Exit::Signal("killed".into()), b"");
        assert!(killed.message.contains("killed"), "{}", killed.message);
    }
}
