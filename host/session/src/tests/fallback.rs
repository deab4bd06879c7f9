//! A provider that makes sandboxes and runs processes, and can do nothing else.

use bytes::Bytes;
use sandbox_recorder::wire::{Hello, Size, ToBroker};

use super::fake::{BRING, Reply, error};
use super::*;
use crate::Durability;
use sandbox_broker_core::sandbox::{Code, Exit, Fault};
use sandbox_broker_fallback::program::SH;

const PROGRAM: Bytes = Bytes::from_static(b"the program");

/// A bed whose provider has neither terminals nor files.
fn bare() -> Bed {
    let bed = Bed::new();
    {
        let mut abilities = bed.fake.abilities.lock().unwrap();
        (abilities.terminal, abilities.reattach, abilities.files) = (false, false, false);
    }
    bed.change(|blueprint| blueprint.recorder = Some(PROGRAM));
    bed
}

impl Bed {
    /// The recorder's next shell says `hi` and exits.
    fn speaks(&self) {
        let mut said = Vec::new();
        let size = Size { cols: 80, rows: 24 };
        ToBroker::Hello(Hello { pid: 1, start: 0, end: 0, input: 0, size }).encode(&mut said);
        ToBroker::Output { offset: 0, bytes: b"hi" }.encode(&mut said);
        ToBroker::Exit { code: 7, signal: 0, end: 2 }.encode(&mut said);
        self.fake.prints(SH, vec![said.into()]);
    }

    /// What a client of level 0 is told.
    async fn told(&self) -> Told {
        let client = self.open(None).unwrap();
        let told = Told::read_to_end(client.reader()).await;
        drop(client);
        self.all_gone().await;
        told
    }
}

#[tokio::test(start_paused = true)]
async fn every_shell_runs_under_the_recorder_where_a_provider_only_runs_processes() {
    for kept in [false, true] {
        let bed = bare();
        bed.speaks();
        let client = bed.sessions.open(driver("one"), kept).unwrap();
        let mut told = Told::default();
        let mut reader = client.reader();
        while told.outcome.is_none() {
            told.take(soon(reader.next()).await.unwrap());
        }
        assert_eq!(told.output, b"hi", "kept: {kept}");
        assert!(matches!(told.ready, Some(Event::Ready { durability: Durability::Durable, .. })), "{:?}", told.ready);
        assert!(told.ended().contains('7'), "{}", told.ended());
        let brought = bed.fake.ran(BRING);
        assert_eq!(brought.len(), 1);
        assert_eq!((brought[0].stdin.as_slice(), brought[0].command.user.as_deref()), (&*PROGRAM, Some("root")));
        assert_eq!(brought[0].command.argv[4], PROGRAM.len().to_string());
        let started = &bed.fake.ran(SH)[0].command.argv;
        assert_eq!(started[4], "run");
        assert_ne!(started.contains(&"--silent".to_owned()), kept, "a client of level 0 answers programs itself");
        drop(reader);
        drop(client);
        bed.all_gone().await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_root_takes_no_recorder_its_user_does() {
    let bed = bare();
    bed.fake.program(BRING, Duration::ZERO, Exit::Code(73), "");
    bed.speaks();
    assert_eq!(bed.told().await.output, b"hi");
    let users: Vec<_> = bed.fake.ran(BRING).into_iter().map(|ran| ran.command.user).collect();
    assert_eq!(users, [Some("root".to_owned()), None]);

    let bed = bare();
    bed.fake.abilities.lock().unwrap().root = false;
    bed.speaks();
    assert_eq!(bed.told().await.output, b"hi");
    assert_eq!(bed.fake.ran(BRING).len(), 1, "there is no root to ask");
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_was_cut_off_is_brought_again() {
    let bed = bare();
    bed.fake.program(BRING, Duration::ZERO, Exit::Code(75), "");
    bed.speaks();
    assert_eq!(bed.told().await.output, b"hi");
    assert_eq!(bed.fake.ran(BRING).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_shell_that_cannot_be_says_what_the_plugin_would_have_to_export() {
    // No place in the sandbox takes it.
    let bed = bare();
    for _ in 0..4 {
        bed.fake.program(BRING, Duration::ZERO, Exit::Code(73), "");
    }
    let ended = bed.told().await.ended();
    for part in ["no directory of the sandbox takes a program", "`fake`", "does not export the interface `terminal`"] {
        assert!(ended.contains(part), "{ended}");
    }

    // Its image has no programs.
    let bed = bare();
    for _ in 0..4 {
        bed.fake.program(BRING, Duration::ZERO, Exit::Code(127), "");
    }
    let ended = bed.told().await.ended();
    for part in ["lacks `sh`", "exports `files`", "does not export the interface `terminal`"] {
        assert!(ended.contains(part), "{ended}");
    }

    // The provider says so itself.
    let bed = bare();
    for _ in 0..4 {
        bed.fake.script(BRING, Duration::ZERO, Reply::Fail(error(Fault::Provider, Code::NotFound)));
    }
    let ended = bed.told().await.ended();
    assert!(ended.contains("by its /bin/sh: scripted NotFound"), "{ended}");

    // Its processes read nothing.
    let bed = bare();
    bed.fake.abilities.lock().unwrap().stdin = false;
    let ended = bed.told().await.ended();
    assert!(ended.contains("does not export `files`") && bed.fake.ran(BRING).is_empty(), "{ended}");

    // The broker has none.
    let bed = bare();
    bed.change(|blueprint| blueprint.recorder = None);
    let ended = bed.told().await.ended();
    assert!(ended.contains("has no sandbox-recorder") && bed.fake.asked("open").is_empty(), "{ended}");
}
