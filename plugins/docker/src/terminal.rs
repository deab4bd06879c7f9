//! Terminals of the engine: the interface `terminal`, for sandboxes in which the recorder cannot run.

use sandbox_broker_sdk::stream::StreamReader;
use sandbox_broker_sdk::terminal::{Attachment, Guest, PtySpec};
use sandbox_broker_sdk::{Call, Code, Ending, Error, Exit, SandboxRef};

use crate::Plugin;
use crate::config::Config;
use crate::engine::Engine;
use crate::process::{self, Program, mark};
use crate::reference::id;

/// What programs on a terminal need to know.
const TERMINAL: [(&str, &str); 2] = [("TERM", "xterm-256color"), ("LANG", "C.UTF-8")];

impl Guest for Plugin {
    async fn open(
        call: Call,
        config: String,
        sandbox: SandboxRef,
        spec: PtySpec,
        input: StreamReader<u8>,
    ) -> Result<Attachment, Error> {
        let config = Config::parse(&config)?;
        let mut env: Vec<(String, String)> = TERMINAL.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        // The last one wins.
        env.extend(spec.env);
        let program = Program {
            argv: &spec.command,
            cwd: spec.cwd.as_deref(),
            env: &env,
            user: spec.user.as_deref(),
            size: Some((spec.cols, spec.rows)),
            mark: mark(&call.id),
        };
        let started = process::start(&Engine::new(&config), id(&sandbox)?, &program, input).await?;
        let connection = started.connection;
        Ok(Attachment { pty: started.id, output: connection.first, done: Ending::Reported(connection.ended) })
    }

    async fn attach(
        _call: Call,
        _config: String,
        _sandbox: SandboxRef,
        _pty: String,
        _input: StreamReader<u8>,
    ) -> Result<Attachment, Error> {
        Err(Error::new(Code::Unimplemented, "the engine gives a process one connection, and nobody comes back to it"))
    }

    async fn resize(
        _call: Call,
        config: String,
        _sandbox: SandboxRef,
        pty: String,
        cols: u16,
        rows: u16,
    ) -> Result<(), Error> {
        let config = Config::parse(&config)?;
        process::resize_terminal(&Engine::new(&config), &pty, cols, rows).await
    }

    async fn signal(_call: Call, config: String, sandbox: SandboxRef, pty: String, name: String) -> Result<(), Error> {
        let config = Config::parse(&config)?;
        process::signal(&Engine::new(&config), id(&sandbox)?, &pty, &name).await
    }

    async fn exit_of(
        _call: Call,
        config: String,
        sandbox: SandboxRef,
        pty: String,
        report: Result<String, Error>,
    ) -> Result<Exit, Error> {
        report?;
        let config = Config::parse(&config)?;
        process::exit(&Engine::new(&config), id(&sandbox)?, &pty).await
    }
}
