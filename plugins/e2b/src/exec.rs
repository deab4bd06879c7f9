//! Processes without a terminal: the interface `exec`.

use sandbox_broker_sdk::exec::{Command as Spec, Control, Guest, GuestControl, Process};
use sandbox_broker_sdk::stream::{self, StreamReader};
use sandbox_broker_sdk::{Call, Error, SandboxRef, spawn};

use crate::Plugin;
use crate::config::Config;
use crate::envd::{Envd, environment};
use crate::input::Input;
use crate::process::{Command, Sink, Start};
use crate::pty::program;
use crate::session::{self, Outputs};

impl Guest for Plugin {
    type Control = session::Control;

    async fn run(
        _call: Call,
        config: String,
        sandbox: SandboxRef,
        command: Spec,
        stdin: StreamReader<u8>,
    ) -> Result<Process, Error> {
        let envd = Envd::of(&Config::parse(&config)?, &sandbox)?;
        let (cmd, args) = program(&command.argv)?;
        let start = Start {
            process: Command { cmd, args, envs: environment(&[], &command.env), cwd: command.cwd.as_deref() },
            pty: None,
            stdin: Some(true),
        };
        let live = envd.start(&start, command.user.as_deref()).await?;

        let pid = live.pid;
        let (out, stdout) = stream::bytes();
        let (err, stderr) = stream::bytes();
        let (ended, done) = stream::outcome();
        let control = session::Control::new(envd.clone(), pid);
        let input = Input::new(envd.clone(), pid, Sink::Stdin, stdin);
        spawn(async move {
            let end = session::run(&envd, live, Outputs::new(out, Some(err)), input).await;
            // The host may have left.
            let _ = ended.write(end).await;
        });
        Ok(Process { id: pid.to_string(), stdout, stderr, done, control: Control::new(control) })
    }
}

impl GuestControl for session::Control {
    async fn signal(&self, name: String) -> Result<(), Error> {
        Self::signal(self, &name).await
    }
}
