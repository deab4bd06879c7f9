//! What is done inside the sandbox for a mount: files put there, processes run
//! and watched, all through the sandbox provider's `run`.
//!
//! Owns how a step becomes processes, and how what they printed becomes words.
//! Deliberately knows neither plans nor mounts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::failure::log_failure;
use crate::live_sandbox::LiveSandbox;

use sandbox_broker_core::sandbox::{
    self, CHUNK_BYTES, Call, Code, Control, Error, Exit, Fault, Process, Provider, Result, await_exit,
};
use sandbox_broker_core::storage::{Command, FILE_BYTES, File, Step, Target};
use sandbox_stdx::words::misleads;

/// The user that sets mounts up.
const ROOT: &str = "root";

/// Bytes that are kept of each of a process's two outputs. They are the last
/// ones, which say why it ended.
const PRINTED_BYTES: usize = 16 * 1024;

/// Largest number of characters of a process's own words in an error.
const WORDS: usize = 300;

/// How long writing a file may take.
const PUT_DEADLINE: Duration = Duration::from_secs(10);

/// How long making a mount point may take.
const MAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a process may take to be ended.
const KILL_DEADLINE: Duration = Duration::from_secs(2);

/// A file travels to its process in one chunk.
const _: () = assert!(FILE_BYTES <= CHUNK_BYTES);

/// Writes a file. The arguments are path, mode and size; the content comes on
/// standard input. Nobody else can read the file at any moment, it is never
/// seen in part, and a reader of the old file keeps the old one.
const PUT: &str = r#"
umask 077
new="$1.new-$$"
trap 'rm -f -- "$new"' EXIT
head -c "$3" > "$new" || exit
if [ "$(wc -c < "$new")" -ne "$3" ]; then echo "only a part of it came" >&2; exit 1; fi
chmod -- "$2" "$new" && mv -fT -- "$new" "$1"
"#;

/// Makes a workspace and a mount point. The arguments are their paths. What is
/// written below the mount point must go to the storage or fail, so only root
/// may write to the bare directory. The script enters the directory before it
/// checks it: whoever owns the parent directory could put a link there
/// meanwhile.
const MAKE: &str = r#"
[ "$(id -u)" = 0 ] || exit 70
umask 022
mkdir -p -- "$2" || exit
[ -L "$2" ] && exit 71
cd -P -- "$2" || exit
[ -z "$(ls -A)" ] || exit 72
chown 0:0 . && chmod 0555 . || exit
umask 077
mkdir -p -- "$1" && chmod 0700 -- "$1"
"#;

/// Exit statuses of [`MAKE`] that have their own messages.
const NOT_ROOT: i32 = 70;
const A_LINK: i32 = 71;
const NOT_EMPTY: i32 = 72;

/// A way into one sandbox.
#[derive(Clone, Debug)]
pub(super) struct Inside {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) call: Call,
    pub(super) sandbox: LiveSandbox,
}

impl Inside {
    /// Makes the workspace of a mount, for root alone, and its mount point,
    /// empty and read-only until something is mounted there.
    pub(super) async fn make(&self, target: &Target) -> Result<()> {
        let argv = script(MAKE, [&target.workspace, &target.path]);
        let ran = self.execute(&argv, Bytes::new(), MAKE_DEADLINE).await;
        let Ran { exit, printed } = ran.map_err(|error| no_root(error, self.provider.name()))?;
        let path = &target.path;
        let refused = |message| Err(Error::new(Fault::Operator, Code::FailedPrecondition, message));
        match exit {
            Exit::Code(0) => Ok(()),
            Exit::Code(NOT_ROOT) => refused(no_root_words(self.provider.name())),
            Exit::Code(A_LINK) => refused(format!("{path} is a symbolic link in the sandbox; mount at another path")),
            Exit::Code(NOT_EMPTY) => refused(format!(
                "there are files in {path} already, on the sandbox's own disk; move them away, or mount at another path"
            )),
            exit => Err(process_error(&format!("{path} could not be made in the sandbox"), &exit, &printed)),
        }
    }

    /// The user that the shell runs as if nobody chooses one: the sandbox's
    /// default user. None if the sandbox does not tell. Then root owns the
    /// files.
    pub(super) async fn default_user(&self) -> Option<String> {
        let (input, rest) = mpsc::channel(1);
        drop(input);
        let command = sandbox::Command {
            argv: ["id", "-un"].map(str::to_owned).to_vec(),
            cwd: Some("/".to_owned()),
            ..sandbox::Command::default()
        };
        let asked = async {
            let process = self.provider.run(&self.call, &self.sandbox.get(), &command, rest).await?;
            let Process { stdout, stderr, done, lifetime: _lifetime, .. } = process;
            let (exit, printed) = gather(stdout, stderr, done).await;
            Ok::<_, Error>((exit?, printed))
        };
        let (exit, printed) = timeout(MAKE_DEADLINE, asked).await.ok()?.ok()?;
        let name = String::from_utf8(printed.stdout).ok()?.trim_end().to_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        (exit == Exit::Code(0)
            && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && name.chars().all(plain))
        .then_some(name)
    }

    /// Carries out a step that ends.
    pub(super) async fn act(&self, step: &Step) -> Result<()> {
        match step {
            Step::WriteFile(file) => self.put(file).await,
            Step::Run(command) => self.run(command).await,
            Step::Supervise(_) => {
                let message = "a storage plugin may start a lasting process only where it mounts";
                Err(Error::new(Fault::Plugin, Code::Internal, message))
            }
        }
    }

    async fn put(&self, file: &File) -> Result<()> {
        let (mode, size) = (format!("{:04o}", file.mode & 0o7777), file.content.len().to_string());
        let argv = script(PUT, [&file.path, &mode, &size]);
        match self.execute(&argv, file.content.clone(), PUT_DEADLINE).await? {
            Ran { exit: Exit::Code(0), .. } => Ok(()),
            Ran { exit, printed } => {
                Err(process_error(&format!("{} could not be written in the sandbox", file.path), &exit, &printed))
            }
        }
    }

    /// Runs a process to its end. A failure is explained by what it printed.
    pub(super) async fn run(&self, command: &Command) -> Result<()> {
        match self.execute(command, Bytes::new(), command.timeout).await {
            Ok(Ran { exit: Exit::Code(0), .. }) => Ok(()),
            Ok(Ran { exit, printed }) => Err(explain(command, &printed.text())
                .unwrap_or_else(|| process_error(&format!("`{}` failed", command.argv[0]), &exit, &printed))),
            Err(error) => Err(explain(command, &error.message).unwrap_or(error)),
        }
    }

    /// Starts a process that lives until it is dropped, killed or ends.
    pub(super) async fn supervise(&self, command: &Command) -> Result<Supervised> {
        let started = self.start(command, Bytes::new()).await;
        let Process { stdout, stderr, done, control, lifetime, .. } =
            started.map_err(|error| explain(command, &error.message).unwrap_or(error))?;
        let command = command.clone();
        let (tx, ended) = watch::channel(None);
        let watching = async move {
            let _lifetime = lifetime;
            let (exit, printed) = gather(stdout, stderr, done).await;
            let end = match exit {
                Ok(exit) => {
                    let error = explain(&command, &printed.text());
                    let words = || process_error(&format!("`{}` ended", command.argv[0]), &exit, &printed);
                    End::Ended { clean: exit == Exit::Code(0), error: error.unwrap_or_else(words) }
                }
                Err(error) => {
                    log_failure("lost the connection to the process of a mount", &error);
                    End::OutOfSight
                }
            };
            tx.send_replace(Some(end));
        };
        let watching = AbortOnDropHandle::new(tokio::spawn(watching.in_current_span()));
        Ok(Supervised { ended, control, _watching: watching })
    }

    async fn start(&self, command: &Command, stdin: Bytes) -> Result<Process> {
        let (input, rest) = mpsc::channel(1);
        if !stdin.is_empty() {
            input.try_send(stdin).expect("there is room for one chunk");
        }
        drop(input);
        let command = sandbox::Command {
            argv: command.argv.clone(),
            cwd: Some("/".to_owned()), // whatever becomes of other directories
            env: command.env.clone(),
            user: Some(command.user.clone().unwrap_or_else(|| ROOT.to_owned())),
        };
        self.provider.run(&self.call, &self.sandbox.get(), &command, rest).await
    }

    /// Runs a process to its end or for `limit`; then it is killed.
    async fn execute(&self, command: &Command, stdin: Bytes, limit: Duration) -> Result<Ran> {
        let late = || {
            let message = format!("`{}` did not end within {} s", command.argv[0], limit.as_secs_f32());
            Error::new(Fault::Provider, Code::DeadlineExceeded, message)
        };
        let mut running = None;
        let run = async {
            let Process { stdout, stderr, done, control, lifetime, .. } = self.start(command, stdin).await?;
            running = Some((control, lifetime));
            let (exit, printed) = gather(stdout, stderr, done).await;
            Ok(Ran { exit: exit?, printed })
        };
        match timeout(limit, run).await {
            Ok(ran) => ran,
            Err(_) => {
                if let Some((control, _lifetime)) = running {
                    kill(&control).await;
                }
                Err(late())
            }
        }
    }
}

/// A process that lives as long as its mount. Dropping this value does not end
/// the process.
#[derive(Debug)]
pub(super) struct Supervised {
    ended: watch::Receiver<Option<End>>,
    control: Control,
    _watching: AbortOnDropHandle<()>,
}

/// How a supervised process ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// It ended; the error is its last words, whatever they were.
    Ended {
        /// With status 0.
        clean: bool,
        error: Error,
    },
    /// The connection to it broke. It may live, and nobody will say when it
    /// ends. Only checks show whether the mount works.
    OutOfSight,
}

impl Supervised {
    /// Waits for its end. Every call returns the same end.
    pub(super) async fn ended(&mut self) -> End {
        let ended = self.ended.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        ended.unwrap_or(End::OutOfSight)
    }

    /// Ends it, if it has not ended.
    pub(super) async fn kill(&self) {
        if !matches!(*self.ended.borrow(), Some(End::Ended { .. })) {
            kill(&self.control).await;
        }
    }
}

/// Best effort: it may have ended, and then nobody answers.
async fn kill(control: &Control) {
    let _ = timeout(KILL_DEADLINE, control.signal("SIGKILL")).await;
}

/// The result of a process.
struct Ran {
    exit: Exit,
    printed: Printed,
}

/// The last that a process printed.
#[derive(Default)]
struct Printed {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Printed {
    fn keep(kept: &mut Vec<u8>, chunk: &[u8]) {
        kept.extend_from_slice(&chunk[chunk.len().saturating_sub(PRINTED_BYTES)..]);
        kept.drain(..kept.len().saturating_sub(PRINTED_BYTES));
    }

    /// All of it, to look for words in.
    fn text(&self) -> String {
        [String::from_utf8_lossy(&self.stderr), String::from_utf8_lossy(&self.stdout)].join("\n")
    }

    /// Its last words: the last line of its standard error, or else of its
    /// standard output.
    fn last_words(&self) -> Option<String> {
        [&self.stderr, &self.stdout].into_iter().find_map(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            text.lines().rev().map(printable).find(|line| !line.is_empty())
        })
    }
}

/// Reads both outputs of a process to their end, then how it ended.
async fn gather(
    mut stdout: mpsc::Receiver<Bytes>,
    mut stderr: mpsc::Receiver<Bytes>,
    mut done: oneshot::Receiver<Result<Exit>>,
) -> (Result<Exit>, Printed) {
    let mut printed = Printed::default();
    loop {
        tokio::select! {
            Some(chunk) = stdout.recv() => Printed::keep(&mut printed.stdout, &chunk),
            Some(chunk) = stderr.recv() => Printed::keep(&mut printed.stderr, &chunk),
            else => break,
        }
    }
    (await_exit(&mut done).await, printed)
}

/// `sh` with its arguments, as root.
fn script<const N: usize>(text: &str, arguments: [&String; N]) -> Command {
    let mut argv: Vec<String> = ["sh", "-c", text, "sh"].map(str::to_owned).into();
    argv.extend(arguments.map(String::clone));
    Command { argv, env: Default::default(), user: None, timeout: Duration::MAX, explain: Vec::new() }
}

/// The plan's own words for what was printed, if it has some.
fn explain(command: &Command, printed: &str) -> Option<Error> {
    let known = command.explain.iter().find(|known| printed.contains(&known.pattern))?;
    let fault = match known.code {
        Code::InvalidArgument | Code::Unauthenticated | Code::PermissionDenied | Code::FailedPrecondition => {
            Fault::Operator
        }
        _ => Fault::Provider,
    };
    Some(Error::new(fault, known.code, known.message.clone()))
}

fn process_error(what: &str, exit: &Exit, printed: &Printed) -> Error {
    let why = printed.last_words().unwrap_or_else(|| exit.to_string());
    Error::new(Fault::Provider, Code::Unknown, format!("{what}: {why}"))
}

/// If the provider refuses to run anything as root, says so and who must act.
fn no_root(error: Error, provider: &str) -> Error {
    let refuses = matches!(
        error.code,
        Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument | Code::Unimplemented
    );
    if !refuses {
        return error;
    }
    let message = format!("{}: {}", no_root_words(provider), error.message);
    Error { fault: Fault::Operator, code: Code::FailedPrecondition, message, ..error }
}

fn no_root_words(provider: &str) -> String {
    format!(
        "storage is mounted by a process of root, and the sandboxes of provider `{provider}` give none; \
         whoever runs that provider must allow it, or [storage] must be turned off"
    )
}

/// A line of a process, fit for a person: no control characters, not too long,
/// and no query of a URL, because that may hold a token.
fn printable(line: &str) -> String {
    let mut words = Vec::new();
    for word in line.split_whitespace() {
        words.push(match word.split_once('?') {
            Some((url, query)) if query.contains('=') => format!("{url}?…"),
            _ if word.contains('&') && word.contains('=') => "…".to_owned(),
            _ => word.to_owned(),
        });
    }
    words.join(" ").chars().filter(|c| !misleads(*c)).take(WORDS).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::process::{self, Stdio};

    use super::*;

    /// Runs one of the scripts on this machine; its status.
    fn run<const N: usize>(text: &str, arguments: [&Path; N], stdin: &[u8]) -> i32 {
        let mut sh = process::Command::new("sh");
        let sh = sh.args(["-c", text, "sh"]).args(arguments).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut sh = sh.spawn().unwrap();
        sh.stdin.take().unwrap().write_all(stdin).unwrap();
        sh.wait().unwrap().code().unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_is_put_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a file");
        let put = |mode: &str, size: &str, content| run(PUT, [&path, Path::new(mode), Path::new(size)], content);
        assert_eq!(put("0600", "3", b"one"), 0);
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"one".to_vec(), 0o600));
        assert_ne!(put("0600", "9", b"part"), 0);
        assert_eq!(fs::read(&path).unwrap(), b"one", "the old one stays");
        assert_eq!(put("0644", "0", b""), 0);
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (Vec::new(), 0o644));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "and nothing else is left");
    }

    #[test]
    fn a_mount_point_is_made_by_root_alone_and_empty() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let make = |path: &str| run(MAKE, [&at("space/id"), &at(path)], b"");
        if run("[ $(id -u) = 0 ]", [], b"") != 0 {
            return assert_eq!(make("a/b"), NOT_ROOT);
        }
        assert_eq!((make("a/b"), make("a/b")), (0, 0));
        assert_eq!([mode(&at("a")), mode(&at("a/b")), mode(&at("space/id"))], [0o755, 0o555, 0o700]);
        fs::write(at("a/b/file"), "").unwrap();
        symlink("a", at("link")).unwrap();
        assert_eq!((make("a/b"), make("link")), (NOT_EMPTY, A_LINK));
    }

    #[test]
    fn a_processs_words_hold_no_query_of_a_url() {
        let line = "\u{1b}[31mput \"https://a.example/c/b.txt?sv=1&sig=canary\": 403 [x] why? a=b";
        assert_eq!(printable(line), "[31mput \"https://a.example/c/b.txt?… 403 [x] why? a=b");
        assert_eq!(printable("sas is sv=1&sig=canary"), "sas is …");
        assert_eq!(printable(&"é".repeat(1000)).chars().count(), WORDS);
    }

    #[test]
    fn what_is_kept_of_a_process_is_its_last_words() {
        let mut printed = Printed::default();
        for _ in 0..10 {
            Printed::keep(&mut printed.stdout, &vec![b'x'; 3 * PRINTED_BYTES]);
        }
        Printed::keep(&mut printed.stdout, b"\nthe end\n\n");
        assert_eq!(printed.stdout.len(), PRINTED_BYTES);
        assert_eq!(printed.last_words().unwrap(), "the end");
        Printed::keep(&mut printed.stderr, b"why\n");
        assert_eq!(printed.last_words().unwrap(), "why");
    }
}
