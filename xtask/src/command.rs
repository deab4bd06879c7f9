//! Running other programs: each is printed before it runs, may have a deadline,
//! and says what to install when it is missing.
//!
//! Knows nothing of this repository.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
#[cfg(target_os = "linux")]
use rustix::process::set_parent_process_death_signal;
use rustix::process::{Pid, Signal, kill_process};

/// How often a program with a deadline is looked at.
const POLL: Duration = Duration::from_millis(50);

/// How long a program may take to end after SIGTERM before it is killed.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// A program to run.
pub(crate) struct Cmd {
    inner: Command,
    shown: String,
    dir: Option<PathBuf>,
    install: Option<String>,
    deadline: Option<Duration>,
}

impl Cmd {
    /// A program found on `PATH`, or by its path.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let shown = program.as_ref().to_string_lossy().into_owned();
        Self { inner: Command::new(program), shown, dir: None, install: None, deadline: None }
    }

    /// Prints the program as `name`. Must come before the arguments.
    pub(crate) fn shown_as(mut self, name: &str) -> Self {
        self.shown = name.to_owned();
        self
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.shown.push(' ');
        self.shown.push_str(&arg.as_ref().to_string_lossy());
        self.inner.arg(arg);
        self
    }

    /// Adds several arguments.
    pub(crate) fn args<I: IntoIterator<Item: AsRef<OsStr>>>(self, args: I) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Sets variables of its environment.
    pub(crate) fn envs(mut self, vars: &[(&'static str, OsString)]) -> Self {
        self.inner.envs(vars.iter().map(|(name, value)| (name, value)));
        self
    }

    /// Hides a variable of our environment from it.
    pub(crate) fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.inner.env_remove(name);
        self
    }

    /// Starts it in this folder.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.inner.current_dir(dir);
        self.dir = Some(dir.to_path_buf());
        self
    }

    /// Ends it with an error after this time.
    pub(crate) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// What to do when the program is missing: one line for a person.
    pub(crate) fn install(mut self, hint: impl Into<String>) -> Self {
        self.install = Some(hint.into());
        self
    }

    /// Runs it to its end; any status but 0 is an error.
    pub(crate) fn run(mut self) -> Result<()> {
        self.announce();
        let child = self.spawn_quietly()?;
        let status = self.wait(child)?;
        self.check(status)
    }

    /// Runs it to its end and returns what it wrote to its standard output, also
    /// when it failed. Its standard error is shown.
    pub(crate) fn output(mut self) -> Result<(String, Result<()>)> {
        self.announce();
        let child = {
            self.inner.stdout(Stdio::piped());
            self.spawn_quietly()?
        };
        let output = child.wait_with_output().context("reading its output")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((text, self.check(output.status)))
    }

    /// Asks a program something, unseen: its standard output. The error holds what
    /// it said.
    pub(crate) fn read(mut self) -> Result<String> {
        let output = self.inner.stdin(Stdio::null()).output().map_err(|error| self.start_error(error))?;
        self.check(output.status).map_err(|error| {
            let said = String::from_utf8_lossy(&output.stderr);
            anyhow::anyhow!("{error:#}: {}", said.trim())
        })?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Asks a program something small, unseen: its standard output when it is
    /// there and ends with 0.
    pub(crate) fn probe(mut self) -> Option<String> {
        let output = self.inner.stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Starts it with both outputs piped and leaves it running.
    pub(crate) fn start(mut self) -> Result<Child> {
        self.announce();
        self.inner.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.spawn_quietly()
    }

    /// Leaves it running with both outputs in `log`. It does not hear the
    /// terminal's Ctrl-C and gets SIGTERM when this process ends, also one that has
    /// [become](Self::replace_this_process) another program. Needs Linux.
    pub(crate) fn accompany(mut self, log: File) -> Result<Child> {
        self.announce();
        let errors = log.try_clone().context("sharing its log")?;
        self.inner.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        // SAFETY: the closure makes one system call and allocates nothing.
        #[cfg(target_os = "linux")]
        unsafe {
            self.inner.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
        }
        #[cfg(not(target_os = "linux"))]
        bail!("only Linux ends a program together with this one");
        self.spawn_quietly()
    }

    /// Becomes the program: signals and the exit status are its own. Returns
    /// only when it cannot be started.
    pub(crate) fn replace_this_process(mut self) -> anyhow::Error {
        self.announce();
        let error = self.inner.exec();
        self.start_error(error)
    }

    fn announce(&self) {
        match self.folder_shown() {
            Some(dir) => eprintln!("$ (cd {dir} && {})", self.shown),
            None => eprintln!("$ {}", self.shown),
        }
    }

    /// The folder, unless it is the one that the person stands in.
    fn folder_shown(&self) -> Option<String> {
        let dir = self.dir.as_ref()?;
        let here = env::current_dir().ok()?;
        if *dir == here {
            return None;
        }
        Some(dir.strip_prefix(&here).unwrap_or(dir).display().to_string())
    }

    fn spawn_quietly(&mut self) -> Result<Child> {
        if self.deadline.is_some() {
            // What may be killed at any time must not wait for a keyboard.
            self.inner.stdin(Stdio::null());
        }
        self.inner.spawn().map_err(|error| self.start_error(error))
    }

    fn start_error(&self, error: std::io::Error) -> anyhow::Error {
        let program = self.inner.get_program().to_string_lossy().into_owned();
        match (&self.install, error.kind()) {
            (Some(hint), ErrorKind::NotFound) => anyhow::anyhow!("{program} is missing: {hint}"),
            _ => anyhow::Error::new(error).context(format!("starting {program}")),
        }
    }

    fn wait(&self, mut child: Child) -> Result<ExitStatus> {
        let Some(deadline) = self.deadline else {
            return child.wait().context("waiting for its end");
        };
        match wait_until(&mut child, Instant::now() + deadline)? {
            Some(status) => Ok(status),
            None => {
                stop(&mut child)?;
                bail!("`{}` did not end within {} s and was stopped", self.shown, deadline.as_secs());
            }
        }
    }

    fn check(&self, status: ExitStatus) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        bail!("`{}` failed: {status}", self.shown)
    }
}

/// Asks a program to end with SIGTERM and kills it after [`GRACE`].
pub(crate) fn stop(child: &mut Child) -> Result<ExitStatus> {
    if let Some(status) = child.try_wait().context("waiting for its end")? {
        return Ok(status);
    }
    // A child that was not waited for keeps its id, so this cannot hit another.
    kill_process(Pid::from_child(child), Signal::TERM).context("sending SIGTERM")?;
    if let Some(status) = wait_until(child, Instant::now() + GRACE)? {
        return Ok(status);
    }
    child.kill().context("sending SIGKILL")?;
    child.wait().context("waiting for its end")
}

fn wait_until(child: &mut Child, end: Instant) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait().context("waiting for its end")? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// The first of these programs on `PATH`.
pub(crate) fn find_program(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    names.iter().find_map(|name| env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_what_to_install() {
        let error = Cmd::new("no-such-program-here").install("install it from its site").run().unwrap_err();
        assert_eq!(error.to_string(), "no-such-program-here is missing: install it from its site");
    }

    #[test]
    fn a_program_beyond_its_deadline_is_stopped() {
        let begun = Instant::now();
        let error = Cmd::new("sleep").arg("60").deadline(Duration::from_millis(10)).run().unwrap_err();
        assert!(error.to_string().contains("was stopped"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_failing_program_keeps_its_output() {
        let (text, result) = Cmd::new("sh").args(["-c", "echo out; exit 3"]).output().unwrap();
        assert_eq!(text, "out\n");
        assert!(result.unwrap_err().to_string().contains("exit status: 3"));
    }
}
