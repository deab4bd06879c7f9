//! The live terminal of a session: its output, its input, its end.
//!
//! Owns how bytes pass between the terminal, the log and the pipe to the shell.
//! Deliberately decides nothing.

use sandbox_broker_core::sandbox::{Command, PIPE_CHUNKS, SandboxRef, Terminal};

use super::parts::{LiveTerminal, SessionTask};
use crate::handle::workspace::Workspace;
use crate::lifecycle::opening::{Opened, ShellTerminal};
use crate::lifecycle::terminal_output::{OutputChunk, TerminalOutput, append};
use crate::recorder::link::Recorded;
use sandbox_broker_policy::machine::MachineEvent;

impl SessionTask {
    pub(super) fn opened(&mut self, Opened { shell, input, cwd, note }: Opened) {
        self.pipe = Some(input);
        if let Some(note) = note {
            self.step(MachineEvent::News(note));
        }
        let (live, size, recorded) = match shell {
            ShellTerminal::Plain(Terminal { output, done, control, lifetime, .. }, size) => {
                let output = Some(TerminalOutput::Plain(output));
                let done = Some(done);
                let live =
                    LiveTerminal { output, done, control, taken: None, news: None, colors: None, _lifetime: lifetime };
                (live, size, None)
            }
            ShellTerminal::Recorded(recorded, tape) => {
                self.log.begin_at(recorded.begins, recorded.old);
                let Recorded { output, size, about, colors, taken, news, done, control, lifetime, .. } = recorded;
                let output = Some(TerminalOutput::Recorded(output));
                let (done, taken, news, colors) = (Some(done), Some(taken), Some(news), Some(colors));
                let live = LiveTerminal { output, done, control, taken, news, colors, _lifetime: lifetime };
                (live, Some(size), Some((tape, about)))
            }
        };
        self.terminal = Some(live);
        self.tell_colors();
        self.shared.set_running(|sandbox| self.workspace(sandbox, cwd), recorded);
        if let Some(size) = size {
            let wanted = self.shared.has_size(size);
            self.step(MachineEvent::Resize(wanted));
        }
        self.step(MachineEvent::Opened(Ok(size)));
    }

    pub(super) fn tell_colors(&self) {
        let Some(colors) = self.terminal.as_ref().and_then(|live| live.colors.as_ref()) else { return };
        let wanted = self.wishes.borrow().colors;
        colors.send_if_modified(|colors| std::mem::replace(colors, wanted) != wanted);
    }

    /// Appends a chunk, and what else the pipe holds, up to one filling.
    pub(super) fn output(&mut self, chunk: OutputChunk) {
        append(&self.log, &self.shared, chunk);
        if let Some(output) = self.terminal.as_mut().and_then(|live| live.output.as_mut()) {
            for _ in 1..PIPE_CHUNKS {
                if !self.log.has_room() {
                    break;
                }
                let Some(chunk) = output.try_recv() else { break };
                append(&self.log, &self.shared, chunk);
            }
        }
        self.step(MachineEvent::Output);
    }

    /// Moves input into the pipe as far as there is room.
    pub(super) fn flush(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        while let Some(bytes) = self.outbox.pop_front() {
            let len = bytes.len() as u64;
            if let Err(error) = pipe.try_send(bytes) {
                self.outbox.push_front(error.into_inner());
                break;
            }
            self.handed += len;
        }
        // A recorder tells what has arrived. Of a provider's own terminal it is
        // only known that it has the bytes.
        if self.terminal.as_ref().is_some_and(|live| live.taken.is_none()) {
            self.handing.handed(self.handed);
        }
    }

    /// Closes the terminal. What its pipe still holds goes into the log. That
    /// exceeds the window by at most one pipe.
    pub(super) fn hang_up(&mut self) {
        self.resize = None;
        let Some(live) = self.terminal.take() else { return };
        if let Some(mut output) = live.output {
            output.close();
            while let Some(chunk) = output.try_recv() {
                append(&self.log, &self.shared, chunk);
            }
        }
    }

    fn workspace(&self, sandbox: SandboxRef, cwd: Option<String>) -> Workspace {
        let Command { cwd: wanted, user, .. } = &self.blueprint.command;
        let mounts: Vec<_> = self.blueprint.mounts.iter().map(|mount| mount.path.clone()).collect();
        let mut roots = mounts.clone();
        let cwd = if mounts.is_empty() { cwd } else { wanted.clone() };
        roots.extend(cwd.filter(|cwd| !mounts.contains(cwd)));
        Workspace { provider: self.provider(), sandbox, call: self.call.clone(), roots, mounts, user: user.clone() }
    }
}
