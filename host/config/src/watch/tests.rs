//! Files replaced in every way that editors and Kubernetes have, for real.

use std::fs::{create_dir, create_dir_all, read_to_string, remove_dir_all, remove_file, rename, write};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::symlink;

use notify::event::Flag;
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

/// Less than [`LOOK`], so that only a watch can have told in time, and
/// still long for a busy machine.
const SOON: Duration = Duration::from_secs(4);

struct Watched {
    dir: TempDir,
    watcher: Watcher,
    signals: mpsc::Receiver<()>,
}

impl Watched {
    /// Watches `file` in a new directory, after `setup` has filled that.
    async fn new(file: &str, setup: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        setup(dir.path());
        let (watcher, signals) = Watcher::new(vec![dir.path().join(file)]).unwrap();
        let mut watched = Watched { dir, watcher, signals };
        watched.signal().await;
        watched
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn signal(&mut self) {
        timeout(SOON, self.signals.recv()).await.expect("a signal in time").expect("the watcher runs");
    }
}

fn with_file(dir: &Path) {
    write(dir.join("f"), "old").unwrap();
}

#[tokio::test]
async fn written_in_place() {
    let mut w = Watched::new("f", with_file).await;
    let mut file = fs::OpenOptions::new().write(true).open(w.path("f")).unwrap();
    file.seek(io::SeekFrom::Start(1)).unwrap();
    file.write_all(b"x").unwrap();
    w.signal().await;
    drop(file);
    w.signal().await;
}

#[tokio::test]
async fn truncated_and_written() {
    let mut w = Watched::new("f", with_file).await;
    write(w.path("f"), "new").unwrap();
    w.signal().await;
}

#[tokio::test]
async fn renamed_over_and_then_again() {
    let mut w = Watched::new("f", with_file).await;
    for _ in 0..3 {
        write(w.path("f.tmp"), "new").unwrap();
        rename(w.path("f.tmp"), w.path("f")).unwrap();
        w.signal().await;
    }
}

#[tokio::test]
async fn moved_to_a_backup_and_made_again_as_vim_does() {
    let mut w = Watched::new("f", with_file).await;
    rename(w.path("f"), w.path("f~")).unwrap();
    write(w.path("f"), "new").unwrap();
    remove_file(w.path("f~")).unwrap();
    w.signal().await;
    write(w.path("f"), "newer").unwrap();
    w.signal().await;
}

#[tokio::test]
async fn deleted_and_made_again() {
    let mut w = Watched::new("f", with_file).await;
    remove_file(w.path("f")).unwrap();
    w.signal().await;
    write(w.path("f"), "new").unwrap();
    w.signal().await;
}

#[tokio::test]
async fn a_link_is_swapped_and_the_new_target_written() {
    let mut w = Watched::new("f", |dir| {
        for target in ["a", "b"] {
            create_dir(dir.join(target)).unwrap();
            write(dir.join(target).join("f"), target).unwrap();
        }
        symlink("a/f", dir.join("f")).unwrap();
    })
    .await;
    write(w.path("a/f"), "through the link").unwrap();
    w.signal().await;
    symlink("b/f", w.path("f.tmp")).unwrap();
    rename(w.path("f.tmp"), w.path("f")).unwrap();
    w.signal().await;
    write(w.path("b/f"), "through the new link").unwrap();
    w.signal().await;
}

#[tokio::test]
async fn a_config_map_is_updated_several_times() {
    let version = |dir: &Path, n: u32| {
        let real = format!("..2024_{n}");
        create_dir(dir.join(&real)).unwrap();
        write(dir.join(&real).join("f"), n.to_string()).unwrap();
        symlink(real, dir.join("..data_tmp")).unwrap();
        rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    };
    let mut w = Watched::new("f", |dir| {
        version(dir, 0);
        symlink("..data/f", dir.join("f")).unwrap();
    })
    .await;
    for n in 1..4 {
        version(w.dir.path(), n);
        remove_dir_all(w.path(&format!("..2024_{}", n - 1))).unwrap();
        w.signal().await;
        assert_eq!(read_to_string(w.path("f")).unwrap(), n.to_string());
    }
}

#[tokio::test]
async fn a_directory_above_is_exchanged() {
    let mut w = Watched::new("a/b/f", |dir| {
        create_dir_all(dir.join("a/b")).unwrap();
        write(dir.join("a/b/f"), "old").unwrap();
    })
    .await;
    create_dir_all(w.path("a2/b")).unwrap();
    write(w.path("a2/b/f"), "new").unwrap();
    rename(w.path("a"), w.path("a1")).unwrap();
    rename(w.path("a2"), w.path("a")).unwrap();
    w.signal().await;
    write(w.path("a/b/f"), "newer").unwrap();
    w.signal().await;
}

#[tokio::test]
async fn a_file_comes_to_be_with_its_directories() {
    let mut w = Watched::new("a/b/f", |_| {}).await;
    create_dir_all(w.path("a/b")).unwrap();
    w.signal().await;
    write(w.path("a/b/f"), "new").unwrap();
    w.signal().await;
}

#[tokio::test]
async fn the_set_of_files_changes() {
    let mut w = Watched::new("f", with_file).await;
    write(w.path("g"), "old").unwrap();
    let both = vec![w.path("f"), w.path("g")];
    w.watcher.set_paths(both.clone());
    w.signal().await;
    w.watcher.set_paths(both);
    write(w.path("g"), "new").unwrap();
    w.signal().await;
    write(w.path("f"), "new").unwrap();
    w.signal().await;
}

#[tokio::test]
async fn links_in_a_circle_are_endured() {
    let mut w = Watched::new("f", |dir| {
        symlink("g", dir.join("f")).unwrap();
        symlink("f", dir.join("g")).unwrap();
    })
    .await;
    remove_file(w.path("f")).unwrap();
    w.signal().await;
    write(w.path("f"), "new").unwrap();
    w.signal().await;
}

#[tokio::test]
async fn where_the_system_tells_nothing_it_looks() {
    let dir = tempfile::tempdir().unwrap();
    with_file(dir.path());
    let (_watcher, mut signals) = Watcher::start(vec![dir.path().join("f")], |_, _| None).unwrap();
    signals.recv().await.expect("the first signal");
    write(dir.path().join("f"), "new and longer").unwrap();
    timeout(LOOK + SOON, signals.recv()).await.expect("a signal in time").expect("the watcher runs");
}

#[tokio::test]
async fn after_a_storm_of_changes_of_every_kind_the_last_one_was_seen() {
    let mut w = Watched::new("f", with_file).await;
    let dir = w.dir.path().to_owned();
    let storm = std::thread::spawn(move || {
        let file = dir.join("f");
        for n in 0..200 {
            let text = n.to_string();
            match n % 4 {
                0 => write(&file, text).unwrap(),
                1 => {
                    write(dir.join("tmp"), text).unwrap();
                    rename(dir.join("tmp"), &file).unwrap();
                }
                2 => {
                    remove_file(&file).unwrap();
                    write(&file, text).unwrap();
                }
                _ => {
                    let target = format!("target{n}");
                    write(dir.join(&target), text).unwrap();
                    symlink(target, dir.join("tmp")).unwrap();
                    rename(dir.join("tmp"), &file).unwrap();
                    // The next write would go through the link.
                    if n < 199 {
                        remove_file(&file).unwrap();
                        write(&file, "").unwrap();
                    }
                }
            }
        }
    });
    let mut signals = 0;
    while read_to_string(w.path("f")).ok().as_deref() != Some("199") {
        w.signal().await;
        signals += 1;
    }
    storm.join().unwrap();
    assert!(signals < 200, "changes that follow each other are told together, not {signals} times");
}

#[tokio::test]
async fn a_dropped_watcher_ends() {
    let mut w = Watched::new("f", with_file).await;
    drop(w.watcher);
    assert_eq!(timeout(SOON, w.signals.recv()).await.expect("an end in time"), None);
}

#[test]
fn only_changes_of_names_on_the_way_count() {
    let names = BTreeSet::from([PathBuf::from("/d"), PathBuf::from("/d/f")]);
    let event = |kind, path: &str| Event::new(kind).add_path(path.into());
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    let read = EventKind::Access(AccessKind::Close(AccessMode::Read));
    let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
    assert!(concerns(&event(EventKind::Any, "/d/f"), &names));
    assert!(concerns(&event(EventKind::Any, "/d"), &names));
    assert!(concerns(&event(written, "/d/f"), &names));
    assert!(!concerns(&event(EventKind::Any, "/d/other"), &names));
    assert!(!concerns(&event(EventKind::Any, "/d/f/below"), &names));
    assert!(!concerns(&event(read, "/d/f"), &names));
    assert!(!concerns(&event(opened, "/d/f"), &names));
    assert!(concerns(&Event::new(EventKind::Other).set_flag(Flag::Rescan), &names), "events were lost");
}

#[test]
fn a_way_has_every_name_that_a_change_can_hide_behind() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    create_dir_all(root.join("real/sub")).unwrap();
    symlink("real/../real", root.join("link")).unwrap();
    symlink(root.join("link/sub"), root.join("absolute")).unwrap();
    let names: BTreeSet<PathBuf> = way(&root.join("absolute/../sub/f")).into_iter().collect();
    for name in ["absolute", "link", "real", "real/sub", "real/sub/f"] {
        assert!(names.contains(&root.join(name)), "{name} in {names:?}");
    }
    assert!(!names.contains(&root.join("link/sub")), "a name behind a link is named by where it is");
}
