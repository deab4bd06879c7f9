//! Sessions over HTTP and from the command line, as their owner and as
//! somebody else sees them.

use std::process::{Command, Output};

use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::level1::{Visit, Window};
use crate::support::{Broker, eventually, program};

const LOCAL: &str = "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"local\"\n\
                     [providers.local]\nplugin = \"e2b\"\nembedded = \"sandboxd\"\n";

/// A broker for Ada and Bob, whose tokens are their names.
async fn shared() -> Broker {
    Broker::start(&for_two()).await
}

fn for_two() -> String {
    let token = |name: &str| {
        let hash: String = Sha256::digest(name).iter().map(|b| format!("{b:02x}")).collect();
        format!("[[auth.tokens]]\nname = \"{name}\"\nsha256 = \"{hash}\"\n")
    };
    format!("{LOCAL}{}{}", token("ada"), token("bob"))
}

async fn ask(broker: &Broker, who: &str, method: Method, path: &str) -> reqwest::Response {
    let request = reqwest::Client::new().request(method, format!("{}{path}", broker.url));
    request.bearer_auth(who).send().await.unwrap()
}

async fn get(broker: &Broker, who: &str, path: &str) -> (u16, Value) {
    let answer = ask(broker, who, Method::GET, path).await;
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// `broker sessions` with these arguments.
async fn sessions(broker: &Broker, token: Option<&str>, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.arg("sessions").args(arguments).env("BROKER_URL", &broker.url).env_remove("BROKER_TOKEN");
    if let Some(token) = token {
        command.env("BROKER_TOKEN", token);
    }
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_session_is_its_users_own() {
    let broker = shared().await;
    let visit = Visit::default().token("ada").client("desk").size(100, 30);
    let mut window = Window::open(&broker.url, visit).await;
    let ready = window.ready().await;
    let id = &ready.session;

    let (status, list) = get(&broker, "ada", "/api/sessions").await;
    assert_eq!(status, 200);
    let session = &list["sessions"][0];
    assert_eq!(session["id"], **id);
    for (member, value) in [
        ("provider", json!("local")),
        ("state", json!("running")),
        ("generation", json!(1)),
        ("kept", json!(true)),
        ("durability", json!(ready.durability)),
        ("user", json!("ada")),
        ("clients", json!([{ "client": "desk", "role": "driver", "cols": 100, "rows": 30, "guest": null }])),
    ] {
        assert_eq!(session[member], value, "{member}");
    }
    assert!(session["age"].as_f64().unwrap() > 0.0 && session["sandbox"].is_string(), "{session}");
    let (status, one) = get(&broker, "ada", &format!("/api/sessions/{id}")).await;
    assert_eq!((status, &one["id"]), (200, &session["id"]));

    // Bob sees none of it, and cannot tell it from what never was.
    assert_eq!(get(&broker, "bob", "/api/sessions").await, (200, json!({ "sessions": [] })));
    let never = "0123456789abcdef0123456789abcdef";
    for (method, path) in [
        (Method::GET, ""),
        (Method::DELETE, ""),
        (Method::GET, "/recording"),
        (Method::GET, "/files"),
        (Method::GET, "/files/content?path=/etc/hostname"),
        (Method::PUT, "/files/content?path=/workspace/bob"),
        (Method::POST, "/files/directory?path=/workspace/bob"),
        (Method::POST, "/files/rename"),
        (Method::DELETE, "/files?path=/workspace"),
    ] {
        let answer = |id: &str| {
            let path = format!("/api/sessions/{id}{path}");
            let (broker, method) = (&broker, method.clone());
            async move {
                let answer = ask(broker, "bob", method, &path).await;
                (answer.status().as_u16(), answer.text().await.unwrap())
            }
        };
        let (of_ada, of_nobody) = (answer(id).await, answer(never).await);
        assert_eq!(of_ada.0, 404, "{method} {path}: {of_ada:?}");
        assert_eq!(of_ada.1.replace(&**id, never), of_nobody.1, "{method} {path}");
    }
    assert_eq!(get(&broker, "ada", &format!("/api/sessions/{id}/files")).await.0, 200);

    // It lives, and ends by the hand of its own user.
    window.input("echo $((6*7))\n").await;
    window.expect("42\r\n").await;
    let path = format!("/api/sessions/{id}");
    assert_eq!(ask(&broker, "ada", Method::DELETE, &path).await.status(), 204);
    let exit = window.told("exit").await;
    assert!(exit.get("code").is_none(), "{exit}");
    assert_eq!(window.closed().await.code, 1000);
    eventually("the session is gone", async || (get(&broker, "ada", &path).await.0 == 404).then_some(())).await;
    eventually("no sandbox", async || broker.embedded_sandboxes().await.is_empty().then_some(())).await;
}

/// Somebody else, once invited, sees what is shown and can do nothing; also
/// when another process of the broker serves the session by then.
#[tokio::test]
async fn who_is_invited_watches_and_no_more() {
    let mut broker = shared().await;
    let mut ada = Window::open(&broker.url, Visit::default().token("ada").client("desk").size(100, 30)).await;
    let ready = ada.ready().await;
    let (id, invitation) = (ready.session, ready.invitation.expect("its user may invite"));
    let visit = Visit::to(&id).token("bob").client("desk").size(20, 10);
    let uninvited = Window::open(&broker.url, visit.clone()).await.closed().await;
    let stranger = Visit { token: None, ..visit.clone() }.invited(&invitation);
    assert!(Window::try_open(&broker.url, stranger).await.is_err(), "it stands for no token");
    let wrong = Window::open(&broker.url, visit.clone().invited(&"A".repeat(invitation.len()))).await.closed().await;
    assert_eq!((uninvited.code, wrong.code), (4404, 4404));

    let mut bob = Window::open(&broker.url, visit.clone().invited(&invitation)).await;
    let ready = bob.ready().await;
    assert_eq!((&*ready.role, ready.invitation), ("viewer", None));
    assert_ne!(ready.client, "desk", "that is Ada's window");
    let clients = ada.told_that("clients", |said| said["clients"].as_array().unwrap().len() == 2).await;
    assert_eq!((&clients["clients"][0]["guest"], &clients["clients"][1]["guest"]), (&Value::Null, &json!("bob")));
    ada.input("echo $((6*7))\n").await;
    bob.expect("42\r\n").await;
    bob.input("touch /tmp/bob-was-here\n").await;
    assert_eq!(bob.error().await.0, "not-driver");
    bob.send(json!({ "type": "kill" })).await;
    assert_eq!(bob.error().await.0, "not-driver");
    bob.send(json!({ "type": "take-control" })).await;
    assert_eq!(bob.error().await.0, "not-allowed");
    for path in ["", "/files", "/recording"] {
        assert_eq!(get(&broker, "bob", &format!("/api/sessions/{id}{path}")).await.0, 404, "{path}");
    }
    ada.input("stty size\n").await;
    ada.expect("30 100\r\n").await;
    let (_, one) = get(&broker, "ada", &format!("/api/sessions/{id}")).await;
    assert_eq!(one["invitation"], json!(invitation));
    assert!(!broker.log().contains(&invitation), "it is a secret");

    broker.signal("KILL");
    broker = Broker::start_in(broker.into_directory().await, &for_two()).await;
    let mut bob = Window::open(&broker.url, visit.invited(&invitation)).await;
    assert_eq!(bob.ready().await.role, "viewer");
    // A guest is shown the screen first. What comes after it is output.
    bob.told("screen").await;
    let mut ada = Window::open(&broker.url, Visit::to(&id).token("ada").client("desk")).await;
    ada.ready().await;
    ada.input("echo $((40+4))\n").await;
    bob.expect("44\r\n").await;
}

#[tokio::test]
async fn a_recording_is_an_asciicast_of_what_was_shown() {
    let broker = shared().await;
    let mut window = Window::open(&broker.url, Visit::default().token("ada").size(100, 30)).await;
    let id = window.ready().await.session;
    // A program that asks the terminal what it is.
    window.input("echo $((6*7)); printf '\\033[c.'; cat\n").await;
    window.expect("42\r\n\u{1b}[c.").await;
    let answer = ask(&broker, "ada", Method::GET, &format!("/api/sessions/{id}/recording")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/x-asciicast");
    assert_eq!(answer.headers()["content-disposition"], format!("attachment; filename=\"{id}.cast\""));
    let cast = answer.text().await.unwrap();
    let cast = cast.strip_suffix("# end of recording\n").expect("it is whole");
    let mut lines = cast.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let header = lines.next().unwrap();
    assert_eq!((&header["version"], &header["term"]["cols"]), (&json!(3), &json!(100)), "{header}");
    let shown: String =
        lines.filter(|event| event[1] == "o").map(|event| event[2].as_str().unwrap().to_owned()).collect();
    assert!(shown.contains("42\r\n."), "what draws, and nothing that a terminal answers: {shown:?}");
    assert!(shown.contains("echo $((6*7));"), "{shown:?}");
}

#[tokio::test]
async fn without_sign_in_all_sessions_are_everybodys() {
    let broker = Broker::start(LOCAL).await;
    let (mut one, mut other) = (Window::open(&broker.url, Visit::default()).await, broker.connect().await);
    let (one, other) = (one.ready().await.session, other.ready().await["session"].clone());
    let list: Value = broker.get("/api/sessions").await.json().await.unwrap();
    let list = list["sessions"].as_array().unwrap();
    assert_eq!(list.len(), 2);
    let kept = |id: &Value| list.iter().find(|session| session["id"] == *id).unwrap()["kept"].clone();
    assert_eq!((kept(&json!(one)), kept(&other)), (json!(true), json!(false)));
    assert!(list.iter().all(|session| session["user"].is_null()), "{list:?}");
}

#[tokio::test]
async fn the_command_lists_shows_and_ends() {
    let broker = shared().await;
    let mut window = Window::open(&broker.url, Visit::default().token("ada").client("desk").size(100, 30)).await;
    let id = window.ready().await.session;

    let list = sessions(&broker, Some("ada"), &["list"]).await;
    assert!(list.status.success(), "{list:?}");
    let table = text(&list.stdout);
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((row[0], row[1], row[3], row[5], row[6]), (&*id, "running", "local", "ada", "1"), "{table}");
    let show = text(&sessions(&broker, Some("ada"), &["show", &id]).await.stdout);
    assert!(show.contains("driver    desk 100x30\n"), "{show}");
    let link = format!("watch at  {}/?session={id}&role=viewer&invitation=", broker.url);
    assert!(show.contains(&link), "{show}");
    let json: Value =
        serde_json::from_slice(&sessions(&broker, Some("ada"), &["list", "--json"]).await.stdout).unwrap();
    assert_eq!(json["sessions"][0]["id"], *id);
    assert!(sessions(&broker, Some("ada"), &["rename", &id, "the build"]).await.status.success());
    let table = text(&sessions(&broker, Some("ada"), &["list"]).await.stdout);
    assert!(table.lines().nth(1).unwrap().ends_with("1        the build"), "{table}");

    for (token, arguments, words) in [
        (Some("bob"), &["show", &*id][..], "there is no session"),
        (Some("bob"), &["kill", &*id], "there is no session"),
        (Some("bob"), &["rename", &*id, "mine"], "there is no session"),
        (Some("ada"), &["rename", &*id, "two\nlines"], "one line of text"),
        (Some("eve"), &["list"], "does not know the token in BROKER_TOKEN"),
        (None, &["list"], "set BROKER_TOKEN"),
        (Some("ada"), &["show", "../status"], "nor its name"),
        (Some("ada"), &["list", "--url", "http://127.0.0.1:1"], "cannot ask the broker"),
    ] {
        let refused = sessions(&broker, token, arguments).await;
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && said.contains(words), "{arguments:?}: {said}");
    }
    assert_eq!(text(&sessions(&broker, Some("bob"), &["list"]).await.stdout), "no sessions\n");

    assert!(sessions(&broker, Some("ada"), &["kill", &id]).await.status.success());
    window.told("exit").await;
}

#[tokio::test]
async fn a_name_and_an_age_outlive_the_broker() {
    let mut broker = shared().await;
    let mut window = Window::open(&broker.url, Visit::default().token("ada").client("desk")).await;
    let path = format!("/api/sessions/{}", window.ready().await.session);
    let opened = std::time::Instant::now();
    let named = reqwest::Client::new().patch(format!("{}{path}", broker.url)).bearer_auth("ada");
    assert_eq!(named.json(&json!({ "name": "the build" })).send().await.unwrap().status(), 200);
    for signal in ["TERM", "KILL"] {
        broker.signal(signal);
        broker = Broker::start_in(broker.into_directory().await, &for_two()).await;
        let alone = async || Some(get(&broker, "ada", &path).await).filter(|(status, _)| *status == 200);
        let (_, session) = eventually("the session is back", alone).await;
        assert_eq!(session["name"], "the build", "after SIG{signal}");
        let age = session["age"].as_f64().unwrap();
        assert!(age + 1.0 > opened.elapsed().as_secs_f64(), "after SIG{signal}: {age} s");
        assert!(session["kept_for"].as_f64().unwrap() > 0.0, "nobody is there: {session}");
    }
    let mut window = Window::open(&broker.url, Visit::to(path.rsplit('/').next().unwrap()).token("ada")).await;
    window.ready().await;
    assert_eq!(get(&broker, "ada", &path).await.1["kept_for"], Value::Null);
}

#[tokio::test]
async fn a_sign_in_outlives_the_broker_and_a_sign_out_too() {
    let mut broker = shared().await;
    let client = reqwest::Client::new();
    let signed_in = async |broker: &Broker| {
        let form = client.post(format!("{}/sign-in", broker.url)).header("content-type", FORM).body("token=ada");
        let answer = form.send().await.unwrap();
        assert_eq!(answer.status(), 204);
        answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
    };
    let as_page = async |broker: &Broker, method: Method, path: &str, cookie: &str| {
        let request = client.request(method, format!("{}{path}", broker.url)).header("cookie", cookie);
        request.header("origin", &broker.url).send().await.unwrap().status().as_u16()
    };
    let (stays, leaves) = (signed_in(&broker).await, signed_in(&broker).await);
    assert_eq!(as_page(&broker, Method::POST, "/sign-out", &leaves).await, 204);
    for signal in ["TERM", "KILL"] {
        broker.signal(signal);
        broker = Broker::start_in(broker.into_directory().await, &for_two()).await;
        assert_eq!(as_page(&broker, Method::GET, "/api/sessions", &stays).await, 200, "after SIG{signal}");
        assert_eq!(as_page(&broker, Method::GET, "/api/sessions", &leaves).await, 401, "after SIG{signal}");
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// While the broker runs, and when it is started again.
#[tokio::test]
async fn who_has_no_token_any_more_has_no_sandbox_either() {
    let (both, bobs) = (for_two(), for_two().split_once("name = \"bob\"").unwrap().1.to_owned());
    let without_bob = both.replace(&format!("[[auth.tokens]]\nname = \"bob\"{bobs}"), "");
    let mut broker = Broker::start(&both).await;
    for restart in [false, true] {
        let mut ada = Window::open(&broker.url, Visit::default().token("ada")).await;
        let mut bob = Window::open(&broker.url, Visit::default().token("bob")).await;
        let (_, bobs) = (ada.ready().await, bob.ready().await.session);
        assert_eq!(broker.embedded_sandboxes().await.len(), 2);
        if restart {
            broker.signal("KILL");
            broker = Broker::start_in(broker.into_directory().await, &without_bob).await;
        } else {
            broker.edit(&without_bob);
            assert_eq!(bob.closed().await.code, 4401);
            ada.input("echo $((6*7))\n").await;
            ada.expect("42\r\n").await;
        }
        eventually("bob's sandbox is gone", async || (broker.embedded_sandboxes().await.len() == 1).then_some(()))
            .await;
        if restart {
            break;
        }
        ada.send(json!({ "type": "kill" })).await;
        eventually("no sandbox", async || broker.embedded_sandboxes().await.is_empty().then_some(())).await;
        broker.edit(&both);
        eventually("bob is back", async || {
            (ask(&broker, "bob", Method::GET, &format!("/api/sessions/{bobs}")).await.status() == 404).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn to_take_sign_in_away_while_it_runs_is_refused() {
    let broker = shared().await;
    broker.edit(LOCAL);
    broker.logs("found no [auth] section").await;
    assert_eq!(broker.get("/api/sessions").await.status(), 401);
}
