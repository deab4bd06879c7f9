//! The walls of a sandbox: what it sees, what it cannot change, and that nothing of it is left.

use serde_json::json;

use crate::client::{TestServer, is_root, processes_with, until};

/// Promise: a process has exactly the environment that it is promised, and nothing of the server's.
#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_exact() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({ "envVars": { "GIVEN": "1", "HOME": "/workspace" } })).await;
    let process = json!({ "cmd": "env", "envs": { "GIVEN": "2", "OWN": "x" } });
    let output = sandbox.start(json!({ "process": process })).await.events.rest().await;
    let mut lines: Vec<&str> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
    lines.sort_unstable();
    let id = format!("E2B_SANDBOX_ID={}", sandbox.id);
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let wanted = [
        "E2B_SANDBOX=true",
        &id,
        "E2B_TEMPLATE_ID=base",
        "GIVEN=2",
        "HOME=/workspace",
        "LOGNAME=user",
        "OWN=x",
        path,
        "USER=user",
    ];
    assert_eq!(lines, wanted);
    // And no descriptor beyond its own: 3 is the directory that `ls` reads.
    assert_eq!(sandbox.run("ls /proc/self/fd").await.1, "0\n1\n2\n3\n");
    server.end().await;
}

/// Promise: a sandbox sees its own processes and places only, and cannot change the host's programs, not even as root.
#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_sees_only_itself() {
    let server = TestServer::start().await;
    let (sandbox, other) = (server.create(json!({})).await, server.create(json!({})).await);
    assert_eq!(sandbox.run("id -un; id -gn; id -u; pwd; hostname").await.1, "user\nuser\n1000\n/home/user\nsandbox\n");
    let (_, processes, _) = sandbox.run("ls /proc | grep -c '^[0-9]'").await;
    assert!(processes.trim().parse::<u32>().unwrap() < 10, "{processes}");
    let state = server.directory.path().display();
    for hidden in [
        format!("{state}"),
        "/var/run/docker.sock".to_owned(),
        "~root/.cargo".to_owned(),
        "/etc/ssh".to_owned(),
        "/sys".to_owned(),
    ] {
        let found = sandbox.run_as_root(&format!("test -e {hidden}")).await.0;
        assert_eq!(found, 1, "{hidden}");
    }
    for place in ["/home/user", "/workspace", "/tmp", "/var/tmp", "/dev/shm"] {
        assert_eq!(sandbox.run(&format!("echo mine > {place}/x && cat {place}/x")).await.1, "mine\n", "{place}");
        assert!(!other.exists(&format!("{place}/x")).await, "{place}");
    }
    // Without root there is one user only, who owns the whole tree of the sandbox, but still not the host's.
    let closed = ["/usr/bin/x", "/etc/ssl/certs/x", "/x", "/etc/x", "~root/x"];
    for place in if is_root() { &closed[..] } else { &closed[..2] } {
        assert_ne!(sandbox.run(&format!("touch {place} 2>/dev/null")).await.0, 0, "{place}");
    }
    for forbidden in [
        "touch /usr/bin/x",
        "mount -t tmpfs none /mnt",
        "mknod /tmp/null c 1 3",
        "hostname other",
        "ip link add x type dummy",
    ] {
        assert_ne!(sandbox.run_as_root(&format!("{forbidden} 2>/dev/null")).await.0, 0, "{forbidden}");
    }
    if is_root() {
        let accounts = sandbox.run_as_root("grep -c . /etc/passwd /etc/shadow").await.1;
        assert_eq!(accounts, "/etc/passwd:3\n/etc/shadow:2\n");
        assert_eq!(
            sandbox.run_as_root("touch ~root/x /etc/x && chown user ~root/x && su user -c 'id -u'").await.1,
            "1000\n"
        );
    }
    server.end().await;
}

/// Promise: without internet access a sandbox has no way out but its own loopback.
#[tokio::test(flavor = "multi_thread")]
async fn network_can_be_refused() {
    let server = TestServer::start().await;
    for more in [json!({ "allow_internet_access": false }), json!({ "network": { "denyOut": ["0.0.0.0/0"] } })] {
        let sandbox = server.create(more).await;
        let (_, devices, _) = sandbox.run("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '").await;
        assert_eq!(devices, "lo\n");
        let reach = format!("exec 3<>/dev/tcp/{}", server.server.addr().unwrap().to_string().replace(':', "/"));
        assert_ne!(sandbox.run(&format!("{reach} 2>/dev/null")).await.0, 0);
    }
    server.end().await;
}

/// Promise: killing a sandbox ends every process in it, however it was started or made itself independent.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_leaves_nothing() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let marker = format!("marker-{}", sandbox.id);
    let stubborn = format!("bash -c 'trap \"\" TERM HUP INT; while :; do sleep 1000; done' {marker}");
    let mut shell = sandbox.shell().await;
    shell
        .input(format!(
            "{stubborn} &\n(setsid {stubborn} >/dev/null 2>&1 </dev/null &)\nnohup {stubborn} &\necho up:$((1+1))\n"
        ))
        .await;
    shell.shows("up:2").await;
    let root = format!("(setsid {stubborn} >/dev/null 2>&1 </dev/null &)");
    assert_eq!(sandbox.run_as_root(&root).await.0, 0);
    until("all four", || async { (processes_with(&marker).len() >= 4).then_some(()) }).await;
    assert_eq!(server.kill(&sandbox.id).await, 204);
    assert_eq!(processes_with(&marker), [0_u32; 0], "none is left when the kill is answered");
    let output = shell.events.rest().await;
    assert_eq!(output.error.unwrap()["code"], "unavailable");
    until("its files are gone", || async {
        let trash = server.directory.path().join("trash").join(&sandbox.id);
        (!trash.exists()).then_some(())
    })
    .await;
    server.end().await;
}

/// Promise: a sandbox whose init dies is gone at once, also for the control plane.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_init_ends_the_sandbox() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let mut shell = sandbox.shell().await;
    // From outside: inside, nobody can kill process 1.
    assert_ne!(sandbox.run_as_root("kill -9 1; kill -0 1 && exit 5").await.0, 0);
    let (_, namespace, _) = sandbox.run("readlink /proc/self/ns/pid").await;
    let inits: Vec<u32> = processes_with(sandboxd::init::ARGUMENT)
        .into_iter()
        .filter(|pid| {
            std::fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|link| link.to_str() == Some(namespace.trim()))
        })
        .collect();
    assert_eq!(inits.len(), 1);
    let pid = rustix::process::Pid::from_raw(i32::try_from(inits[0]).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(shell.events.rest().await.error.unwrap()["code"], "unavailable");
    until("it is gone", || async { (server.server.sandboxes() == 0).then_some(()) }).await;
    assert_eq!(server.kill(&sandbox.id).await, 404);
    server.end().await;
}

/// Promise: fifty sandboxes are made, used and ended at once.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once() {
    let server = TestServer::start().await;
    let api = server.api.clone();
    let all = (0..50).map(|number: u32| {
        let api = api.clone();
        tokio::spawn(async move {
            let sandbox = api.create(json!({ "envVars": { "NUMBER": number.to_string() } })).await;
            let mut shell = sandbox.shell().await;
            shell.input("echo is:$NUMBER\n").await;
            shell.shows(&format!("is:{number}")).await;
            (sandbox, shell)
        })
    });
    let mut live = Vec::new();
    for task in all.collect::<Vec<_>>() {
        live.push(task.await.unwrap());
    }
    assert_eq!(server.server.sandboxes(), 50);
    let ids: Vec<String> = live.iter().map(|(sandbox, _)| sandbox.id.clone()).collect();
    let kills = ids.into_iter().map(|id| {
        let api = api.clone();
        tokio::spawn(async move { assert_eq!(api.kill(&id).await, 204) })
    });
    for kill in kills.collect::<Vec<_>>() {
        kill.await.unwrap();
    }
    assert_eq!(server.server.sandboxes(), 0);
    server.end().await;
}
