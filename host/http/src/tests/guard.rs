//! Foreign pages, foreign names, handmade headers.

use super::harness::{Broker, Options};

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A path of every route.
fn paths() -> impl Iterator<Item = String> {
    crate::router::routes().into_iter().map(|(path, _)| path.replace("{*path}", "x").replace("{id}", "x"))
}

async fn broker() -> Broker {
    let options = Options {
        public_urls: vec!["https://term.example.com"],
        frontend_url: Some("http://localhost:5174"),
        ..Options::default()
    };
    Broker::start(options).await
}

#[tokio::test]
async fn only_our_own_pages_and_the_frontends_reach_any_route() {
    let broker = broker().await;
    let port = broker.address.port();
    let ours = [
        String::new(),
        format!("Origin: http://127.0.0.1:{port}\r\n"),
        format!("Origin: http://localhost:{port}\r\n"),
        format!("Origin: http://[::1]:{port}\r\n"),
        "Origin: https://term.example.com\r\n".to_owned(),
        "Origin: http://localhost:5174\r\n".to_owned(),
        "Sec-Fetch-Site: same-origin\r\n".to_owned(),
        "Sec-Fetch-Site: none\r\n".to_owned(),
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n".to_owned(),
    ];
    let foreign = [
        "Origin: null\r\n".to_owned(),
        "Origin: \r\n".to_owned(),
        "Origin: *\r\n".to_owned(),
        "Origin: https://evil.example\r\n".to_owned(),
        format!("Origin: https://localhost:{port}\r\n"),
        format!("Origin: http://localhost:{port}.evil.example\r\n"),
        format!("Origin: http://localhost:{port}@evil.example\r\n"),
        "Origin: http://localhost\r\n".to_owned(),
        "Origin: http://localhost:5175\r\n".to_owned(),
        "Origin: http://term.example.com\r\n".to_owned(),
        "Origin: https://term.example.com.\r\n".to_owned(),
        format!("Origin: http://localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"),
        format!("Origin: http://localhost:{port}, https://evil.example\r\n"),
        "Origin: http://localhost:5174\u{e9}\r\n".to_owned(),
        "Sec-Fetch-Site: cross-site\r\n".to_owned(),
        "Sec-Fetch-Site: same-site\r\n".to_owned(),
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n".to_owned(),
    ];
    for path in paths() {
        let path = path.as_str();
        let extra = if path == "/terminal" { UPGRADE } else { "" };
        for headers in &ours {
            let answer = broker.get(path, &format!("{headers}{extra}")).await;
            assert_ne!(answer.status, 403, "{path} {headers:?}: {answer:?}");
            assert_eq!(answer.status == 101, path == "/terminal", "{path} {headers:?}: {answer:?}");
        }
        // Of the page's files a browser says less; see below.
        let public = path.starts_with("/assets/");
        for headers in foreign.iter().filter(|headers| !public || headers.starts_with("Sec-Fetch-Site")) {
            let answer = broker.get(path, &format!("{headers}{extra}")).await;
            assert_eq!(answer.status, 403, "{path} {headers:?}: {answer:?}");
            assert!(answer.error().contains("broker.toml"), "{answer:?}");
        }
    }
    assert_eq!(broker.get("/nothing/here", "Origin: https://evil.example\r\n").await.status, 403);
}

/// Who may write pages of one of the broker's addresses gets nothing at the
/// others.
#[tokio::test]
async fn an_origin_counts_at_its_own_host_only() {
    let public_urls = vec!["https://term.example.com", "https://lab.example.com"];
    let broker = Broker::start(Options { public_urls, ..Options::default() }).await;
    let own = format!("http://localhost:{}", broker.address.port());
    let status = async |host: &str, origin: &str| {
        let request =
            format!("GET /api/session HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n");
        broker.send(&request).await.status
    };
    for name in ["term", "lab"] {
        let (host, origin) = (format!("{name}.example.com"), format!("https://{name}.example.com"));
        assert_eq!(status(&host, &origin).await, 200);
        assert_eq!(status(&format!("{host}:443"), &origin).await, 200);
        assert_eq!(status(&broker.address.to_string(), &origin).await, 200, "a proxy that names the listener");
        assert_eq!(status(&host, &own).await, 403, "somebody's own machine");
    }
    assert_eq!(status("lab.example.com", "https://term.example.com").await, 403);
    assert_eq!(status("term.example.com", "https://lab.example.com").await, 403);
}

/// A browser tells the page's origin with its scripts and styles. Behind a
/// proxy that names another host the page has to come up to say so.
#[tokio::test]
async fn the_pages_files_are_for_every_origin_and_only_for_known_hosts() {
    let broker = broker().await;
    let status = async |host: &str| {
        let request = format!(
            "GET /assets/none.js HTTP/1.1\r\nHost: {host}\r\nOrigin: https://other.example.com\r\nConnection: close\r\n\r\n"
        );
        broker.send(&request).await.status
    };
    assert_eq!(status(&broker.address.to_string()).await, 404);
    assert_eq!(status("other.example.com").await, 403);
}

/// A browser that was to show a page shows why there is none; a program gets
/// JSON.
#[tokio::test]
async fn a_refusal_is_a_page_for_who_asked_for_one() {
    let broker = broker().await;
    let ask = async |accept: &str| {
        let fields = format!("Host: sandbox.lan\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
        broker.send(&format!("GET / HTTP/1.1\r\n{fields}")).await
    };
    let page = ask("text/html,application/xhtml+xml").await;
    assert_eq!((page.status, page.header("content-type")), (403, Some("text/html; charset=utf-8")));
    for words in
        ["sandbox.lan", "[server]\npublic_url = &quot;http://sandbox.lan&quot;", "proxy_set_header Host $http_host"]
    {
        assert!(page.body().contains(words), "{words}: {}", page.body());
    }
    assert_eq!(ask("*/*").await.header("content-type"), Some("application/json"));
    let found = broker.get("/nothing", "Accept: text/html\r\n").await;
    assert!(found.status == 404 && found.body().contains("<h1>"), "{found:?}");
}

/// A proxy that takes `Upgrade` away: the window is told what arrived.
#[tokio::test]
async fn the_page_learns_that_its_handshake_lost_its_upgrade() {
    let broker = Broker::start(Options::default()).await;
    let asked = async || broker.get("/api/session?client=w1", "").await.json()["handshake"].clone();
    assert_eq!(asked().await, serde_json::Value::Null);
    let stripped = UPGRADE.lines().filter(|field| {
        !field.to_lowercase().starts_with("upgrade") && !field.to_lowercase().starts_with("connection")
    });
    let stripped: String = stripped.map(|field| format!("{field}\r\n")).collect();
    assert_eq!(broker.get("/terminal?client=w1", &stripped).await.status, 426);
    assert_eq!(asked().await, "no-upgrade");
    assert_eq!(broker.get("/api/session?client=w2", "").await.json()["handshake"], serde_json::Value::Null);
}

#[tokio::test]
async fn only_our_own_names_reach_any_route() {
    let broker = broker().await;
    let port = broker.address.port();
    let ours = [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("LocalHost:{port}"),
        format!("[::1]:{port}"),
        // Of a tunnel, whose port is another.
        "localhost:8080".to_owned(),
        "127.0.0.1:1".to_owned(),
        "[::1]:8080".to_owned(),
        "broker.localhost".to_owned(),
        "localhost".to_owned(),
        "term.example.com".to_owned(),
        "term.example.com:443".to_owned(),
    ];
    let foreign = [
        format!("evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        format!("127.0.0.2:{port}"),
        format!("localhost.:{port}"),
        "localhost:".to_owned(),
        "term.example.com:80".to_owned(),
        format!("user@localhost:{port}"),
        format!("localhost:{port}, evil.example"),
    ];
    for path in paths().filter(|path| path != "/health") {
        for host in &ours {
            let answer =
                broker.send(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
            assert!(![400, 403].contains(&answer.status), "{path} {host}: {answer:?}");
        }
        for host in &foreign {
            let answer =
                broker.send(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
            assert_eq!(answer.status, 403, "{path} {host}: {answer:?}");
            assert!(answer.error().contains("server.public_url"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_broker_has_as_many_public_origins_as_are_configured() {
    let urls = vec!["https://term.example.com", "https://term.corp.example:8443", "http://broker.lan:3000"];
    let broker = Broker::start(Options { public_urls: urls, ..Options::default() }).await;
    for (host, origin, status) in [
        ("term.example.com", "https://term.example.com", 200),
        ("term.corp.example:8443", "https://term.corp.example:8443", 200),
        ("broker.lan:3000", "http://broker.lan:3000", 200),
        ("term.corp.example", "https://term.corp.example", 403),
        ("broker.lan:3000", "https://broker.lan:3000", 403),
        ("third.example", "https://third.example", 403),
        // One may serve more than the broker.
        ("term.example.com", "https://term.corp.example:8443", 403),
        ("broker.lan:3000", "https://term.example.com", 403),
    ] {
        let fields = format!("Host: {host}\r\nOrigin: {origin}\r\nConnection: close\r\n");
        let answer = broker.send(&format!("GET /api/status HTTP/1.1\r\n{fields}\r\n")).await;
        assert_eq!(answer.status, status, "{origin}: {answer:?}");
        assert!(status == 200 || answer.error().contains("server.public_urls"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_request_names_one_host_and_means_it() {
    let broker = broker().await;
    let us = broker.address;
    for (head, status) in [
        ("GET /api/status HTTP/1.1\r\n".to_owned(), 400),
        (format!("GET /api/status HTTP/1.1\r\nHost: {us}\r\nHost: {us}\r\n"), 400),
        (format!("GET http://evil.example/api/status HTTP/1.1\r\nHost: {us}\r\n"), 403),
        (format!("GET http://{us}/api/status HTTP/1.1\r\nHost: evil.example\r\n"), 403),
        (format!("GET http://{us}/api/status HTTP/1.1\r\nHost: {us}\r\n"), 200),
    ] {
        let answer = broker.send(&format!("{head}Connection: close\r\n\r\n")).await;
        assert_eq!(answer.status, status, "{head:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_load_balancer_asks_for_health_by_any_name_or_none() {
    let broker = broker().await;
    for head in [
        "GET /health HTTP/1.0\r\n",
        "HEAD /health HTTP/1.0\r\n",
        "GET /health HTTP/1.1\r\nHost: broker-service\r\n",
        "GET /health HTTP/1.1\r\nHost: 10.0.0.7:3000\r\n",
    ] {
        let answer = broker.send(&format!("{head}Connection: close\r\n\r\n")).await;
        assert_eq!(answer.status, 200, "{head:?}: {answer:?}");
    }
    // But no foreign page.
    assert_eq!(broker.get("/health", "Origin: https://evil.example\r\n").await.status, 403);
}

#[tokio::test]
async fn behind_a_tunnel_our_own_pages_are_those_of_the_port_that_was_asked() {
    let broker = broker().await;
    let ask = async |host: &str, origin: &str| {
        let fields = format!("Host: {host}\r\nOrigin: {origin}\r\n{UPGRADE}");
        broker.send(&format!("GET /terminal HTTP/1.1\r\n{fields}\r\n")).await.status
    };
    for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "broker.localhost:8080"] {
        assert_eq!(ask(host, &format!("http://{host}")).await, 101, "{host}");
        for foreign in ["http://localhost:8081", "http://evil.localhost:8080", "null", "ftp://localhost:8080"] {
            assert_eq!(ask(host, foreign).await, 403, "{host} {foreign}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn names_of_loopback_are_nobodys_beyond_this_machine() {
    let broker = broker().await;
    for host in ["localhost:8080", "localhost:3000", "broker.localhost"] {
        let request = format!("GET /api/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(broker.send_to("192.0.2.7:3000", &request).await.status, 403, "{host}");
    }
}

#[tokio::test]
async fn the_frontend_may_read_the_answers_and_nobody_else() {
    let broker = broker().await;
    let answer = broker.get("/health", "Origin: http://localhost:5174\r\n").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:5174"));
    assert_eq!(answer.header("vary"), Some("origin"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    let own = broker.get("/health", "Origin: https://term.example.com\r\n").await;
    assert_eq!(own.header("access-control-allow-origin"), None);
    assert_eq!(own.header("vary"), Some("origin"), "or a cache gives this answer to the frontend");

    assert!(answer.header("access-control-expose-headers").unwrap().contains("content-range"));
    assert_eq!(own.header("access-control-expose-headers"), None);

    let preflight = |origin: &str| {
        format!(
            "OPTIONS /api/status HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: GET\r\n\
             Access-Control-Request-Headers: authorization\r\nConnection: close\r\n\r\n",
            broker.address
        )
    };
    let answer = broker.send(&preflight("http://localhost:5174")).await;
    assert_eq!(answer.status, 204);
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("authorization, content-type, if-none-match, range")
    );
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, HEAD, POST, PUT, DELETE"));
    let answer = broker.send(&preflight("https://evil.example")).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("access-control-allow-methods"), None);
}

#[tokio::test]
async fn no_page_from_elsewhere_changes_anything() {
    let broker = broker().await;
    for path in paths() {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            for headers in [
                "Origin: https://evil.example\r\n",
                "Origin: null\r\n",
                // What a form, a link or a beacon of a foreign page sends at the least.
                "Sec-Fetch-Site: cross-site\r\n",
                "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: no-cors\r\n",
                "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n",
                "Sec-Fetch-Site: cross-site\r\nOrigin: https://evil.example\r\nContent-Type: text/plain\r\n",
            ] {
                let answer = broker.ask(method, &path, headers).await;
                assert_eq!(answer.status, 403, "{method} {path} {headers:?}: {answer:?}");
            }
            if path == "/sign-in" {
                continue; // on our own page only
            }
            let answer = broker.ask(method, &path, "Origin: http://localhost:5174\r\n").await;
            assert_ne!(answer.status, 403, "{method} {path}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn every_answer_is_hardened() {
    let broker = broker().await;
    for (path, headers) in [("/", ""), ("/health", ""), ("/nothing", ""), ("/health", "Origin: null\r\n")] {
        let answer = broker.get(path, headers).await;
        assert!(answer.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"), "{answer:?}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{answer:?}");
        }
        assert!(answer.header("cache-control").is_some());
    }
}
