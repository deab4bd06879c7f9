//! Beginning and end: of the program, of attachments, of the daemon's own means.

use std::fs;

use rustix::process::{Pid, Signal, kill_process_group};
use sandbox_recorder::wire::ToRecorder;

use crate::client::{DEADLINE, Frame, Recording, parent, resident, until};

#[test]
fn an_exit_is_told_with_its_code_to_everyone_who_comes() {
    let recording = Recording::new();
    let mut client = recording.run("echo bye; exit 7");
    client.hello();
    let exit = Frame::Exit { code: 7, signal: 0, end: 5 };
    assert_eq!(client.until_exit(), (b"bye\r\n".to_vec(), exit.clone()));
    assert_eq!(client.leave(), Some(0));
    let mut late = recording.attach(2);
    assert_eq!(late.hello().end, 5);
    assert_eq!(late.until_exit(), (b"e\r\n".to_vec(), exit.clone()));
    let mut later = recording.attach(5);
    later.hello();
    assert_eq!(later.until_exit(), (Vec::new(), exit));
}

#[test]
fn a_signal_ends_the_shell_and_is_told() {
    let recording = Recording::new();
    let mut client = recording.run("echo ready; while :; do read -r line; done");
    client.hello();
    client.expect("ready");
    client.send(ToRecorder::Signal { number: 0xffff });
    client.send(ToRecorder::Signal { number: 15 });
    let (_, exit) = client.until_exit();
    assert!(matches!(exit, Frame::Exit { code: -1, signal: 15, .. }), "{exit:?}");
}

#[test]
fn descendants_that_hold_the_terminal_do_not_hold_the_exit() {
    for script in ["exec sleep 600", "while :; do printf x; sleep 0.02; done"] {
        let recording = Recording::new();
        let pid = recording.path("pid");
        let mut client = recording.run(&format!(
            "setsid sh -c 'echo $$ >\"{pid}.new\"; mv \"{pid}.new\" \"{pid}\"; exec sh -c \"{script}\"' & \
             until test -e '{pid}'; do :; done; echo bye; exit 3",
            pid = pid.display()
        ));
        client.hello();
        let (output, exit) = client.until_exit();
        let holder = Pid::from_raw(fs::read_to_string(&pid).unwrap().trim().parse().unwrap()).unwrap();
        let _ = kill_process_group(holder, Signal::KILL);
        assert!(String::from_utf8_lossy(&output).contains("bye"), "{output:?}");
        assert!(matches!(exit, Frame::Exit { code: 3, signal: 0, .. }), "{exit:?}");
    }
}

#[test]
fn the_last_output_of_a_shell_comes_before_its_exit() {
    for _ in 0..20 {
        let recording = Recording::new();
        let mut client = recording.run("seq 1 3000; exit 1");
        client.hello();
        let (output, _) = client.until_exit();
        assert!(output.ends_with(b"\r\n3000\r\n"), "{:?}", String::from_utf8_lossy(&output[output.len() - 20..]));
    }
}

#[test]
fn a_program_that_is_not_there_is_told_and_leaves_nothing() {
    let recording = Recording::new();
    let dir = recording.dir();
    let options = ["--cols", "80", "--rows", "24", "--", "no-such-program", "x"];
    let output = recording.look("run", &options);
    assert_eq!(output.status.code(), Some(127));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no-such-program") && said.contains("No such file"), "{said}");
    assert!(!dir.exists());
    assert_eq!(recording.processes(), []);
    recording.run("exit 0").hello();
}

#[test]
fn what_cannot_be_served_is_refused_with_its_status() {
    let recording = Recording::new();
    let mut nobody = recording.attach(0);
    assert_eq!((nobody.next(), nobody.status()), (None, Some(1)));

    let mut client = recording.run("echo ready; read -r line");
    client.hello();
    client.expect("ready");
    let mut second = recording.run("exit 0");
    assert_eq!((second.next(), second.status()), (None, Some(3)));
    assert!(second.complaint().contains("another recording"));

    let mut above = recording.attach(1 << 40);
    assert!(matches!(above.next(), Some(Frame::Refused(reason)) if reason.contains("above the end")));
    assert_eq!(above.status(), Some(2));
    let beyond = ["--from", "99999", "--to", "100000"];
    let frames = recording.frames("read", &beyond);
    assert!(matches!(&frames[..], [Frame::Refused(_)]), "{frames:?}");
    assert_eq!(recording.look("read", &beyond).status.code(), Some(2));
    assert_eq!(recording.look("read", &["--from", "0"]).status.code(), Some(1), "--to is missing");

    // None of it disturbed who was there.
    client.send(ToRecorder::Input(b"\r"));
    client.until_exit();
    assert_eq!(client.leave(), Some(0));

    let mut client = recording.attach(0);
    client.hello();
    client.write(b"\x55\0\0\0\0");
    while client.next().is_some() {}
    assert_eq!(client.status(), Some(2), "what is no frame ends its attachment");
    assert_eq!(recording.attach(0).hello().end, recording.end(), "and no other");
}

#[test]
fn a_folder_of_somebody_else_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let recording = Recording::new();
    fs::create_dir_all(recording.dir()).unwrap();
    fs::set_permissions(recording.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(recording.run("exit 0").status(), Some(1));
    fs::set_permissions(recording.dir(), fs::Permissions::from_mode(0o700)).unwrap();
    recording.run("exit 0").hello();
}

#[test]
fn a_silent_broker_is_dropped_and_the_shell_lives() {
    let recording = Recording::with(&["--patience", "200"]);
    let mut client = recording.run("exec sh -i");
    client.hello();
    assert_eq!(client.status(), Some(5));
    let mut client = recording.attach(0);
    client.hello();
    client.send(ToRecorder::Input(b"echo al''ive\r"));
    client.expect("alive");
}

#[test]
fn memory_and_descriptors_do_not_grow() {
    const LIMIT: u64 = 4 * 1024 * 1024;
    let recording = Recording::new();
    let go = recording.path("go");
    let mut client = recording.run(&format!(
        "stty raw -echo; echo ready; until test -e '{}'; do read -r line; done; head -c 100000000 /dev/zero; exec cat",
        go.display()
    ));
    let daemon = parent(client.hello().pid);
    client.expect("ready");
    client.leave();
    let descriptors = || fs::read_dir(format!("/proc/{daemon}/fd")).unwrap().count();
    let before = descriptors();
    for _ in 0..50 {
        let mut client = recording.attach(0);
        client.hello();
        client.kill();
    }
    until("the descriptors of the attachments to be closed", || descriptors() <= before);
    eprintln!("before: {} KiB", resident(daemon) / 1024);

    fs::write(&go, b"").unwrap();
    let mut client = recording.attach(0);
    client.hello();
    client.send(ToRecorder::Input(b"\n"));
    let mut end = 0;
    while end < 100_000_000 {
        if let Some(Frame::Output(offset, bytes)) = client.next() {
            end = offset + bytes.len() as u64;
            client.send(ToRecorder::Ack { offset: end });
        }
    }
    let resident = resident(daemon);
    eprintln!("after 100 MB: {} KiB", resident / 1024);
    assert!(resident < LIMIT, "{resident} bytes in memory after 100 MB");
}

#[test]
fn nothing_is_left_of_a_start_but_the_daemon_and_its_shell() {
    let recording = Recording::new();
    let mut client = recording.run("echo ready; read -r line");
    let hello = client.hello();
    client.expect("ready");
    let daemon = parent(hello.pid);
    assert_ne!(daemon, client.child.id());
    let stdio = |fd| fs::read_link(format!("/proc/{daemon}/fd/{fd}")).unwrap();
    assert!((0..3).all(|fd| stdio(fd).to_str() == Some("/dev/null")));
    assert_eq!(fs::read_link(format!("/proc/{daemon}/cwd")).unwrap().to_str(), Some("/"));
    client.leave();
    // The daemon, and the shell, whose script may name the folder.
    until("only the daemon to be left", || {
        recording.processes().iter().all(|pid| pid.as_raw_nonzero().get() as u32 == daemon)
    });
}

/// Not asserted by time: a busy machine is no failure. Printed for the report.
#[test]
fn a_start_is_quick() {
    let recording = Recording::new();
    let begun = std::time::Instant::now();
    let mut client = recording.run("read -r line");
    client.hello();
    let took = begun.elapsed();
    eprintln!("from the fork to HELLO: {took:?}");
    assert!(took < DEADLINE);
}
