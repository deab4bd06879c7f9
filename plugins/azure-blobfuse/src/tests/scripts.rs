//! The scripts in a real shell: that it takes them, and what they do where no
//! mount is needed.

use std::path::Path;
use std::process::{Command, Output};

use crate::plan::SCRIPTS;

/// Runs a script as the plan does, without a mount.
fn run(name: &str, arguments: &[&str]) -> Output {
    let (_, script) = SCRIPTS.iter().find(|(found, _)| *found == name).expect("a script");
    Command::new("/bin/sh").args(["-c", script, name]).args(arguments).output().expect("a shell")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A directory that goes with its test.
struct Dir(std::path::PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("azure-blobfuse-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("text")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a directory");
        std::fs::write(path, text).expect("written");
    }

    fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // A leftover in the temporary directory harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_shell_takes_every_script() {
    for (name, script) in SCRIPTS {
        let output = Command::new("/bin/sh").args(["-n", "-c", script]).output().expect("a shell");
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        assert!(script.len() < 64 << 10, "{name} fits into an argument");
    }
}

#[test]
fn a_program_that_is_missing_is_named() {
    let dir = Dir::new("missing");
    let output = run("mount", &["no-such-program", dir.path(), dir.path(), ""]);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    // Whichever of the three this machine lacks first.
    let known = ["mount: no /dev/fuse\n", "mount: /dev/fuse cannot be opened\n", "mount: no fusermount3\n"];
    assert!(told == "mount: no blobfuse2\n" || known.contains(&&*told), "{told}");
}

#[test]
fn a_plain_directory_is_no_mount() {
    let dir = Dir::new("plain");
    let output = run("watch", &[dir.path(), dir.path()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "watch: not mounted\n");
}

#[test]
fn another_file_system_is_not_taken_for_the_mount() {
    let output = run("watch", &["/proc", "/"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "watch: something else is mounted\n");
}

#[test]
fn a_probe_writes_reads_and_removes() {
    let dir = Dir::new("probe with space");
    let output = run("probe", &[dir.path(), "abc", "rw"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!dir.has(".sandbox-broker-abc"));
    assert!(run("probe", &[dir.path(), "abc", "ro"]).status.success());
}

#[test]
fn a_probe_of_what_cannot_be_written_says_so() {
    let output = run("probe", &["/proc", "abc", "rw"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("probe: cannot write: "), "{}", stderr(&output));
}

/// What blobfuse2 logs when an upload failed.
fn upload_failed(name: &str) -> String {
    format!(
        "Wed Nov 25 00:31:25 UTC 2026 : blobfuse2[46] : [/m] LOG_ERR [file_cache.go (1371)]: FileCache::FlushFile : \
         {name} upload failed [PUT http://127.0.0.1/x\n"
    )
}

#[test]
fn an_upload_that_failed_is_tried_again_and_kept_if_it_fails_again() {
    let (mount, workspace) = (Dir::new("again-mount"), Dir::new("again"));
    let names = ["good one", "d/empty", "gone/for good", "removed"];
    workspace.write("blobfuse2.log", &names.map(upload_failed).concat());
    for (name, text) in [("good one", "text"), ("d/empty", ""), ("gone/for good", "precious")] {
        workspace.write(&format!("cache/{name}"), text);
    }
    mount.write("good one", "text");
    mount.write("d/empty", "");
    let output = run("unmount", &[mount.path(), workspace.path()]);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    let expected = format!(
        "unmount: not in the storage, but kept in {}/unsent until the sandbox ends: gone/for good\n",
        workspace.path()
    );
    assert_eq!(told, expected);
    assert!(workspace.has("unsent/gone/for good") && !workspace.has("unsent/good one"));
    let read = |name| std::fs::read_to_string(mount.0.join(name)).expect("a file");
    assert_eq!((read("good one"), read("d/empty")), ("text".into(), String::new()));
}

/// While an upload goes on, a mount may tell of the storage and not of the copy.
#[test]
fn a_file_that_only_looks_empty_is_kept_and_not_emptied() {
    let (mount, workspace) = (Dir::new("looks-mount"), Dir::new("looks"));
    workspace.write("blobfuse2.log", &upload_failed("file"));
    workspace.write("cache/file", "precious");
    mount.write("file", "");
    let output = run("unmount", &[mount.path(), workspace.path()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).ends_with("until the sandbox ends: file\n"), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(workspace.0.join("unsent/file")).expect("a file"), "precious");
}

#[test]
fn no_name_in_the_log_leads_out_of_the_mount() {
    let (around, workspace) = (Dir::new("forged-mount"), Dir::new("forged"));
    let names = ["..", "../above", "d/../../above", "/above", "./above", "d//above"];
    workspace.write("blobfuse2.log", &names.map(upload_failed).concat());
    workspace.write("cache/d/file", "");
    workspace.write("above", "precious");
    around.write("above", "");
    around.write("mount/file", "");
    let mount = around.0.join("mount");
    let output = run("unmount", &[mount.to_str().expect("text"), workspace.path()]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    let read = |dir: &Dir| std::fs::read_to_string(dir.0.join("above")).expect("a file");
    assert_eq!((read(&workspace), read(&around)), ("precious".into(), String::new()));
    assert!(!workspace.has("unsent"));
}

#[test]
fn a_link_in_the_mount_is_followed_with_its_users_rights() {
    let (mount, workspace) = (Dir::new("linked-mount"), Dir::new("linked"));
    workspace.write("blobfuse2.log", &upload_failed("link"));
    workspace.write("cache/link", "x");
    workspace.write("of root", "");
    std::os::unix::fs::symlink(workspace.0.join("of root"), mount.0.join("link")).expect("a link");
    let id = Command::new("id").arg("-u").output().expect("an id");
    if id.stdout != b"0\n" {
        return; // there is no other user to be
    }
    let output = run("unmount", &[mount.path(), workspace.path(), "nobody"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).ends_with("until the sandbox ends: link\n"), "{}", stderr(&output));
    assert_eq!(std::fs::metadata(workspace.0.join("of root")).expect("a file").len(), 0, "root's file is as it was");
}

#[test]
fn a_file_that_found_no_room_is_told() {
    let (mount, workspace) = (Dir::new("cut-mount"), Dir::new("cut"));
    workspace.write(
        "blobfuse2.log",
        "LOG_ERR [file_cache.go (1217)]: FileCache::WriteFile : failed to write a b [no space left on device]\n",
    );
    let output = run("unmount", &[mount.path(), workspace.path()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "unmount: cut off in the storage, because the sandbox's disk was full: a b \n");
}

#[test]
fn who_uses_the_mount_is_ended_and_nobody_else() {
    let (mount, other, workspace) = (Dir::new("held [x] *"), Dir::new("held"), Dir::new("held-workspace"));
    let sleeper = |dir: &Dir| Command::new("sleep").arg("1000").current_dir(&dir.0).spawn().expect("a process");
    let (mut user, mut bystander) = (sleeper(&mount), sleeper(&other));
    let output = run("unmount", &[mount.path(), workspace.path()]);
    let left = [&mut user, &mut bystander].map(|process| {
        let left = process.try_wait().expect("its state").is_none();
        process.kill().expect("ended");
        process.wait().expect("it ended");
        left
    });
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(left, [false, true]);
}

#[test]
fn clearing_keeps_what_was_written_and_drops_copies_and_the_token() {
    let dir = Dir::new("clear");
    dir.write("cache/copy of the storage", "old");
    dir.write("mounted", "");
    dir.write("cache/d/written here", "new");
    dir.write("config.yaml", "{}");
    let at = |name: &str, secs: u64| {
        let file = std::fs::File::options().write(true).open(dir.0.join(name)).expect("a file");
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs)).expect("a time");
    };
    at("cache/copy of the storage", 1000);
    at("mounted", 2000);
    at("cache/d/written here", 3000);
    let output = run("clear", &[dir.path(), dir.path()]);
    assert_eq!(output.status.code(), Some(1), "what is kept is told");
    assert!(stderr(&output).trim_end().ends_with("had not closed it: d/written here"), "{}", stderr(&output));
    assert!(dir.has("cache/d/written here") && !dir.has("cache/copy of the storage") && !dir.has("config.yaml"));

    std::fs::remove_file(dir.0.join("cache/d/written here")).expect("removed");
    assert!(run("clear", &[dir.path(), dir.path()]).status.success());
    assert!(!dir.has("cache"));
}
