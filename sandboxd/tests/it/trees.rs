//! Directory trees that nobody makes by accident, and what becomes of the server that has to remove them.

use std::path::Path;

use rustix::fs::StatVfsMountFlags;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::client::{PROGRAM, Sandbox, TestProgram, is_root, until, without_root};

/// Enough for what recurses to overflow a stack of 2 MiB; by hand it was tried with 200,000.
const LEVELS: u32 = 20_000;

/// Makes directories in each other, some closed to their owner, and a file in the last.
async fn dig(sandbox: &Sandbox) {
    let program = format!(
        "import os
os.chdir('/workspace')
for level in range({LEVELS}):
    os.mkdir('d')
    if level % 1000 == 0: os.mkdir('closed'); os.mkdir('closed/x'); os.chmod('closed', 0)
    os.chdir('d')
open('file', 'w').write('x')
print('dug')"
    );
    let output = sandbox.python_as("user", &program).await.events.rest().await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "dug\n", "{}", String::from_utf8_lossy(&output.stderr));
}

/// A file system in memory where programs may be run, or the usual one: some disks take milliseconds for each directory.
fn place() -> TempDir {
    let memory = Path::new("/dev/shm");
    match rustix::fs::statvfs(memory) {
        Ok(found) if !found.f_flag.contains(StatVfsMountFlags::NOEXEC) => tempfile::tempdir_in(memory).unwrap(),
        _ => tempfile::tempdir().unwrap(),
    }
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

/// Promise: a tree of any depth is removed when its sandbox ends, whatever its permissions; the server lives on meanwhile, and
/// one that was killed before it could starts again at once and removes it then.
#[tokio::test(flavor = "multi_thread")]
async fn a_deep_tree_ends_with_its_sandbox() {
    for as_root in if is_root() { &[true, false][..] } else { &[false] } {
        let command = if *as_root || !is_root() { Command::new(PROGRAM) } else { without_root() };
        let (mut program, _) = TestProgram::start_in(place(), command, &[]).await;
        let (one, other) = (program.api.create(json!({})).await, program.api.create(json!({})).await);
        let neighbour = program.api.create(json!({})).await;
        tokio::join!(dig(&one), dig(&other));
        assert_eq!(program.api.kill(&one.id).await, 204);
        let mut shell = neighbour.shell().await;
        let trash = program.directory.path().join("trash");
        let mut echoes = 0;
        while !is_empty(&trash) || echoes == 0 {
            echoes += 1;
            shell.input(format!("echo is:$(({echoes}+1))\n")).await;
            shell.shows(&format!("is:{}", echoes + 1)).await;
        }
        assert_eq!(program.child.try_wait().unwrap(), None, "the server lives");

        program.child.kill().await.unwrap();
        let TestProgram { directory, .. } = program;
        let trash = directory.path().join("trash");
        let left = directory.path().join("sandboxes");
        assert!(left.join(&other.id).exists(), "something is left to remove");
        // The tree of the other user can be removed by root, too.
        std::fs::remove_file(directory.path().join("announcement")).unwrap();
        let (mut program, _) = TestProgram::start_in(directory, Command::new(PROGRAM), &[]).await;
        assert!(is_empty(&left), "it was moved away before the server listens");
        assert_eq!(program.api.create(json!({})).await.run("echo works").await.1, "works\n");
        until("it is removed", || async { is_empty(&trash).then_some(()) }).await;
        assert_eq!(program.child.try_wait().unwrap(), None, "the server lives");
    }
}

/// Promise: directories of sandboxes that lie on another file system than the rest of the state are removed too, when a
/// sandbox ends and when a server finds them at its start.
#[tokio::test(flavor = "multi_thread")]
async fn directories_on_another_file_system_are_removed_too() {
    if !is_root() {
        println!("skipped: needs root to mount a file system");
        return;
    }
    // The fourth argument of the program is its state directory.
    let script = "mkdir -p -m 700 \"$4/sandboxes\" && mount -t tmpfs -o mode=700 tmpfs \"$4/sandboxes\" \
        && mkdir -p \"$4/sandboxes/left/d\" && touch \"$4/sandboxes/left/d/file\" && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, PROGRAM]);
    let (program, _) = TestProgram::start_by(command, &[]).await;
    let pid = program.child.id().unwrap();
    let state = program.directory.path().strip_prefix("/").unwrap();
    let sandboxes = Path::new("/proc").join(pid.to_string()).join("root").join(state).join("sandboxes");
    let sandbox = program.api.create(json!({})).await;
    assert_eq!(sandbox.run("mkdir -p a/b && touch a/b/c && echo made").await.1, "made\n");
    assert!(sandboxes.join(&sandbox.id).exists(), "it lies there");
    until("what was left is gone", || async { (!sandboxes.join("left").exists()).then_some(()) }).await;
    assert_eq!(program.api.kill(&sandbox.id).await, 204);
    until("its directory is gone", || async { is_empty(&sandboxes).then_some(()) }).await;
    assert_eq!(program.api.create(json!({})).await.run("echo next").await.1, "next\n");
}
