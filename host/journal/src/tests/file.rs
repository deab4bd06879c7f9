//! The file: what a killed process leaves, who may open it, how full it gets.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;

use super::*;
use crate::sqlite::bounds::PAGE_BYTES;
use crate::sqlite::file::LOCK;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_next_process_finds_what_the_last_one_wrote() {
    let state = tempfile::tempdir().unwrap();
    let journal = Sqlite::open(state.path()).unwrap();
    journal.create("s", &owner("a", "1"), &entry("n"), at(30)).await.unwrap();
    let before = journal.list().await.unwrap();
    drop(journal);
    let journal = Sqlite::open(state.path()).unwrap();
    assert_eq!(journal.list().await.unwrap(), before);
}

/// Of storage version 1 knew only where it is mounted.
#[tokio::test]
async fn a_file_of_version_1_is_read_and_becomes_one_of_today() {
    let state = tempfile::tempdir().unwrap();
    let written = Sqlite::open(state.path()).unwrap();
    written.create("s", &owner("a", "1"), &entry("n"), at(30)).await.unwrap();
    drop(written);
    let file = Connection::open(state.path().join(FILE)).unwrap();
    let paths = r#"UPDATE session SET entry = json_set(entry, '$.storage', json('["/a","/b c"]')); DROP TABLE sign_in"#;
    file.execute_batch(paths).unwrap();
    file.pragma_update(None, "user_version", 1).unwrap();
    drop(file);
    for _ in 0..2 {
        let [record] = &Sqlite::open(state.path()).unwrap().list().await.unwrap()[..] else { panic!("one session") };
        let paths: Vec<_> = record.entry.storage.iter().map(|mount| &*mount.path).collect();
        assert_eq!(paths, ["/a", "/b c"]);
        assert!(record.entry.storage.iter().all(|mount| mount.settings.is_empty()), "nobody can go on with it");
        let found = Entry { storage: entry("n").storage, ..record.entry.clone() };
        assert_eq!(found, Entry { name: None, driver: None, ..entry("n") });
    }
}

/// Sessions of version 3 had no names, and version 4 did not know who drives.
#[tokio::test]
async fn a_file_of_version_3_is_read_and_becomes_one_of_today() {
    let state = tempfile::tempdir().unwrap();
    let written = Sqlite::open(state.path()).unwrap();
    written.create("s", &owner("a", "1"), &entry("n"), at(30)).await.unwrap();
    drop(written);
    let file = Connection::open(state.path().join(FILE)).unwrap();
    file.execute_batch("UPDATE session SET entry = json_remove(entry, '$.name', '$.driver')").unwrap();
    file.pragma_update(None, "user_version", 3).unwrap();
    drop(file);
    let [record] = &Sqlite::open(state.path()).unwrap().list().await.unwrap()[..] else { panic!("one session") };
    assert_eq!(record.entry, Entry { name: None, driver: None, ..entry("n") });
}

#[tokio::test]
async fn what_was_answered_is_in_the_files_that_a_killed_process_leaves() {
    let (state, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let journal = sqlite(state.path());
    for i in 0..50 {
        let id = format!("s{i:02}");
        journal.create(&id, &owner("a", "1"), &intent(&id), at(30)).await.unwrap();
        journal.update(&id, 1, &entry(&id)).await.unwrap();
    }
    // As after `kill -9`: no close, no checkpoint, and the shared memory lost.
    for name in [FILE.to_owned(), format!("{FILE}-wal")] {
        fs::copy(state.path().join(&name), left.path().join(&name)).unwrap();
    }
    assert_eq!(sqlite(left.path()).list().await.unwrap(), journal.list().await.unwrap());
}

#[tokio::test]
async fn a_second_process_is_told_who_serves_and_may_when_the_first_has_gone() {
    let state = tempfile::tempdir().unwrap();
    let first = Sqlite::open(state.path()).unwrap();
    let told = words(Sqlite::open(state.path()));
    for part in [&*std::process::id().to_string(), &*state.path().display().to_string(), "--state-dir"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    drop(first);
    Sqlite::open(state.path()).unwrap();
}

#[test]
fn a_stale_lock_file_of_any_content_is_no_lock() {
    let state = tempfile::tempdir().unwrap();
    fs::write(state.path().join(LOCK), "4294967295\nand more than a pid").unwrap();
    let _journal = Sqlite::open(state.path()).unwrap();
    assert_eq!(fs::read_to_string(state.path().join(LOCK)).unwrap(), format!("{}\n", std::process::id()));
}

#[test]
fn no_other_user_reads_it() {
    let state = tempfile::tempdir().unwrap();
    fs::write(state.path().join(FILE), "").unwrap();
    fs::set_permissions(state.path().join(FILE), Permissions::from_mode(0o644)).unwrap();
    let _journal = Sqlite::open(state.path()).unwrap();
    for name in [FILE.to_owned(), format!("{FILE}-wal"), format!("{FILE}-shm"), LOCK.to_owned()] {
        assert_eq!(mode(&state.path().join(&name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_file_of_a_later_version_is_refused_and_left_as_it_is() {
    let state = tempfile::tempdir().unwrap();
    let journal = sqlite(state.path());
    journal.create("s", &owner("a", "1"), &entry("n"), at(30)).await.unwrap();
    drop(journal);
    let file = state.path().join(FILE);
    Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&file).unwrap();
    let told = words(Sqlite::open(state.path()));
    assert!(told.contains("version 99") && told.contains("newer program"), "{told}");
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let state = tempfile::tempdir().unwrap();
    fs::create_dir(state.path().join(FILE)).unwrap();
    let told = words(Sqlite::open(state.path()));
    assert!(told.contains(&state.path().join(FILE).display().to_string()), "{told}");
    let told = words(Sqlite::open(&state.path().join("missing")));
    assert!(told.contains(LOCK), "{told}");
}

#[tokio::test]
async fn an_entry_beyond_its_bound_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let journal = sqlite(state.path());
    let large = entry(&"n".repeat(64 * 1024));
    assert!(words(journal.create("s", &owner("a", "1"), &large, at(30)).await).contains("65536"));
    journal.create("s", &owner("a", "1"), &entry("n"), at(30)).await.unwrap();
    words(journal.update("s", 1, &large).await);
    assert_eq!(journal.list().await.unwrap()[0].entry, entry("n"));
}

#[tokio::test]
async fn without_room_a_change_fails_whole_and_room_made_is_used() {
    let state = tempfile::tempdir().unwrap();
    let journal = Sqlite::at(&state.path().join(FILE), 16 * PAGE_BYTES).unwrap();
    let mut written = Vec::new();
    let told = loop {
        let id = format!("s{:04}", written.len());
        match journal.create(&id, &owner("a", "1"), &entry(&id), at(30)).await {
            Ok(_) => written.push(id),
            failed => break words(failed),
        }
    };
    assert!(told.contains("free some space") && told.contains(FILE), "{told}");
    assert!(written.len() > 40, "{}", written.len());

    let ids = |records: Vec<Record>| records.into_iter().map(|record| record.id).collect::<Vec<_>>();
    assert_eq!(ids(journal.list().await.unwrap()), written, "no more and no less than was answered");
    let long = entry(&"n".repeat(8 * 1024));
    words(journal.update(&written[0], 1, &long).await);
    assert_eq!(journal.list().await.unwrap()[0].entry, entry("s0000"), "a change that fails leaves what was");
    assert_eq!(journal.renew(&owner("a", "1"), at(60)).await, Ok(written.len() as u64), "leases go on");

    for id in written.drain(..20) {
        journal.remove(&id, 1).await.unwrap();
    }
    journal.create("new", &owner("a", "1"), &entry("new"), at(30)).await.unwrap();
    written.insert(0, "new".to_owned());
    drop(journal);
    assert_eq!(ids(sqlite(state.path()).list().await.unwrap()), written);
}

/// Where the test below finds its small disk.
const DISK: &str = "SANDBOX_BROKER_TEST_DISK";

/// On a file system of 1 MiB, in a process and a namespace of its own.
#[test]
fn on_a_full_disk_changes_fail_whole_until_there_is_room() {
    let disk = tempfile::tempdir().unwrap();
    let output = Command::new("bwrap")
        .args(["--dev-bind", "/", "/", "--size", "1048576", "--tmpfs"])
        .arg(disk.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "tests::file::inside_a_full_disk", "--ignored", "--nocapture"])
        .env(DISK, disk.path())
        .output()
        .expect("bubblewrap is installed, as for the sandboxes themselves");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

#[tokio::test]
#[ignore = "the test above runs it on its disk"]
async fn inside_a_full_disk() {
    let disk = PathBuf::from(std::env::var_os(DISK).expect("the test above sets it"));
    let journal = sqlite(&disk);
    let mut written = 0;
    let fill = async |written: &mut usize| loop {
        let id = format!("s{written:06}");
        match journal.create(&id, &owner("a", "1"), &entry(&id), at(30)).await {
            Ok(_) => *written += 1,
            failed => break words(failed),
        }
    };
    journal.create("first", &owner("a", "1"), &intent("first"), at(30)).await.unwrap();
    let mut filler = fs::File::create(disk.join("filler")).unwrap();
    while std::io::Write::write(&mut filler, &[0; 512]).is_ok() {}
    let told = fill(&mut written).await;
    assert!(told.contains("free some space"), "{told}");
    assert_eq!(journal.list().await.unwrap().len(), 1 + written, "no more and no less than was answered");
    let left = tempfile::tempdir().unwrap();
    for name in [FILE.to_owned(), format!("{FILE}-wal")] {
        fs::copy(disk.join(&name), left.path().join(&name)).unwrap();
    }
    assert_eq!(sqlite(left.path()).list().await.unwrap(), journal.list().await.unwrap(), "and so for the next process");

    drop(filler);
    fs::remove_file(disk.join("filler")).unwrap();
    let before = written;
    fill(&mut written).await;
    assert!(written > before, "room is used");
    assert_eq!(journal.list().await.unwrap().len(), 1 + written);
}
