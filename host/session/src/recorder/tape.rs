//! The recorder of one sandbox, and how one of its commands is run.
//!
//! Owns where the recorder is and whose it is. What its commands answer is
//! read by the files beside this one.

use std::sync::Arc;
use std::time::Duration;

use sandbox_broker_core::sandbox::{Call, Command, Process, Provider, Result};
use sandbox_broker_fallback::program::argv;
use tokio::sync::mpsc;

use super::screens::Screens;
use crate::live_sandbox::LiveSandbox;

pub use sandbox_recorder::wire::CAST_END;

/// First and longest pause before a broken connection is made again.
pub(super) const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The recorder of one sandbox.
#[derive(Clone, Debug)]
pub struct Tape {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) call: Call,
    pub(crate) sandbox: LiveSandbox,
    pub(crate) user: Option<String>,
    pub(crate) screens: Arc<Screens>,
}

impl Tape {
    /// Returns a process that prints the session so far as asciicast v3. The
    /// recording is whole if it ends with [`CAST_END`].
    pub async fn cast(&self) -> Result<Process> {
        self.ask(["cast"]).await
    }

    /// Runs one of the recorder's commands that answers and ends.
    pub(super) async fn ask<const N: usize>(&self, arguments: [&str; N]) -> Result<Process> {
        let argv = argv(arguments[0], arguments[1..].iter().map(|argument| (*argument).to_owned()));
        let (_, no_input) = mpsc::channel(1);
        let command = Command { argv, user: self.user.clone(), ..Command::default() };
        self.provider.run(&self.call, &self.sandbox.get(), &command, no_input).await
    }

    pub(super) fn attach(&self, from: [String; 2]) -> Command {
        Command { argv: argv("attach", from), user: self.user.clone(), ..Command::default() }
    }
}
