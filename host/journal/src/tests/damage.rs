//! A file with anything in it: an error in words, never a panic, and never a
//! file that was there and is not any more.

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use rusqlite::Connection;

use super::*;

/// The bytes of a good file with some sessions.
fn good() -> Vec<u8> {
    let state = tempfile::tempdir().unwrap();
    let journal = sqlite(state.path());
    block_on(async {
        for i in 0..40 {
            let id = format!("s{i:02}");
            journal.create(&id, &owner("a", "1"), &entry(&id), at(30)).await.unwrap();
        }
    });
    drop(journal);
    fs::read(state.path().join(FILE)).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Makes every call. Whatever it answers, it answers.
async fn every_call(journal: &Sqlite) {
    let me = owner("a", "2");
    let _ = journal.list().await;
    let _ = journal.create("new", &me, &entry("new"), at(60)).await;
    for id in ["s00", "s07", "s39", "new"] {
        let _ = journal.claim(id, 1, &me, at(40), at(60)).await;
        let _ = journal.update(id, 2, &intent(id)).await;
        let _ = journal.remove(id, 2).await;
    }
    let _ = journal.renew(&me, at(90)).await;
    let _ = journal.list().await;
}

/// Opens a file with this content; a refusal must leave it.
fn survives(content: &[u8]) -> Result<(), TestCaseError> {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join(FILE);
    fs::write(&file, content).unwrap();
    match Sqlite::open(state.path()) {
        Ok(journal) => block_on(every_call(&journal)),
        Err(error) => {
            prop_assert!(matches!(&error, Error::Failed(words) if words.contains(FILE)), "{error:?}");
            prop_assert_eq!(fs::metadata(&file).unwrap().len(), content.len() as u64);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    // SQLite takes one byte for none, whatever it is.
    #[test]
    fn random_bytes_are_refused_and_left_as_they_are(content in vec(any::<u8>(), 2..8192)) {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join(FILE), &content).unwrap();
        let told = words(Sqlite::open(state.path()));
        prop_assert!(told.contains("damaged") && told.contains("move it away"), "{}", told);
        prop_assert_eq!(fs::read(state.path().join(FILE)).unwrap(), content);
    }

    #[test]
    fn a_good_file_with_changed_bytes_is_survived(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..16),
        headers in vec((0..200_usize, any::<u8>()), 0..3),
    ) {
        let mut content = GOOD.clone();
        for (index, byte) in changes {
            let at = index.index(content.len());
            content[at] = byte;
        }
        for (at, byte) in headers {
            content[at] = byte;
        }
        survives(&content)?;
    }

    #[test]
    fn a_good_file_cut_short_is_survived(keep in any::<prop::sample::Index>()) {
        survives(&GOOD[..keep.index(GOOD.len())])?;
    }
}

#[test]
fn random_text_for_an_entry_is_told_of_its_session() {
    let stored = Stored::new();
    proptest!(|(text in ".{0,200}")| {
        prop_assume!(serde_json::from_str::<Entry>(&text).is_err());
        let told = words(stored.read_as(&text));
        prop_assert!(told.contains("session s: ") && told.contains("damaged"), "{}", told);
    });
}

#[test]
fn a_changed_entry_is_read_or_told() {
    let stored = Stored::new();
    proptest!(|(at in any::<prop::sample::Index>(), with in "[ -~]{0,3}", cut in 0..4_usize)| {
        let mut text = serde_json::to_string(&entry("n")).unwrap();
        let from = at.index(text.len());
        text.replace_range(from..(from + cut).min(text.len()), &with);
        match (serde_json::from_str::<Entry>(&text), stored.read_as(&text)) {
            (Ok(entry), Ok(read)) => prop_assert_eq!(entry, read),
            (Err(_), Err(Error::Failed(_))) => {}
            (expected, read) => prop_assert!(false, "{:?} and {:?}", expected, read),
        }
    });
}

#[test]
fn an_entry_with_a_member_of_another_version_is_refused() {
    let text = serde_json::to_string(&entry("n")).unwrap().replacen('{', "{\"colour\":\"red\",", 1);
    let told = words(Stored::new().read_as(&text));
    assert!(told.contains("colour"), "{told}");
}

static GOOD: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(good);

/// A journal with one session, `s`.
struct Stored {
    state: TempDir,
    journal: Sqlite,
}

impl Stored {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let journal = sqlite(state.path());
        block_on(journal.create("s", &owner("a", "1"), &entry("n"), at(30))).unwrap();
        Stored { state, journal }
    }

    /// Its entry when `text` is stored.
    fn read_as(&self, text: &str) -> Result<Entry, Error> {
        change(self.state.path(), "UPDATE session SET entry = ?1", text);
        Ok(block_on(self.journal.list())?.remove(0).entry)
    }
}

/// Changes the file as no journal would.
fn change(state: &Path, statement: &str, value: impl rusqlite::ToSql) {
    Connection::open(state.join(FILE)).unwrap().execute(statement, [value]).unwrap();
}

#[tokio::test]
async fn numbers_that_no_journal_writes_are_told() {
    let state = tempfile::tempdir().unwrap();
    let journal = sqlite(state.path());
    journal.create("s", &owner("a", "1"), &entry("n"), at(30)).await.unwrap();
    for ends in [i64::MIN, -1, i64::MAX] {
        change(state.path(), "UPDATE session SET lease_ends = ?1", ends);
        assert_eq!(journal.list().await.unwrap().len(), 1, "any time is one");
    }
    change(state.path(), "UPDATE session SET epoch = ?1", -1);
    for told in [
        words(journal.list().await),
        words(journal.update("s", 1, &entry("n")).await),
        words(journal.remove("s", 1).await),
        words(journal.claim("s", 1, &owner("a", "2"), at(0), at(30)).await),
    ] {
        assert!(told.contains("damaged") && told.contains("session s"), "{told}");
    }
}
