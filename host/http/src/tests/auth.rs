//! Who is let in: tokens, sign-ins, and that no route was forgotten.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::advance;

use super::harness::{Answer, Broker, Kept, Options, Told};
use crate::Settings;
use crate::access::auth::{Auth, Pass};

/// A handshake with these fields.
fn upgrade(fields: &str) -> String {
    format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}"
    )
}

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// What a stranger may ask.
const OPEN: [&str; 9] = [
    "GET /",
    "HEAD /",
    "GET /assets/x",
    "HEAD /assets/x",
    "GET /health",
    "HEAD /health",
    "GET /signed-in",
    "HEAD /signed-in",
    "POST /sign-in",
];

#[tokio::test]
async fn no_route_is_served_without_credentials_but_the_written_list() {
    let broker = Broker::start(Options::default().token("right")).await;
    let paths = crate::router::routes().into_iter().map(|(path, _)| path.replace("{*path}", "x").replace("{id}", "x"));
    for path in paths.chain(["/nothing/here".to_owned()]) {
        for method in METHODS {
            let line = format!("{method} {path}");
            for credentials in [
                "",
                "Authorization: Bearer wrong\r\n",
                "Authorization: Basic cmlnaHQ=\r\n",
                "Cookie: broker_session=right\r\n",
            ] {
                let answer = broker.ask(method, &path, credentials).await;
                // Of wrong tokens there are soon too many.
                let refused = answer.status == 401 || (answer.status == 429 && credentials.contains("wrong"));
                assert_eq!(refused, !OPEN.contains(&line.as_str()), "{line} {credentials:?}: {answer:?}");
            }
            let answer = broker.ask(method, &path, "Authorization: Bearer right\r\n").await;
            assert_ne!(answer.status, 401, "{line}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn without_tokens_everybody_is_let_in() {
    let broker = Broker::start(Options::default()).await;
    let answer = broker.get("/api/session", "").await;
    assert_eq!(
        answer.json(),
        serde_json::json!({
            "authenticated": true, "required": false, "provider": "fake", "version": env!("CARGO_PKG_VERSION"),
            "host": broker.address.to_string(), "handshake": null,
        })
    );
}

#[tokio::test]
async fn with_an_empty_list_of_tokens_nobody_is_let_in() {
    let broker = Broker::start(Options { tokens: Some(Vec::new()), ..Options::default() }).await;
    assert_eq!(broker.get("/api/status", "Authorization: Bearer \r\n").await.status, 401);
    assert_eq!(broker.post("/sign-in", "token=").await.status, 401);
}

#[tokio::test]
async fn a_terminal_that_needed_no_token_ends_when_one_is_needed() {
    let broker = Broker::start(Options::default()).await;
    let mut client = broker.terminal().await;
    client.ready().await;
    broker.set_tokens(&["new"]);
    assert_eq!(client.error().await, "signed out; sign in again");
    assert!(matches!(client.told().await, Told::Close(4401, _)));
}

#[tokio::test]
async fn the_page_learns_that_it_must_sign_in() {
    let broker = Broker::start(Options::default().token("right")).await;
    let answer = broker.get("/api/session", "").await;
    assert_eq!(answer.status, 401);
    let json = answer.json();
    assert_eq!((&json["authenticated"], &json["required"]), (&false.into(), &true.into()));
    assert!(json.get("provider").is_none() && json.get("version").is_none(), "a stranger learns nothing");
}

#[tokio::test]
async fn a_sign_in_sets_a_strict_cookie_that_lets_in_until_the_sign_out() {
    let broker = Broker::start(Options::default().token("right")).await;
    let (cookie, attributes) = broker.sign_in("right").await;
    assert_eq!(attributes, "HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000");
    let (name, value) = cookie.split_once('=').unwrap();
    assert!(name.starts_with("broker_session_") && value.len() >= 43, "{cookie}");
    let with_cookie = broker.own_page(&format!("theme=dark; {cookie}; a=b"));
    assert_eq!(broker.get("/api/status", &with_cookie).await.status, 200);
    assert_ne!(broker.sign_in("right").await.0, cookie);

    let answer = broker.ask("POST", "/sign-out", &with_cookie).await;
    assert_eq!(answer.status, 204);
    assert!(answer.header("set-cookie").unwrap().starts_with(&format!("{name}=; ")));
    assert_eq!(broker.get("/api/status", &with_cookie).await.status, 401);
}

#[tokio::test]
async fn a_cookie_counts_for_the_brokers_own_pages_only() {
    let options = Options { frontend_url: Some("http://localhost:5174"), ..Options::default().token("right") };
    let broker = Broker::start(options).await;
    let port = broker.address.port();
    let (cookie, _) = broker.sign_in("right").await;
    for (page, reads, changes, opens) in [
        (format!("Origin: http://127.0.0.1:{port}\r\n"), true, true, true),
        (format!("Origin: http://localhost:{port}\r\nSec-Fetch-Site: same-origin\r\n"), true, true, true),
        // Over plain http a browser names no page that only reads.
        (String::new(), true, false, false),
        ("Sec-Fetch-Site: same-origin\r\n".to_owned(), true, false, false),
        ("Sec-Fetch-Site: none\r\n".to_owned(), true, false, false),
        // Another port of the host is the same site, so the cookie comes along.
        ("Origin: http://localhost:5174\r\n".to_owned(), false, false, false),
        ("Origin: http://localhost:5174\r\nSec-Fetch-Site: same-site\r\n".to_owned(), false, false, false),
        (
            "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n".to_owned(),
            false,
            false,
            false,
        ),
    ] {
        let fields = format!("{page}Cookie: {cookie}\r\n");
        let read = broker.get("/api/status", &fields).await.status;
        assert_eq!(read, if reads { 200 } else { 401 }, "{page:?}");
        let change = broker.ask("POST", "/api/tickets", &fields).await.status;
        let refused = if page.contains("navigate") { 403 } else { 401 };
        assert_eq!(change, if changes { 201 } else { refused }, "{page:?}");
        let open = broker.get("/terminal", &upgrade(&fields)).await.status;
        assert_eq!(open, if opens { 101 } else { 401 }, "{page:?}");
    }
    // With a ticket, or a token, the frontend's page is as good as any.
    let frontend = "Origin: http://localhost:5174\r\n";
    let ticket = broker.ticket(&format!("{frontend}Authorization: Bearer right\r\n")).await;
    assert_eq!(broker.get(&format!("/terminal?ticket={ticket}"), &upgrade(frontend)).await.status, 101);
    // It signs nobody in, under whatever name.
    let answer = sign_in(&broker, "right", frontend).await;
    assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{answer:?}");
}

#[tokio::test]
async fn without_tokens_the_frontends_page_needs_no_ticket() {
    let broker = Broker::start(Options { frontend_url: Some("http://localhost:5174"), ..Options::default() }).await;
    let mut client = broker.terminal_with(&[("origin", "http://localhost:5174")]).await;
    client.ready().await;
}

/// Signs in with further fields.
async fn sign_in(broker: &Broker, token: &str, fields: &str) -> Answer {
    let host = if fields.contains("Host:") { String::new() } else { format!("Host: {}\r\n", broker.address) };
    let form = format!("token={token}");
    broker
        .send(&format!(
            "POST /sign-in HTTP/1.1\r\n{host}{fields}Connection: close\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
            form.len()
        ))
        .await
}

#[tokio::test]
async fn two_cookies_of_our_name_let_nobody_in_in_either_order() {
    let broker = Broker::start(Options::default().token("ada").token("bob")).await;
    let ((ada, _), (bob, _)) = (broker.sign_in("ada").await, broker.sign_in("bob").await);
    let one = broker.own_page(&ada);
    assert_eq!(broker.get("/api/status", &one).await.status, 200);
    for both in [format!("{ada}; {bob}"), format!("{bob}; {ada}"), format!("{ada}\r\nCookie: {bob}")] {
        let both = broker.own_page(&both);
        for path in ["/api/status", "/api/session", "/api/sessions"] {
            let answer = broker.get(path, &both).await;
            assert_eq!(answer.status, 400, "{path} {both}");
            assert!(answer.error().contains("several cookies named broker_session_"), "{answer:?}");
        }
        assert_eq!(broker.get("/terminal", &upgrade(&both)).await.status, 400);
        let answer = sign_in(&broker, "ada", &both).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (400, None), "{answer:?}");
        // A token is its own proof, and the page comes up to show the words.
        let by_token = format!("{both}Authorization: Bearer ada\r\n");
        assert_eq!(broker.get("/api/status", &by_token).await.status, 200);
        assert_ne!(broker.get("/", &both).await.status, 400);
    }
}

#[tokio::test]
async fn the_cookie_of_a_page_over_tls_is_kept_to_its_host() {
    let options = Options { public_urls: vec!["https://term.example.com"], ..Options::default() };
    let broker = Broker::start(options.token("right")).await;
    let tls = "Host: term.example.com\r\nOrigin: https://term.example.com\r\n";
    let answer = sign_in(&broker, "right", tls).await;
    let (cookie, attributes) = answer.header("set-cookie").unwrap().split_once("; ").unwrap();
    assert!(cookie.starts_with("__Host-broker_session_") && attributes.ends_with("; Secure"), "{answer:?}");
    assert!(attributes.contains("Path=/;") && !attributes.contains("Domain"), "{attributes}");
    let ask = async |fields: String| {
        broker.send(&format!("GET /api/status HTTP/1.1\r\n{fields}Connection: close\r\n\r\n")).await.status
    };
    assert_eq!(ask(format!("{tls}Cookie: {cookie}\r\n")).await, 200);
    // Without the prefix anybody could have set it.
    assert_eq!(ask(format!("{tls}Cookie: {}\r\n", cookie.strip_prefix("__Host-").unwrap())).await, 401);
    // A proxy may name another `Host` than the browser did.
    let renamed = format!("Host: {}\r\nOrigin: https://term.example.com\r\n", broker.address);
    let answer = sign_in(&broker, "right", &renamed).await;
    let (cookie, _) = answer.header("set-cookie").unwrap().split_once("; ").unwrap();
    assert!(cookie.starts_with("__Host-"), "{cookie}");
    assert_eq!(ask(format!("Host: {}\r\nCookie: {cookie}\r\n", broker.address)).await, 200);
    // On the machine itself plain http is as good.
    let (plain, attributes) = broker.sign_in("right").await;
    assert!(plain.starts_with("broker_session_") && !attributes.contains("Secure"), "{plain} {attributes}");
    assert_eq!(broker.get("/api/status", &broker.own_page(&plain)).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_page_in_the_clear_beyond_this_machine_is_told_to_use_tls() {
    let urls = vec!["http://broker.lan:3000", "https://term.example.com"];
    let options = Options { public_urls: urls, ..Options::default() };
    let broker = Broker::start(options.token("right")).await;
    let sign_in = async |host: &str| {
        let form = "token=right";
        let request = format!(
            "POST /sign-in HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nConnection: close\r\n\
             Content-Length: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
            form.len()
        );
        broker.send_to("192.0.2.7:3000", &request).await
    };
    // Which its operator has allowed.
    let answer = sign_in("broker.lan:3000").await;
    assert!(answer.status == 204 && !answer.header("set-cookie").unwrap().contains("Secure"), "{answer:?}");
    let answer = sign_in("192.0.2.7:3000").await;
    assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{answer:?}");
    assert!(answer.error().contains("open https://term.example.com"), "{answer:?}");
}

#[tokio::test]
async fn a_sign_in_survives_a_restart_and_a_sign_out_does_too() {
    let options = Options::default().token("right");
    let broker = Broker::start(options.clone()).await;
    let ((stays, _), (leaves, _)) = (broker.sign_in("right").await, broker.sign_in("right").await);
    assert_eq!(broker.ask("POST", "/sign-out", &broker.own_page(&leaves)).await.status, 204);
    broker.stop().await;
    let next = Broker::start(options.clone()).await;
    assert_eq!(next.get("/api/status", &next.own_page(&stays)).await.status, 200);
    assert_eq!(next.get("/api/status", &next.own_page(&leaves)).await.status, 401);
    // What is kept is no credential.
    for kept in options.kept.all() {
        assert!(!stays.contains(&format!("{kept:?}")));
        let digest: [u8; 32] = *kept.cookie.bytes();
        let value = format!("{}={}", stays.split_once('=').unwrap().0, URL_SAFE_NO_PAD.encode(digest));
        assert_eq!(next.get("/api/status", &next.own_page(&value)).await.status, 401);
    }
}

#[tokio::test]
async fn one_person_signs_nobody_else_out() {
    let mut broker = Broker::start(Options::default().token("ada").token("bob")).await;
    let (ada, _) = broker.sign_in("ada").await;
    let origin = broker.origin();
    let mut adas = broker.terminal_with(&[("cookie", &ada), ("origin", &origin)]).await;
    adas.ready().await;
    let mut shell = broker.shell().await;
    let mut bobs = Vec::new();
    for _ in 0..200 {
        bobs.push(broker.sign_in("bob").await.0);
    }
    for bob in [&bobs[0], &bobs[183]] {
        assert_eq!(broker.get("/api/status", &broker.own_page(bob)).await.status, 401, "bob's own oldest gave way");
    }
    for bob in &bobs[184..] {
        assert_eq!(broker.ask("POST", "/sign-out", &broker.own_page(bob)).await.status, 204);
    }
    assert_eq!(broker.get("/api/status", &broker.own_page(&ada)).await.status, 200);
    adas.input("still here").await;
    shell.typed("still here").await;
}

#[tokio::test]
async fn a_sign_out_closes_what_that_sign_in_opened_and_nothing_else() {
    let mut broker = Broker::start(Options::default().token("ada")).await;
    let ((one, _), (two, _)) = (broker.sign_in("ada").await, broker.sign_in("ada").await);
    let origin = broker.origin();
    let mut first = broker.terminal_with(&[("cookie", &one), ("origin", &origin)]).await;
    first.ready().await;
    let _firsts = broker.shell().await;
    let mut second = broker.terminal_with(&[("cookie", &two), ("origin", &origin)]).await;
    second.ready().await;
    let mut shell = broker.shell().await;
    assert_eq!(broker.ask("POST", "/sign-out", &broker.own_page(&one)).await.status, 204);
    assert_eq!(first.error().await, "signed out; sign in again");
    assert!(matches!(first.told().await, Told::Close(4401, _)));
    second.input("still here").await;
    shell.typed("still here").await;
}

#[tokio::test]
async fn a_sign_in_dies_with_its_token() {
    let broker = Broker::start(Options::default().token("old").token("other")).await;
    let (cookie, _) = broker.sign_in("old").await;
    let with_cookie = broker.own_page(&cookie);
    assert_eq!(broker.get("/api/status", &with_cookie).await.status, 200);
    broker.set_tokens(&["new", "other"]);
    assert_eq!(broker.get("/api/status", &with_cookie).await.status, 401);
    assert_eq!(broker.get("/api/status", "Authorization: Bearer old\r\n").await.status, 401);
    assert_eq!(broker.get("/api/status", "Authorization: bearer new\r\n").await.status, 200);
}

#[tokio::test]
async fn a_ticket_opens_one_terminal_and_nothing_else() {
    let broker = Broker::start(Options::default().token("right")).await;
    let ticket = broker.ticket("Authorization: Bearer right\r\n").await;
    let query = format!("?cols=80&ticket={ticket}&rows=24");
    for (method, path) in [("GET", "/api/status"), ("POST", "/api/tickets"), ("GET", "/api/sessions")] {
        assert_eq!(broker.ask(method, &format!("{path}{query}"), "").await.status, 401, "{path}");
    }
    let mut client = broker.terminal_at(&query, &[]).await;
    client.ready().await;
    assert_eq!(broker.get(&format!("/terminal{query}"), "").await.status, 401, "it is used up");
    assert_eq!(broker.get("/terminal?ticket=", "").await.status, 401);
    // The terminal ends as one that was opened with the token itself.
    broker.set_tokens(&["new"]);
    assert_eq!(client.error().await, "signed out; sign in again");
    assert!(matches!(client.told().await, Told::Close(4401, _)));
}

#[tokio::test]
async fn a_ticket_dies_with_the_sign_in_that_it_stands_for() {
    let broker = Broker::start(Options::default().token("right")).await;
    let (cookie, _) = broker.sign_in("right").await;
    let with_cookie = broker.own_page(&cookie);
    let (first, second) = (broker.ticket(&with_cookie).await, broker.ticket(&with_cookie).await);
    // No handshake, but one who may.
    assert_eq!(broker.get(&format!("/terminal?ticket={first}"), "").await.status, 426);
    broker.ask("POST", "/sign-out", &with_cookie).await;
    assert_eq!(broker.get(&format!("/terminal?ticket={second}"), "").await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn a_ticket_waits_half_a_minute_for_its_terminal() {
    let (auth, settings) = (Auth::new("broker", Arc::<Kept>::default(), Vec::new()), Settings::default());
    for (after, good) in [(29, true), (30, false)] {
        let ticket = auth.issue(Pass::Open).unwrap();
        advance(Duration::from_secs(after)).await;
        assert_eq!(auth.redeem(&settings, &ticket).is_some(), good, "after {after} s");
    }
}

#[tokio::test]
async fn a_wrong_sign_in_says_so_and_a_right_one_is_never_refused() {
    let broker = Broker::start(Options::default().token("right")).await;
    for _ in 0..10 {
        let answer = broker.post("/sign-in", "token=wrong").await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.error(), "this is no token of this broker");
        assert_eq!(answer.header("set-cookie"), None);
    }
    let answer = broker.post("/sign-in", "token=wrong").await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), Some("60"));
    assert_eq!(broker.post("/sign-in", "token=right").await.status, 204);
    assert_eq!(broker.get("/api/status", "Authorization: Bearer right\r\n").await.status, 200);
    assert_eq!(broker.post("/sign-in", "nothing").await.status, 400);
}

#[tokio::test]
async fn wrong_bearers_are_counted_as_wrong_sign_ins_are() {
    let broker = Broker::start(Options::default().token("right")).await;
    let statuses = async |credentials: &str, times: usize| {
        let mut all = Vec::new();
        for _ in 0..times {
            all.push(broker.get("/api/status", credentials).await.status);
        }
        all
    };
    assert_eq!(statuses("Authorization: Bearer wrong\r\n", 10).await, [401; 10]);
    assert_eq!(statuses("Authorization: Bearer wrong\r\n", 2).await, [429; 2]);
    assert_eq!(broker.post("/sign-in", "token=wrong").await.status, 429, "one count for both");
    assert_eq!(statuses("Authorization: Bearer right\r\n", 1).await, [200]);
    assert_eq!(statuses("", 1).await, [401], "no token is no wrong one");
}

#[tokio::test]
async fn behind_a_trusted_proxy_wrong_tokens_are_counted_for_its_client() {
    let wrong = |client: &str| format!("Authorization: Bearer wrong\r\nX-Forwarded-For: {client}\r\n");
    let options = Options { trusted_proxies: vec!["127.0.0.1/32"], ..Options::default().token("right") };
    for (options, counted) in [(options, 401), (Options::default().token("right"), 429)] {
        let broker = Broker::start(options).await;
        for n in 0..10 {
            // What a client says itself stands to the left.
            let answer = broker.get("/api/status", &wrong(&format!("203.0.113.{n}, 198.51.100.7"))).await;
            assert_eq!(answer.status, 401);
        }
        assert_eq!(broker.get("/api/status", &wrong("203.0.113.99, 198.51.100.7")).await.status, 429);
        assert_eq!(broker.get("/api/status", &wrong("198.51.100.8")).await.status, counted, "another client");
    }
}

#[tokio::test]
async fn a_status_tells_the_operator_how_it_is() {
    let broker = Broker::start(Options::default()).await;
    broker.config.send_modify(|config| {
        config.generation = 7;
        config.error = Some("broker.toml:3:1: no".to_owned());
    });
    let json = broker.get("/api/status", "").await.json();
    assert_eq!(json["config"], serde_json::json!({ "generation": 7, "error": "broker.toml:3:1: no" }));
    assert_eq!(json["provider"], "fake");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn a_status_tells_signed_in_people_no_paths_and_settings() {
    let broker = Broker::start(Options::default().token("ada")).await;
    let (cookie, _) = broker.sign_in("ada").await;
    broker.config.send_modify(|config| config.error = Some("/etc/broker/broker.toml:3:1: secret".to_owned()));
    for credentials in ["Authorization: Bearer ada\r\n".to_owned(), broker.own_page(&cookie)] {
        let answer = broker.get("/api/status", &credentials).await;
        assert!(!answer.body().contains("broker.toml") && !answer.body().contains("secret"), "{answer:?}");
        assert!(answer.json()["config"]["error"].as_str().unwrap().contains("broker's log"), "{answer:?}");
    }
}

#[tokio::test]
async fn health_has_the_documented_shape() {
    let broker = Broker::start(Options::default()).await;
    let answer = broker.get("/health", "").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let json = answer.json();
    assert_eq!(json["status"], "healthy");
    assert!(json["uptime"].as_f64().unwrap() < Duration::from_secs(60).as_secs_f64());
    let timestamp = json["timestamp"].as_str().unwrap();
    assert_eq!(timestamp.len(), "2024-01-01T00:00:00.000Z".len(), "{timestamp}");
    timestamp.parse::<jiff::Timestamp>().unwrap();
}
