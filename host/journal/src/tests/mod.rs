//! What a journal promises, and what its file does when it is full, damaged,
//! of another version or somebody else's.

mod contract;
mod damage;
mod file;
mod sign_ins;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::sqlite::bounds::FILE_BYTES;
use super::sqlite::file::FILE;
use super::{Entry, Error, Journal, Mount, Owner, Record, Sqlite, State, Terminal};

/// A moment, `seconds` after the tests' first one.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn owner(broker: &str, instance: &str) -> Owner {
    Owner { broker: broker.to_owned(), instance: instance.to_owned() }
}

/// An entry of which every member is set, told apart by `nonce`.
fn entry(nonce: &str) -> Entry {
    Entry {
        state: State::Running,
        provider: "local".to_owned(),
        nonce: nonce.to_owned(),
        sandbox: Some("sbx-1".to_owned()),
        terminal: Some(Terminal::Recorded { directory: "/run/recorder".to_owned() }),
        durable: true,
        user: Some("anna".to_owned()),
        name: Some("the build".to_owned()),
        size: (132, 43),
        created: at(0),
        storage: vec![mount("files"), mount("data")],
        driver: Some("w1".to_owned()),
    }
}

fn mount(name: &str) -> Mount {
    Mount {
        id: format!("id-{name}"),
        provider: "azure".to_owned(),
        settings: "5e77".to_owned(),
        path: format!("/workspace/{name}"),
        read_only: true,
        begun: 2,
        grant: Some("eyJ2IjoxfQ==".to_owned()),
    }
}

/// One of which as little as possible is.
fn intent(nonce: &str) -> Entry {
    Entry {
        state: State::Intent,
        sandbox: None,
        terminal: None,
        durable: false,
        user: None,
        name: None,
        storage: Vec::new(),
        ..entry(nonce)
    }
}

fn sqlite(directory: &Path) -> Sqlite {
    Sqlite::at(&directory.join(FILE), FILE_BYTES).unwrap()
}

/// What the journal says is wrong.
#[track_caller]
fn words<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Failed(words)) => words,
        other => panic!("{other:?} instead of words"),
    }
}

/// Two brokers with one file.
fn two_handles() -> (TempDir, [Arc<dyn Journal>; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let handles = [Arc::new(sqlite(directory.path())) as _, Arc::new(sqlite(directory.path())) as _];
    (directory, handles)
}

contract::holds!(two_handles);

/// The journal in memory, on which other tests stand, is one as well.
mod memory {
    use std::sync::Arc;

    use super::contract;
    use crate::Journal;
    use crate::memory::Memory;

    fn two_handles() -> ((), [Arc<dyn Journal>; 2]) {
        let journal = Arc::new(Memory::default());
        ((), [Arc::clone(&journal) as _, journal])
    }

    contract::holds!(two_handles);
}
