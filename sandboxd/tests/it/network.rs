//! The network of a sandbox, tried from inside: what it reaches, what it never reaches, and that nothing of it is left.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Stdio;

use reqwest::Method;
use sandboxd::Network;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::client::{Api, PROGRAM, Sandbox, TestProgram, TestServer, is_root, json_of, own_addresses, until};

/// That of the system, which sandboxes see.
const PYTHON: &str = "/usr/bin/python3";

/// Whether sandboxes can have networks of their own here; else the test is skipped with words, but not in CI.
fn can_isolate() -> bool {
    let probe = |program: &str, argument: &str| std::process::Command::new(program).arg(argument).output().is_ok();
    let missing =
        [("slirp4netns", "--version", "slirp4netns"), (PYTHON, "--version", "python3"), ("ip", "-V", "iproute2")]
            .into_iter()
            .find(|(program, argument, _)| !probe(program, argument));
    let Some((_, _, package)) = missing else { return true };
    let ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    assert!(!ci, "missing: package {package}");
    println!("skipped: missing: package {package}");
    false
}

async fn server(change: impl FnOnce(&mut sandboxd::Options)) -> TestServer {
    TestServer::start_with(|options| {
        options.network = Some(Network::Isolated);
        change(options);
    })
    .await
}

/// What answers of these places, as seen from a sandbox; see `reach.py`.
async fn reached(sandbox: &Sandbox, places: &[String]) -> String {
    let request = sandbox.request(Method::POST, "/files").query(&[("path", "/tmp/reach.py")]);
    let script = include_bytes!("reach.py").to_vec();
    assert_eq!(json_of(request.header("content-type", "application/octet-stream").body(script)).await.0, 200);
    let (status, said, errors) = sandbox.run(&format!("{PYTHON} /tmp/reach.py {}", places.join(" "))).await;
    assert_eq!((status, errors.as_str()), (0, ""));
    said
}

/// How many of `connections` brought back all that they sent to a place, as seen from a sandbox; see `whole.py`.
async fn whole(sandbox: &Sandbox, place: &str, connections: u8, mebibytes: u8) -> String {
    let request = sandbox.request(Method::POST, "/files").query(&[("path", "/tmp/whole.py")]);
    let script = include_bytes!("whole.py").to_vec();
    assert_eq!(json_of(request.header("content-type", "application/octet-stream").body(script)).await.0, 200);
    let (status, said, errors) =
        sandbox.run(&format!("{PYTHON} /tmp/whole.py {place} {connections} {mebibytes}")).await;
    assert_eq!((status, errors.as_str()), (0, ""));
    said
}

/// The ports of all listeners of this machine.
fn listening() -> Vec<u16> {
    let mut ports: Vec<u16> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .flat_map(|path| {
            std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let port = u16::from_str_radix(fields.next()?.rsplit_once(':')?.1, 16).ok()?;
            (fields.nth(1)? == "0A").then_some(port)
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Everything that a sandbox must not reach of this machine, its link and another sandbox, from a sandbox of the server.
async fn nothing_is_reached(api: &Api, has_root: bool) {
    let name = format!("canary-{}", std::process::id());
    let everywhere = TcpListener::bind("[::]:0").unwrap();
    let loopback = TcpListener::bind("127.0.0.1:0").unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap());
    let ports = listening();
    for listener in [&everywhere, &loopback] {
        assert!(ports.contains(&listener.local_addr().unwrap().port()));
    }

    let (sandbox, other) = (api.create(json!({})).await, api.create(json!({})).await);
    let serve = "import socket, time\nall = [socket.create_server(('::', 7000), family=socket.AF_INET6, dualstack_ipv6=True)]\n\
         u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nu.bind(('0.0.0.0', 7000))\n\
         a = socket.socket(socket.AF_UNIX)\na.bind('\\0neighbour')\na.listen()\nprint('serves', flush=True)\n\
         while True:\n    data, peer = u.recvfrom(64)\n    u.sendto(data, peer)";
    let process = json!({ "process": { "cmd": PYTHON, "args": ["-c", serve] }, "stdin": false });
    let mut serving = other.start(process).await;
    assert!(serving.events.next().await.unwrap()["event"]["data"]["stdout"].is_string());
    let own = ["tcp/127.0.0.1/7000", "tcp/::1/7000", "udp/127.0.0.1/7000", "abstract/neighbour/0"].map(str::to_owned);
    assert_eq!(reached(&other, &own).await.lines().count(), own.len(), "it serves itself");

    let mut places = vec![
        format!("udp/127.0.0.1/{}", datagrams.local_addr().unwrap().port()),
        format!("abstract/{name}/0"),
        "abstract/neighbour/0".to_owned(),
    ];
    for address in own_addresses() {
        places.extend(ports.iter().chain([&7000, &49983]).map(|port| format!("tcp/{address}/{port}")));
        places.push(format!("udp/{address}/7000"));
    }
    for closed in ["169.254.169.254", "169.254.1.1", "168.63.129.16", "100.100.100.200", "fd00:ec2::254"] {
        places.extend([format!("!tcp/{closed}/80"), format!("!udp/{closed}/53")]);
    }
    // Of a link as the sandbox has one.
    let device = sandbox.run("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | grep -v '^lo$'").await.1;
    places.extend([format!("!tcp/fe80::1%{0}/80", device.trim()), format!("!udp/fe80::1%{0}/53", device.trim())]);
    places.push("!udp/224.0.0.251/5353".to_owned());
    // The loopback of the machine, by the way out. Of IPv4 the kernel takes for a neighbour whatever has no way then.
    let (way_out, port) = (device.trim(), datagrams.local_addr().unwrap().port());
    let aside = ["udp/127.0.0.1", "udp/127.1.2.3", "udp/::ffff:127.0.0.1", "tcp/127.0.0.1", "!udp/::1", "!tcp/::1"];
    places.extend(aside.map(|place| format!("{place}/{port}/{way_out}")));
    assert_eq!(reached(&sandbox, &places).await, "");
    datagrams.set_nonblocking(true).unwrap();
    let came = datagrams.recv_from(&mut [0; 64]);
    assert!(came.is_err(), "{came:?}");

    // Nor can it change that, whoever it is.
    for forbidden in [
        "ip rule del pref 1",
        "ip -6 rule del pref 1",
        "ip route add 169.254.0.0/16 dev lo",
        "ip link set lo down",
        "python3 -c 'import socket; socket.socket(17, 3, 0)'",
    ] {
        let forbidden = format!("{forbidden} 2>/dev/null");
        let ended = if has_root { sandbox.run_as_root(&forbidden).await } else { sandbox.run(&forbidden).await };
        assert_ne!(ended.0, 0, "{forbidden}");
    }
}

/// Promise: a sandbox reaches no listener of the machine, by whichever of its addresses, nothing of its link, no metadata
/// service, and no other sandbox; not even as root.
#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_reaches_nothing_of_the_machine() {
    if !can_isolate() {
        return;
    }
    let server = server(|_| {}).await;
    nothing_is_reached(&server, is_root()).await;
    server.end().await;
}

/// Promise: the same where the server is an ordinary user's.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_root_isolates_too() {
    if !can_isolate() || !is_root() {
        println!("skipped: needs root to become another user; without it every other test shows this");
        return;
    }
    // The fourth argument of the program is its state directory. The device is everybody's on an ordinary machine.
    let script = "mount -t tmpfs tmpfs /mnt && mknod /mnt/tun c 10 200 && chmod 666 /mnt/tun \
        && mount --bind /mnt/tun /dev/net/tun && install -m 755 \"$0\" \"$4/program\" && chown 65534:65534 \"$4\" \
        && exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$4/program\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, PROGRAM]);
    let (program, _) = TestProgram::start_by(command, &["--network", "isolated"]).await;
    nothing_is_reached(&program.api, false).await;
}

/// Promise: a service of the machine's loopback is reached where it is named, and only that.
#[tokio::test(flavor = "multi_thread")]
async fn a_named_service_is_reached() {
    if !can_isolate() {
        return;
    }
    let (named, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let place = |listener: &TcpListener| format!("tcp/127.0.0.1/{}", port(listener));
    let server = server(|options| options.forward_ports = vec![port(&named)]).await;
    let sandbox = server.create(json!({})).await;
    let places = [place(&named), place(&other)];
    assert_eq!(reached(&sandbox, &places).await, format!("{}\n", places[0]));
    // Its lack of an address outside is no lack of this.
    let alone = server.create(json!({ "allow_internet_access": false })).await;
    assert_eq!(reached(&alone, &places).await, "");
    let (status, _) =
        json_of(server.http.put(format!("{}/host-ports", server.url)).header("x-api-key", &server.key).json(&[1]))
            .await;
    assert_eq!(status, 403, "a key alone opens no port of the machine");
    server.end().await;
}

/// Promise: what goes to a named service and back arrives whole, however much it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_goes_to_a_named_service_is_whole() {
    if !can_isolate() {
        return;
    }
    let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = service.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = service.accept().await {
            tokio::spawn(async move {
                let mut everything = Vec::new();
                connection.read_to_end(&mut everything).await.unwrap();
                connection.write_all(&everything).await.unwrap();
            });
        }
    });
    let server = server(|options| options.forward_ports = vec![port]).await;
    let sandbox = server.create(json!({})).await;
    assert_eq!(whole(&sandbox, &format!("127.0.0.1 {port}"), 4, 32).await, "4\n");
    assert_eq!(whole(&sandbox, &format!("localhost {port}"), 1, 1).await, "1\n");
    server.end().await;
}

/// The processes that carry connections for the sandboxes of a server, by its pid.
fn carriers(server: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        status.contains(&format!("\nPPid:\t{server}\n"))
            && line.contains("slirp4netns")
            && !status.contains("\nState:\tZ")
    })
    .collect()
}

/// Promise: what carries a sandbox's connections ends with it, and with the server however that ends.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_carries_connections_is_left() {
    if !can_isolate() {
        return;
    }
    let mut program = TestProgram::start(&["--network", "isolated"]).await;
    let pid = program.child.id().unwrap();
    let (sandbox, _other) = (program.api.create(json!({})).await, program.api.create(json!({})).await);
    let both = carriers(pid);
    assert_eq!(both.len(), 2);
    assert_eq!(program.api.kill(&sandbox.id).await, 204);
    assert_eq!(carriers(pid).len(), 1, "it is gone when the kill is answered");
    program.child.kill().await.unwrap();
    until("their ends", || async {
        let left = both.iter().any(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists());
        (!left).then_some(())
    })
    .await;
}

/// Promise: programs have their network before the first of them starts.
#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_there_first() {
    if !can_isolate() {
        return;
    }
    let server = server(|_| {}).await;
    let begun = std::time::Instant::now();
    let sandbox = server.create(json!({})).await;
    println!("made in {} ms", begun.elapsed().as_millis());
    let (_, routes, _) = sandbox.run("cat /proc/net/route").await;
    assert!(routes.lines().any(|line| line.split_whitespace().nth(1) == Some("00000000")), "{routes}");
    server.end().await;
}

/// Promise: a sandbox reaches the world and its names, also where the machine's resolver listens on its loopback, and none
/// of the machine's further addresses.
#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_reaches_the_world() {
    if !can_isolate() || !is_root() {
        println!("skipped: needs root to make a world");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("world.py"), include_str!("world.py")).unwrap();
    // A machine with a resolver of its own and two addresses, and a world beyond its only link.
    let script = "set -e; cd \"$1\"; ip link set lo up; ip addr add 172.31.7.7/32 dev lo
        ip link add out type veth peer name in
        unshare --net sh -c 'echo $$ > world.pid; until ip link show in >/dev/null 2>&1; do sleep 0.05; done
            ip addr add 10.77.0.2/24 dev in; ip -6 addr add fd77::2/64 dev in nodad; ip addr add 169.254.9.9/16 dev in
            ip link set in up; exec /usr/bin/python3 world.py outside' &
        until [ -s world.pid ]; do sleep 0.05; done
        until [ \"$(readlink /proc/$(cat world.pid)/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do sleep 0.05; done
        ip link set in netns \"$(cat world.pid)\"
        ip addr add 10.77.0.1/24 dev out; ip -6 addr add fd77::1/64 dev out nodad; ip link set out up
        ip route add default via 10.77.0.2; ip -6 route add default via fd77::2
        ip route add 169.254.9.9/32 dev out
        echo 'nameserver 127.0.0.1' > resolv.conf; mount --bind resolv.conf /etc/resolv.conf
        /usr/bin/python3 world.py machine & until [ -e machine.up ] && [ -e outside.up ]; do sleep 0.05; done
        exec \"$2\" --socket \"$1/socket\" --state-dir \"$1/state\" --announce \"$1/announced\" --network isolated";
    let mut child = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, "sh"])
        .arg(directory.path())
        .arg(PROGRAM)
        // What goes wrong in there is part of the test's output.
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let socket = directory.path().join("socket");
    // The socket's file is there a moment before the server listens on it.
    let announced = directory.path().join("announced");
    until("the server", || async { announced.exists().then_some(()) }).await;
    let api = Api {
        http: reqwest::Client::builder().unix_socket(socket).build().unwrap(),
        url: "http://localhost".to_owned(),
        key: std::fs::read_to_string(directory.path().join("state/api-key")).unwrap(),
    };
    let sandbox = api.create(json!({})).await;
    let open = ["tcp/10.77.0.2/80", "tcp/fd77::2/80", "udp/10.77.0.2/81"].map(str::to_owned);
    let mut places = open.to_vec();
    for address in ["127.0.0.1", "::1", "172.31.7.7", "10.77.0.1", "fd77::1"] {
        places.extend([format!("tcp/{address}/7777"), format!("udp/{address}/53")]);
    }
    places.push("!tcp/169.254.9.9/80".to_owned());
    assert_eq!(reached(&sandbox, &places).await, open.join("\n") + "\n");
    assert_eq!(sandbox.run("getent ahostsv4 somewhere.example | head -n 1 | cut -d' ' -f1").await.1, "10.77.0.2\n");
    for address in ["10.77.0.2", "fd77::2"] {
        assert_eq!(whole(&sandbox, &format!("{address} 82"), 4, 16).await, "4\n", "{address}");
    }
    let _ = child.kill().await;
}
