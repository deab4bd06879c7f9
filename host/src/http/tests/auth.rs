//! Who is let in: tokens, sign-ins, and that no route was forgotten.

use std::time::Duration;

use tokio::time::advance;

use super::harness::{Broker, Options, Told};
use crate::http::Settings;
use crate::http::auth::{Auth, Pass};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// What a stranger may ask.
const OPEN: [&str; 7] =
    ["GET /", "HEAD /", "GET /assets/x", "HEAD /assets/x", "GET /health", "HEAD /health", "POST /sign-in"];

#[tokio::test]
async fn no_route_is_served_without_credentials_but_the_written_list() {
    let broker = Broker::start(Options::default().token("right")).await;
    let paths = crate::http::routes().into_iter().map(|(path, _)| path.replace("{*path}", "x").replace("{id}", "x"));
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
                assert_eq!(answer.status == 401, !OPEN.contains(&line.as_str()), "{line} {credentials:?}: {answer:?}");
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
    assert_eq!(attributes, "HttpOnly; SameSite=Strict; Path=/; Max-Age=43200");
    assert!(cookie.len() >= "broker_session=".len() + 43, "{cookie}");
    let with_cookie = format!("Cookie: theme=dark; {cookie}; a=b\r\n");
    assert_eq!(broker.get("/api/status", &with_cookie).await.status, 200);
    assert_ne!(broker.sign_in("right").await.0, cookie);

    let answer = broker.ask("POST", "/sign-out", &with_cookie).await;
    assert_eq!(answer.status, 204);
    assert!(answer.header("set-cookie").unwrap().starts_with("broker_session=; "));
    assert_eq!(broker.get("/api/status", &with_cookie).await.status, 401);
}

#[tokio::test]
async fn the_cookie_of_a_page_over_tls_is_never_sent_in_the_clear() {
    let options = Options { public_url: Some("https://term.example.com"), ..Options::default() };
    let broker = Broker::start(options.token("right")).await;
    assert!(broker.sign_in("right").await.1.ends_with("; Secure"));
}

#[tokio::test]
async fn a_sign_in_dies_with_its_token() {
    let broker = Broker::start(Options::default().token("old").token("other")).await;
    let (cookie, _) = broker.sign_in("old").await;
    let with_cookie = format!("Cookie: {cookie}\r\n");
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
    let with_cookie = format!("Cookie: {cookie}\r\n");
    let (first, second) = (broker.ticket(&with_cookie).await, broker.ticket(&with_cookie).await);
    // No handshake, but one who may.
    assert_eq!(broker.get(&format!("/terminal?ticket={first}"), "").await.status, 426);
    broker.ask("POST", "/sign-out", &with_cookie).await;
    assert_eq!(broker.get(&format!("/terminal?ticket={second}"), "").await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn a_ticket_waits_half_a_minute_for_its_terminal() {
    let (auth, settings) = (Auth::new(), Settings::default());
    for (after, good) in [(29, true), (30, false)] {
        let ticket = auth.issue(Pass::Open).unwrap();
        advance(Duration::from_secs(after)).await;
        assert_eq!(auth.redeem(&settings, &ticket).is_some(), good, "after {after} s");
    }
}

#[tokio::test]
async fn a_wrong_sign_in_says_so_and_too_many_have_to_wait() {
    let broker = Broker::start(Options::default().token("right")).await;
    for _ in 0..10 {
        let answer = broker.post("/sign-in", "token=wrong").await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.error(), "this is no token of this broker");
        assert_eq!(answer.header("set-cookie"), None);
    }
    let answer = broker.post("/sign-in", "token=right").await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), Some("60"));
    assert_eq!(broker.get("/api/status", "Authorization: Bearer right\r\n").await.status, 200, "others go on");
    assert_eq!(broker.post("/sign-in", "nothing").await.status, 400);
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
