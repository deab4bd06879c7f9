//! `broker attach` as a person uses it: the real program on a real terminal.

use sandbox_broker_terminal::frames::level1::ClientFrame;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::support::level1::{Visit, Window};
use crate::support::proxy::{Place, Proxy};
use crate::support::tty::{QUERY, Tty};
use crate::support::{Broker, eventually, program};

const SIZE: (u16, u16) = (90, 31);
const DETACH: &[u8] = b"\x1d";

/// The embedded default, with more of `[server]` and other sections.
fn config(server: &str, sections: &str) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n{server}\n[sandbox]\nprovider = \"local\"\n\
         [providers.local]\nplugin = \"e2b\"\nembedded = \"sandboxd\"\n{sections}"
    )
}

async fn local() -> Broker {
    Broker::start(&config("", "")).await
}

fn attach(broker: &str, arguments: &[&str]) -> Tty {
    Tty::start(SIZE, &[&["attach", "--url", broker], arguments].concat(), &[])
}

#[tokio::test]
async fn a_person_types_and_the_shells_exit_status_is_the_programs() {
    let broker = local().await;
    let mut tty = attach(&broker.url, &[]);
    let session = tty.session().await;
    assert!(tty.said().contains("Ctrl-] leaves it"), "{}", tty.said());
    tty.press("echo $((6*7))\r");
    tty.expect("42\r\n").await;
    assert!(!tty.is_cooked());
    // The sandbox's own terminal turns it into a signal; ours does not.
    tty.press("echo g\"\"o; cat\r");
    tty.expect("go\r\n").await;
    tty.press("wai\x15waits\r");
    tty.expect("waits\r\nwaits\r\n").await;
    tty.press("\x03");
    // The signal takes what was typed behind it along.
    tty.expect("$ ").await;
    tty.press("exit 3\r");
    assert_eq!(tty.left().await, 3);
    // Who comes later is told the same, until the end is kept no more.
    let mut late = attach(&broker.url, &[&session]);
    assert_eq!(late.left().await, 3, "{}", late.said());
    let ended = reqwest::Client::new().delete(format!("{}/api/sessions/{session}", broker.url)).send().await.unwrap();
    assert_eq!(ended.status(), 204);
    let path = format!("/api/sessions/{session}");
    eventually("nothing of the session", async || (broker.get(&path).await.status() == 404).then_some(())).await;
    let mut gone = attach(&broker.url, &[&session]);
    assert_eq!(gone.left().await, 254, "{}", gone.said());
    assert!(gone.said().contains("there is no such session"), "{}", gone.said());
}

#[tokio::test]
async fn the_shell_has_the_size_of_the_terminal() {
    let broker = local().await;
    let mut tty = attach(&broker.url, &[]);
    tty.press("stty size\r");
    tty.expect("31 90\r\n").await;
    tty.resize((133, 43));
    tty.press("until [ \"$(stty size)\" = '43 133' ]; do sleep 0.02; done; tput cols; echo do\"\"ne\r");
    tty.expect("133\r\ndone\r\n").await;
}

#[tokio::test]
async fn a_session_that_was_left_goes_on() {
    let broker = local().await;
    let mut tty = attach(&broker.url, &[]);
    let session = tty.session().await;
    tty.press("number=$((6*7)); printf '\\033[?2004h\\033[?25l'; echo sto\"\"red\r");
    tty.expect("stored\r\n").await;
    tty.press(DETACH);
    assert_eq!(tty.left().await, 0);
    assert!(tty.said().contains(&format!("goes on for up to 2h00m: broker attach {session}")), "{}", tty.said());
    // The modes that were left on are off.
    tty.expect("\x1b[m\x1b[?2004l\x1b[?25h").await;

    let mut again = attach(&broker.url, &[&session, "--detach-key", "ctrl-b"]);
    again.expect("stored\r\n").await;
    again.press("echo \"=$number=\"\r");
    again.expect("=42=\r\n").await;
    again.press(b"\x02");
    assert_eq!(again.left().await, 0);
}

#[tokio::test]
async fn a_viewer_sees_and_cannot_type() {
    let broker = local().await;
    let mut driver = attach(&broker.url, &[]);
    let session = driver.session().await;
    let mut viewer = attach(&broker.url, &[&session, "--view"]);
    let shown: Value = broker.get(&format!("/api/sessions/{session}")).await.json().await.unwrap();
    let invitation = shown["invitation"].as_str().unwrap();
    let link = format!("{}/?session={session}&role=viewer&invitation={invitation}", broker.url);
    let mut linked = Tty::start((200, 50), &["attach", &link], &[]);
    for tty in [&mut viewer, &mut linked] {
        tty.says("watching session").await;
        // The screen that a guest gets comes after that. One of a moment in the middle of the output below would hold part of it.
        tty.expect("$ ").await;
    }
    viewer.press("echo vie\"\"wer\r");
    linked.press("echo vie\"\"wer\r");
    driver.press("echo dri\"\"ver; stty size\r");
    for tty in [&mut driver, &mut viewer, &mut linked] {
        tty.expect("driver\r\n31 90\r\n").await;
    }
    viewer.press(DETACH);
    assert_eq!(viewer.left().await, 0);
    driver.press("exit\r");
    assert_eq!(driver.left().await, 0);
    assert_eq!(linked.left().await, 0, "{}", linked.said());
    assert!(!String::from_utf8_lossy(&linked.shown()).contains("vie"), "nobody typed it");
}

#[tokio::test]
async fn control_stays_until_it_is_taken_by_enter_alone_or_by_take() {
    let broker = local().await;
    let mut first = attach(&broker.url, &[]);
    let session = first.session().await;
    let mut second = attach(&broker.url, &[&session]);
    second.says("another client has control").await;
    // A line that is typed blindly takes nothing.
    second.press("echo bli\"\"nd\r");
    first.press("echo fir\"\"st\r");
    second.expect("first\r\n").await;
    second.press("\r");
    first.says("another client has control").await;
    second.says("you type now").await;
    first.press("echo bli\"\"nd\r");
    second.press("echo sec\"\"ond\r");
    first.expect("second\r\n").await;
    let mut third = attach(&broker.url, &[&session, "--take"]);
    third.says("you type now").await;
    third.press("echo thi\"\"rd\r");
    first.expect("third\r\n").await;
    third.press(DETACH);
    assert_eq!(third.left().await, 0);
    second.says("you type now").await;
    second.press(DETACH);
    assert_eq!(second.left().await, 0);
    first.says("you type now").await;
    first.press("echo la\"\"st\r");
    first.expect("last\r\n").await;
    assert!(!String::from_utf8_lossy(&first.shown()).contains("blind"));
}

#[tokio::test]
async fn a_killed_session_ends_the_attachment() {
    let broker = local().await;
    let mut tty = attach(&broker.url, &[]);
    let session = tty.session().await;
    let status = Command::new(program()).args(["sessions", "--url", &broker.url, "kill", &session]).status().unwrap();
    assert!(status.success());
    assert_eq!(tty.left().await, 254);
    assert!(tty.said().contains("the session is over"), "{}", tty.said());
}

#[tokio::test]
async fn a_signal_leaves_the_terminal_as_it_was() {
    let broker = local().await;
    for (signal, status) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let mut tty = attach(&broker.url, &[]);
        tty.session().await;
        tty.press("echo rea\"\"dy\r");
        tty.expect("ready\r\n").await;
        assert!(Command::new("kill").args(["-s", signal, &tty.pid().to_string()]).status().unwrap().success());
        assert_eq!(tty.left().await, status);
    }
}

/// What a program of today switches on, and what undoes it.
const ON: &str =
    "\\033[?1049h\\033[>4;2m\\033[>31u\\033[?2031h\\033[?1004h\\033[5 q\\033[?25l\\033(0\\033[3;9r\\033]2;mine\\007";
/// Between them stands what the shell's own editor has on at that moment.
const OFF: [&str; 2] = [
    "\x1b[m\x1b(B\x1b)B\x1b*B\x1b+B\x0f\x1b[0 q\x1b[?1004l",
    "\x1b[?2031l\x1b[?25h\x1b[r\x1b[1000;1H\x1b[>4m\x1b[<1u\x1b[?1049l\x1b[23;0t",
];

async fn is_off(tty: &mut Tty) {
    for off in OFF {
        tty.expect(off).await;
    }
}

/// Put before the first title that the session sets.
const SAVE_TITLE: &str = "\x1b[22;0t";

#[tokio::test]
async fn whatever_ends_it_the_terminal_is_as_it_was() {
    let place = Place::find().await;
    let url = place.url();
    let broker = Broker::start(&config(&format!("public_url = \"{url}\""), "")).await;
    let proxy = Proxy::start(place, &broker.url, None);
    let on = async || {
        let mut tty = attach(&url, &[]);
        let session = tty.session().await;
        tty.press(format!("printf '{ON}'; echo o\"\"n\r"));
        tty.expect("on\r\n").await;
        let shown = String::from_utf8(tty.shown()).unwrap();
        let (saved, set) = (shown.find(SAVE_TITLE).unwrap(), shown.find("\x1b]").unwrap());
        assert!(saved < set, "the title is saved before another is set: {shown:?}");
        (tty, session)
    };
    let (mut tty, session) = on().await;
    tty.press(b"\x1b[93;133u");
    assert_eq!(tty.left().await, 0, "the detach key with num lock");
    is_off(&mut tty).await;
    // What is replayed is undone, too.
    let mut again = attach(&url, &[&session]);
    again.expect("on\r\n").await;
    again.press("exit\r");
    assert_eq!(again.left().await, 0);
    is_off(&mut again).await;
    for (signal, status) in [("TERM", 143), ("HUP", 129)] {
        let (mut tty, _) = on().await;
        assert!(Command::new("kill").args(["-s", signal, &tty.pid().to_string()]).status().unwrap().success());
        assert_eq!(tty.left().await, status);
        is_off(&mut tty).await;
    }
    let (mut tty, session) = on().await;
    // Not through the proxy, which runs on this thread.
    let status = Command::new(program()).args(["sessions", "--url", &broker.url, "kill", &session]).status().unwrap();
    assert!(status.success());
    assert_eq!(tty.left().await, 254);
    is_off(&mut tty).await;
    let (mut tty, _) = on().await;
    drop(proxy);
    tty.says("connecting again").await;
    tty.press(DETACH);
    assert_eq!(tty.left().await, 0, "without a connection");
    is_off(&mut tty).await;
}

#[tokio::test]
async fn the_detach_key_is_found_in_pieces_and_not_in_a_paste() {
    let broker = local().await;
    let mut tty = attach(&broker.url, &[]);
    tty.session().await;
    tty.press("stty raw -echo; head -c 20 | od -An -c; stty sane; echo pas\"\"ted\r");
    tty.press(b"\x1b[200~ab\x1dcd\x1b[201~efg");
    tty.expect("035").await;
    tty.expect("pasted\r\n").await;
    // Escape is passed on though nothing follows it.
    tty.press("stty raw -echo; head -c 1 | od -An -c; stty sane; echo es\"\"caped\r");
    tty.press(b"\x1b");
    tty.expect("escaped\r\n").await;
    tty.press(b"\x1b[93");
    tty.press(b";5:1u");
    assert_eq!(tty.left().await, 0);
}

#[tokio::test]
async fn a_cut_connection_loses_and_doubles_no_byte() {
    const LINES: usize = 600;
    let place = Place::find().await;
    let url = place.url();
    let broker = Broker::start(&config(&format!("public_url = \"{url}\""), "")).await;
    let proxy = Proxy::start(place, &broker.url, None);
    let mut tty = attach(&url, &[]);
    let session = tty.session().await;
    tty.press(format!(
        "stty -echo; i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo n$i; sleep 0.005; done; echo al\"\"l\r"
    ));
    for (cuts, line) in [(1, "n50\r\n"), (2, "n200\r\n"), (3, "n350\r\n")] {
        tty.expect(line).await;
        let carried = proxy.carried();
        proxy.cut();
        tty.expect(&format!("n{}\r\n", line[1..].trim().parse::<usize>().unwrap() + 1)).await;
        eventually("another connection", async || (proxy.carried() > carried).then_some(())).await;
        eventually("a way back", async || (tty.said().matches("connected again").count() == cuts).then_some(())).await;
    }
    tty.expect("all\r\n").await;
    let shown = String::from_utf8(tty.shown()).unwrap();
    // The first one comes after what the shell sends when it starts a command.
    let lines = shown.lines().map(|line| line.rsplit('\r').next().unwrap_or_default().to_owned());
    let lines: Vec<_> = lines.filter(|line| line.starts_with('n')).collect();
    let expected: Vec<_> = (1..=LINES).map(|i| format!("n{i}")).collect();
    assert_eq!(lines, expected);
    // The same bytes as somebody sees whose connection was never cut.
    let shown = shown.replace(SAVE_TITLE, "");
    let mut window = Window::open(&broker.url, Visit::to(&session).viewer()).await;
    window.ready().await;
    window.expect("all\r\n").await;
    assert!(window.text().starts_with(&shown) || shown.starts_with(&window.text()), "{shown:?}\n{:?}", window.text());
    tty.press("exit 5\r");
    assert_eq!(tty.left().await, 5);
}

#[tokio::test]
async fn a_broker_that_is_killed_and_comes_back_is_a_pause() {
    let place = Place::find().await;
    let url = place.url();
    let config = config(&format!("public_url = \"{url}\""), "");
    let broker = Broker::start(&config).await;
    let proxy = Proxy::start(place, &broker.url, None);
    let mut tty = attach(&url, &[]);
    tty.session().await;
    tty.press("kept=$((6*7)); for i in $(seq 200); do echo n$i; sleep 0.01; done\r");
    tty.expect("n20\r\n").await;
    broker.signal("KILL");
    let broker = Broker::start_in(broker.into_directory().await, &config).await;
    proxy.lead_to(&broker.url);
    tty.says("connected again").await;
    tty.expect("n200\r\n").await;
    let shown = String::from_utf8(tty.shown()).unwrap();
    let lines = shown.lines().map(|line| line.rsplit('\r').next().unwrap_or_default());
    let lines: Vec<_> = lines.filter(|line| line.starts_with('n')).map(str::to_owned).collect();
    assert_eq!(lines, (1..=200).map(|i| format!("n{i}")).collect::<Vec<_>>());
    tty.press("exit $kept\r");
    assert_eq!(tty.left().await, 42);
}

#[tokio::test]
async fn what_is_typed_without_a_connection_is_told_and_not_sent() {
    let place = Place::find().await;
    let url = place.url();
    let broker = Broker::start(&config(&format!("public_url = \"{url}\""), "")).await;
    let proxy = Proxy::start(place, &broker.url, None);
    let mut tty = attach(&url, &[]);
    let session = tty.session().await;
    tty.press("echo rea\"\"dy\r");
    tty.expect("ready\r\n").await;
    drop(proxy);
    // Nobody listens there any more, so the next connection is refused.
    let mut window = Window::open(&broker.url, Visit::to(&session)).await;
    window.ready().await;
    window.send_frame(ClientFrame::TakeControl).await;
    tty.says("connecting again").await;
    tty.press("echo lo\"\"st\r");
    tty.press(DETACH);
    assert_eq!(tty.left().await, 0, "the key works without a connection");
    window.input("echo la\"\"st\n").await;
    window.expect("last\r\n").await;
    assert!(!window.text().contains("lo\"\"st"), "{}", window.text());
}

#[tokio::test]
async fn a_query_is_answered_by_the_recorder_and_not_by_this_terminal() {
    let broker = local().await;
    let mut tty = attach(&broker.url, &[]);
    let session = tty.session().await;
    tty.press("stty raw -echo; printf '\\033[c'; head -c 7 | od -c; stty sane; echo answ\"\"ered\r");
    tty.expect("1   ;   2   c").await;
    tty.expect("answered\r\n").await;
    assert_eq!(tty.answered(), 0);
    tty.press(DETACH);
    assert_eq!(tty.left().await, 0);

    let mut again = attach(&broker.url, &[&session]);
    again.expect("answered\r\n").await;
    again.press("echo not\"\"hing\r");
    again.expect("nothing\r\n").await;
    assert_eq!(again.answered(), 0);
    let shown = String::from_utf8(again.shown()).unwrap();
    let (_, after) = shown.split_once("answered\r\n").unwrap();
    assert!(!after.contains("1;2c"), "the replay typed: {after:?}");
    assert!(!shown.as_bytes().windows(QUERY.len()).any(|window| window == QUERY));
}

/// Runs without a terminal, with this input.
fn piped(broker: &str, input: &str) -> (Option<i32>, String, String) {
    let mut child = Command::new(program())
        .args(["attach", "--url", broker])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn pipes_work() {
    let broker = local().await;
    let url = broker.url.clone();
    let run = async |input: &'static str| {
        let url = url.clone();
        tokio::task::spawn_blocking(move || piped(&url, input)).await.unwrap()
    };
    let (status, shown, said) = run("echo $((6*7)); exit 4\n").await;
    assert_eq!(status, Some(4), "{said}");
    assert!(shown.contains("42\r\n"), "{shown}");
    // A pipe that ends is the end of input for the shell, too.
    let (status, shown, said) = run("cat; echo $((7*7))\n").await;
    assert_eq!(status, Some(0), "{said}");
    assert!(shown.contains("49\r\n"), "{shown}");
}

#[tokio::test]
async fn what_cannot_be_reached_is_said_in_words_and_status() {
    let broker = local().await;
    for (arguments, status, words) in [
        (&["attach", "--url", "http://127.0.0.1:1"][..], 255, "broker: cannot reach the broker"),
        (&["attach", "--url", &broker.url, "x"], 255, "is neither an address nor one of your sessions"),
        (&["attach", "--url", &broker.url, "0123456789abcdef0123456789abcdef"], 254, "there is no such session"),
        (&["attach", "--url", &format!("{}/nothing/here", broker.url)], 255, "there is nothing at this address"),
    ] {
        let mut tty = Tty::start(SIZE, arguments, &[]);
        assert_eq!(tty.left().await, status, "{}", tty.said());
        assert!(tty.said().contains(words), "{}", tty.said());
    }
    for command in [&["attach"][..], &["sessions", "list"]] {
        let mut program = Command::new(program());
        program.args(command).args(["--url", "http://127.0.0.1:1"]).stdin(Stdio::null());
        let said = String::from_utf8(program.output().unwrap().stderr).unwrap();
        assert!(said.starts_with("broker: ") && said.contains("BROKER_URL") && !said.contains("os error"), "{said}");
    }
}

#[tokio::test]
async fn input_that_ends_without_control_ends_the_attachment() {
    let broker = local().await;
    let mut first = attach(&broker.url, &[]);
    let session = first.session().await;
    let (url, prefix) = (broker.url.clone(), session[..8].to_owned());
    let output = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(program());
        command.args(["attach", "--url", &url, &prefix]).stdin(Stdio::null()).output().unwrap()
    });
    let output = output.await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(255), "{said}");
    assert!(said.contains("--take") && !said.contains("Enter"), "{said}");
    // With control its end is typed, and the shell ends by it.
    let (url, session) = (broker.url.clone(), session.clone());
    let output = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(program());
        command.args(["attach", "--url", &url, &session, "--take"]).stdin(Stdio::null()).output().unwrap()
    });
    let output = output.await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(first.left().await, 0, "{}", first.said());
}

#[tokio::test]
async fn a_broker_behind_tls_lets_in_who_has_a_token() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let tls = rustls::ServerConfig::builder().with_no_client_auth();
    let tls = tls.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let place = Place::find().await;
    let url = place.url().replacen("http", "https", 1);
    let hash: String = Sha256::digest("right").iter().map(|b| format!("{b:02x}")).collect();
    let auth = format!("[[auth.tokens]]\nname = \"ada\"\nsha256 = \"{hash}\"\n");
    let broker = Broker::start(&config(&format!("public_url = \"{url}\""), &auth)).await;
    let _proxy = Proxy::start(place, &broker.url, Some(tls));
    let roots = tempfile::NamedTempFile::new().unwrap();
    let der = base64::engine::general_purpose::STANDARD.encode(made.cert.der());
    std::fs::write(&roots, format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n")).unwrap();
    let trusted = ("SSL_CERT_FILE", roots.path().to_str().unwrap());

    for (environment, status, words) in [
        (&[trusted, ("BROKER_TOKEN", "wrong")][..], 252, "does not know the token in BROKER_TOKEN"),
        (&[trusted], 252, "needs a token: set BROKER_TOKEN"),
        (&[("BROKER_TOKEN", "right")], 255, "SSL_CERT_FILE"),
    ] {
        let mut tty = Tty::start(SIZE, &["attach", "--url", &url], environment);
        assert_eq!(tty.left().await, status, "{}", tty.said());
        assert!(tty.said().contains(words), "{}", tty.said());
        assert!(!tty.said().contains("right"), "{}", tty.said());
    }
    let mut tty =
        Tty::start(SIZE, &["attach", &url.replacen("https", "wss", 1)], &[trusted, ("BROKER_TOKEN", "right")]);
    tty.press("exit 6\r");
    assert_eq!(tty.left().await, 6);
}

/// A proxy as companies have them: it looks up names for its clients, here
/// always as the broker, and keeps what they ask for.
async fn company_proxy(broker: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://me:secret@{}", listener.local_addr().unwrap());
    let (broker, asked) = (broker.strip_prefix("http://").unwrap().to_owned(), Arc::<Mutex<Vec<String>>>::default());
    let kept = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            kept.lock().unwrap().push(String::from_utf8(head).unwrap());
            let mut broker = tokio::net::TcpStream::connect(&broker).await.unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut broker).await });
        }
    });
    (url, asked)
}

#[tokio::test]
async fn a_broker_beyond_a_proxy_is_reached_through_it() {
    let broker = Broker::start(&config("public_url = \"http://term.invalid\"", "")).await;
    let (proxy, asked) = company_proxy(&broker.url).await;
    let mut tty = Tty::start(SIZE, &["attach", "--url", "http://term.invalid"], &[("HTTP_PROXY", &proxy)]);
    tty.session().await;
    tty.press("exit 7\r");
    assert_eq!(tty.left().await, 7, "{}", tty.said());
    let head = asked.lock().unwrap()[0].to_lowercase();
    assert!(head.starts_with("connect term.invalid:80 ") && head.contains("proxy-authorization: basic "), "{head}");
    for (environment, words) in [
        // The name has no address here.
        (&[("HTTP_PROXY", &*proxy), ("NO_PROXY", "term.invalid")][..], "cannot reach the broker"),
        (&[("HTTP_PROXY", "http://127.0.0.1:1")], "through the proxy http://127.0.0.1:1"),
    ] {
        let mut tty = Tty::start(SIZE, &["attach", "--url", "http://term.invalid"], environment);
        assert_eq!(tty.left().await, 255, "{}", tty.said());
        assert!(tty.said().contains(words) && !tty.said().contains("secret"), "{}", tty.said());
    }
}

/// A server that upgrades and then says this, to everybody who comes; how many
/// came.
async fn hostile(said: Vec<Message>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let came = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&came);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            #[expect(clippy::result_large_err, reason = "tungstenite's own type")]
            let choose = |_: &Request, mut answer: Response| {
                answer.headers_mut().insert("sec-websocket-protocol", "sandbox-broker.v1".parse().unwrap());
                Ok(answer)
            };
            let mut socket = accept_hdr_async(connection, choose).await.unwrap();
            for message in &said {
                let _ = socket.send(message.clone()).await;
            }
            while let Some(Ok(_)) = socket.next().await {}
        }
    });
    (url, came)
}

/// What `ready` says, with these numbers.
fn ready(offset: &str, live: &str) -> Message {
    Message::text(format!(
        r#"{{"type":"ready","session":"s\u001b[2J","client":"c","role":"driver","epoch":1,"offset":{offset},"live":{live},"input":0}}"#
    ))
}

#[tokio::test]
async fn a_server_that_lies_ends_the_visit_in_words() {
    let last = "18446744073709551615";
    let output = |offset: u64| Message::Binary([&[1][..], &offset.to_be_bytes(), b"hi"].concat().into());
    for said in [
        vec![ready(last, "0")],
        vec![ready("0", last)],
        vec![ready("0", "0"), output(u64::MAX)],
        vec![ready("9007199254740992", "0"), output(9_007_199_254_740_992)],
        vec![ready("0", "0"), Message::text(format!(r#"{{"type":"gap","from":0,"to":{last},"reason":""}}"#))],
        vec![ready("0", "0"), Message::text(format!(r#"{{"type":"screen","offset":{last},"data":""}}"#))],
        vec![ready("0", "0"), Message::text("no\u{1b}[2J")],
    ] {
        let (url, came) = hostile(said.clone()).await;
        let mut tty = attach(&url, &[]);
        assert_eq!(tty.left().await, 255, "{said:?}: {}", tty.said());
        let words = tty.said();
        assert!(words.contains("what answers there is no broker") && !words.contains("panicked"), "{words}");
        assert!(words.chars().all(|c| !c.is_control() || "\r\n".contains(c)), "{words:?}");
        assert_eq!(came.load(Ordering::Relaxed), 1, "another try hears the same");
    }
}

#[tokio::test]
async fn a_servers_words_steer_no_terminal() {
    let (url, _) = hostile(vec![
        ready("0", "0"),
        Message::text("{\"type\":\"exit\",\"code\":0,\"reason\":\"gone\\u001b[2J\\u009b2J\\r\\nroot\",\"offset\":0}"),
        Message::Close(Some(CloseFrame { code: 1000.into(), reason: "\u{1b}]0;x\u{7}".into() })),
    ])
    .await;
    let mut tty = attach(&url, &[]);
    assert_eq!(tty.left().await, 0, "{}", tty.said());
    let words = tty.said();
    assert!(words.contains("gone [2J 2J  root"), "{words:?}");
    assert!(words.chars().all(|c| !c.is_control() || "\r\n".contains(c)), "{words:?}");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let _ = std::io::Read::read(&mut connection, &mut head);
        let body = r#"{"error":"no\u001b[2J\u009b2J\u0007\r\nfine"}"#;
        let head = format!("HTTP/1.1 500 x\r\ncontent-length: {}\r\n\r\n", body.len());
        connection.write_all(format!("{head}{body}").as_bytes()).unwrap();
    });
    let mut list = Command::new(program());
    list.args(["sessions", "list"]).env("BROKER_URL", &url).env_remove("BROKER_TOKEN");
    let listed = tokio::task::spawn_blocking(move || list.output().unwrap()).await.unwrap();
    served.join().unwrap();
    let words = String::from_utf8(listed.stderr).unwrap();
    assert_eq!(words.trim_end(), "broker: the broker refused: no [2J 2J   fine");
}

#[tokio::test]
async fn a_shell_that_a_signal_ended_gives_the_programs_status_whatever_the_signal() {
    let broker = local().await;
    for (signal, status) in [("USR1", 138), ("PIPE", 141), ("XCPU", 152), ("SYS", 159), ("RTMIN+2", 164)] {
        let mut tty = attach(&broker.url, &[]);
        tty.session().await;
        tty.press(format!("exec sh -c 'kill -s {signal} $$'\r"));
        let ended = tty.ended().await;
        assert_eq!(ended.code(), Some(status), "{signal}: {}", tty.said());
        let name = format!("the shell was ended by SIG{signal}");
        assert!(tty.said().contains(&name), "{signal}: {}", tty.said());
    }
}
