//! The command line: what the program can do and with which options. Each command is one file or folder, and none knows
//! another.
//!
//! | commands | files |
//! |---|---|
//! | that serve | `serve` |
//! | that look at a configuration and this machine | `check`, `doctor`, `try` in `trial`, `schema`, `storage` |
//! | that ask a running broker | `attach`, `sessions`; they reach it through `remote` and `proxied`, and find a session by `which` |
//! | others | `token` |
//!
//! `checked` loads a configuration for a command, `log` starts the log, and `time` puts lengths of time into words.

mod attach;
mod check;
mod checked;
mod doctor;
mod log;
mod proxied;
mod remote;
mod schema;
mod serve;
mod sessions;
mod storage;
mod time;
mod token;
mod trial;
mod which;

use std::io::{Write as _, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::broker::Surroundings;
use crate::embedded;
use sandbox_broker_plugin as plugin;

/// Gives a browser or a command line a terminal in a sandbox of any provider.
#[derive(Debug, Parser)]
#[command(name = "broker", version)]
pub struct Arguments {
    /// The configuration.
    #[arg(long, short, global = true, value_name = "FILE", default_value = "broker.toml", env = "BROKER_CONFIG")]
    config: PathBuf,

    /// Directory of the built-in plugins. By default `plugins` beside the
    /// program, beside its directory, or in ../lib/sandbox-broker.
    #[arg(long, global = true, value_name = "DIRECTORY", env = "BROKER_PLUGINS_DIR")]
    plugins: Option<PathBuf>,

    /// The program that keeps a session's output in its sandbox. By default
    /// sandbox-recorder beside the program, in `recorder` beside its directory,
    /// or in ../lib/sandbox-broker.
    #[arg(long, global = true, value_name = "FILE", env = "BROKER_RECORDER")]
    recorder: Option<PathBuf>,

    /// Directory for what outlives the process: compiled plugins, the
    /// embedded sandbox server. By default sandbox-broker in the user's state
    /// directory.
    #[arg(long, global = true, value_name = "DIRECTORY", env = "BROKER_STATE_DIR")]
    state_dir: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves terminals; what happens without a command.
    Serve(serve::Options),
    /// Checks the configuration and its plugins without serving.
    Check {
        /// The configuration, as with --config.
        file: Option<PathBuf>,
    },
    /// Looks at this machine and its network, and says what to do about what is
    /// wrong.
    Doctor(doctor::Options),
    /// Proves a provider: makes a sandbox, uses it as sessions do, and ends it.
    Try(trial::Options),
    /// Prints the JSON Schema of the configuration, for editors.
    #[command(arg = unused("config", 'c'), arg = unused("recorder", None), after_help = SCHEMA_HELP)]
    Schema,
    /// Shows and proves what `[storage]` would mount.
    #[command(subcommand)]
    Storage(storage::Action),
    /// Opens a session of a running broker in this terminal.
    #[command(args = unused_places(), after_help = ATTACH_HELP)]
    Attach(attach::Options),
    /// Lists, shows, renames and ends sessions of a running broker.
    #[command(args = unused_places(), after_help = SESSIONS_HELP)]
    Sessions(sessions::Options),
    /// Makes a token for `[auth]`: the lines for the file on standard output,
    /// the token itself on standard error.
    #[command(args = unused_places(), after_help = TOKEN_HELP)]
    Token {
        /// Whose token it is.
        #[arg(default_value = "me")]
        name: String,
    },
    /// Works on a plugin within bounds.
    #[command(name = plugin::work::SUBCOMMAND, hide = true)]
    PluginWork {
        work: plugin::work::Work,
        #[command(flatten)]
        bounds: plugin::work::Bounds,
    },
    /// The embedded sandbox server.
    #[command(name = embedded::SUBCOMMAND, hide = true)]
    Sandboxd(Box<sandboxd::Options>),
}

const SCHEMA_HELP: &str = "Example: broker schema > broker.schema.json\nExit status: 0, or 1 for an error";

const ATTACH_HELP: &str = "\
Examples:
  broker attach                       a new session
  broker attach 79dcc91c              one that there is
  echo 'make test' | broker attach    what is piped in is typed

Exit status:
  the shell's, 0 after you left, 252 without a good token, 253 when another
  connection took this one's place, 254 when the session is over otherwise, 255
  for everything else";

const SESSIONS_HELP: &str = "\
Examples:
  broker sessions list
  broker sessions rename 79dcc91c build

Exit status: 0, or 1 for an error";

const TOKEN_HELP: &str = "\
Example: broker token ada >> broker.toml
Exit status: 0, or 1 for an error";

/// An option of [`Arguments`], taken wherever it stands, and left out of the help
/// of a command that has no use for it. One that a command has itself does not
/// come to it from above.
fn unused(id: &'static str, short: impl clap::builder::IntoResettable<char>) -> clap::Arg {
    let long = if id == "state_dir" { "state-dir" } else { id };
    clap::Arg::new(id).long(long).short(short).global(true).hide(true).value_parser(clap::value_parser!(PathBuf))
}

fn unused_places() -> [clap::Arg; 4] {
    [unused("config", 'c'), unused("plugins", None), unused("recorder", None), unused("state_dir", None)]
}

/// Keeps other processes of the same user from reading the memory and environment of this one, which hold secrets, and
/// keeps that memory off the disk when the program crashes.
fn keep_to_itself() {
    let told = |what: &str, error| {
        let _ = writeln!(stderr(), "warning: {what}: {error}");
    };
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        told("other programs of this user can read the memory of this one", error);
    }
    // The hard limit stays, for the processes that this one starts.
    let core = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    if let Err(error) = setrlimit(Resource::Core, core) {
        told("when this program breaks, its memory may be written to disk", error);
    }
}

impl Arguments {
    fn surroundings(&self) -> anyhow::Result<Surroundings> {
        let Arguments { config, plugins, recorder, state_dir, .. } = self;
        Surroundings::find(config.clone(), plugins.clone(), recorder.clone(), state_dir.clone())
    }

    /// Runs the command to its end.
    ///
    /// # Errors
    /// What a person has to read; the exit status is then 1.
    pub async fn run(mut self) -> anyhow::Result<ExitCode> {
        let command = self.command.take().unwrap_or_else(|| Command::Serve(serve::Options::default()));
        match command {
            // `sandboxd` makes user namespaces, which a process that is not dumpable cannot.
            Command::Sandboxd(_) => {}
            // Without a token, there is no secret to keep. A broker without `[auth]` on this machine may have to look at
            // this process to see that it is not in a sandbox.
            Command::Attach(_) | Command::Sessions(_) if remote::token()?.is_none() => {}
            _ => keep_to_itself(),
        }
        match command {
            Command::Serve(options) => serve::run(self.surroundings()?, options).await,
            Command::Check { file } => {
                self.config = file.unwrap_or(self.config);
                check::run(self.surroundings()?).await
            }
            Command::Doctor(options) => doctor::run(self.surroundings()?, options).await,
            Command::Try(options) => trial::run(self.surroundings()?, options).await,
            Command::Schema => schema::run(self.surroundings()?).await,
            Command::Storage(action) => storage::run(self.surroundings()?, action).await,
            Command::Attach(options) => attach::run(options).await,
            Command::Sessions(options) => sessions::run(options).await,
            Command::Token { name } => token::run(&name),
            Command::PluginWork { work, bounds } => Ok(ExitCode::from(plugin::work::main(work, bounds))),
            Command::Sandboxd(options) => {
                let _ = log::start("info");
                let served = sandboxd::run(*options).await.map_err(anyhow::Error::from);
                // The broker that started it reads this: on a full disk, the log is empty.
                served.inspect_err(|error| drop(write!(stdout(), "{error:#}")))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
