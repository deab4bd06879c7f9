//! The scripts in a real shell: that it takes them, and what they do where no
//! mount is needed.

use std::path::Path;
use std::process::{Command, Output};

use super::ID;
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
        let path = std::env::temp_dir().join(format!("plugin-s3-{}-{name}", std::process::id()));
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

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.0.join(name)).ok()
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
    for (name, script) in SCRIPTS.iter().chain(&[("give", include_str!("../give.sh"))]) {
        let output = Command::new("/bin/sh").args(["-n", "-c", script]).output().expect("a shell");
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        assert!(script.len() < 64 << 10, "{name} fits into an argument");
    }
}

#[test]
fn a_program_that_is_missing_is_named() {
    let dir = Dir::new("missing");
    let output = run("mount", &["no-such-program", dir.path(), dir.path(), "", "storage:b/", ID]);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    // Whichever of the three this machine lacks first.
    let known = ["mount: no /dev/fuse\n", "mount: /dev/fuse cannot be opened\n", "mount: no fusermount3\n"];
    assert!(told == "mount: no rclone\n" || known.contains(&&*told), "{told}");
}

#[test]
fn what_is_not_ours_is_not_taken_for_the_mount() {
    let dir = Dir::new("plain");
    let output = run("watch", &[dir.path(), dir.path()]);
    assert_eq!((output.status.code(), &*stderr(&output)), (Some(1), "watch: not mounted\n"));
    let output = run("watch", &["/proc", "/"]);
    assert_eq!((output.status.code(), &*stderr(&output)), (Some(1), "watch: something else is mounted\n"));
}

#[test]
fn a_probe_writes_reads_and_removes() {
    let dir = Dir::new("probe with space");
    assert!(run("probe", &[dir.path(), ID, "write"]).status.success());
    assert_eq!(dir.read(&format!(".sandbox-broker-{ID}")).as_deref(), Some(ID));
    assert!(run("probe", &[dir.path(), ID, "remove"]).status.success());
    assert!(run("probe", &[dir.path(), ID, "look"]).status.success());
    let output = run("probe", &["/proc", ID, "write"]);
    assert!(stderr(&output).starts_with("probe: cannot write: "), "{}", stderr(&output));
}

/// The form that AWS has for it, with an end that is soon.
#[test]
fn credentials_are_given_for_a_while() {
    let dir = Dir::new("give");
    dir.write("credentials", "id='A'\nsecret='s/+='\ntoken='t'\n");
    let path = format!("{}/credentials", dir.path());
    let output = Command::new("/bin/sh")
        .args(["-c", include_str!("../give.sh"), "give", &path, "60"])
        .output()
        .expect("a shell");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(
        (&said["Version"], &said["AccessKeyId"], &said["SecretAccessKey"]),
        (&1.into(), &"A".into(), &"s/+=".into())
    );
    assert_eq!(said["SessionToken"], "t");
    let end: jiff::Timestamp = said["Expiration"].as_str().expect("text").parse().expect("a time");
    let left = end.as_second() - jiff::Timestamp::now().as_second();
    assert!((50..=60).contains(&left), "{left}");
}

/// What rclone writes about a file that it has not stored.
const DIRTY: &str = "{\n\t\"Size\": 4,\n\t\"Rs\": [\n\t\t{\n\t\t\t\"Pos\": 0,\n\t\t\t\"Size\": 4\n\t\t}\n\t],\n\t\"Fingerprint\": \"\",\n\t\"Dirty\": true\n}";

#[test]
fn what_a_dead_program_had_not_stored_goes_to_the_next_one() {
    let place = Dir::new("clear");
    let workspace = format!("{}/one", place.path());
    for (name, text) in
        [("one/cache/vfsMeta/storage/b/f", DIRTY), ("one/cache/vfs/storage/b/f", "text"), ("one/credentials", "x")]
    {
        place.write(name, text);
    }
    let output = run("clear", &["/nowhere", &workspace, ID]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(place.read(&format!("unsent-{ID}/vfs/storage/b/f")).as_deref(), Some("text"));
    assert_eq!(place.read("one/credentials"), None);

    place.write("two/cache/vfsMeta/storage/b/f", &DIRTY.replace("true", "false"));
    assert!(run("clear", &["/nowhere", &format!("{}/two", place.path()), ID]).status.success());
    assert_eq!(place.read("two/cache/vfsMeta/storage/b/f"), None);
}
