//! The page and how long a browser may keep it.

use super::harness::{Broker, Options};

#[tokio::test]
async fn the_page_is_served_or_says_how_it_is_built() {
    let broker = Broker::start(Options::default()).await;
    let answer = broker.get("/", "").await;
    if !std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/dist/index.html").exists() {
        assert_eq!(answer.status, 503);
        assert_eq!(answer.error(), "the page is not built; `cargo xtask web` builds it");
        return;
    }
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    let etag = answer.header("etag").unwrap();
    let again = broker.get("/", &format!("If-None-Match: \"x\", W/{etag}\r\n")).await;
    assert_eq!((again.status, again.body()), (304, ""));

    let assets =
        answer.body().split('"').filter_map(|part| part.strip_prefix('.').filter(|path| path.starts_with("/assets/")));
    let mut kinds = Vec::new();
    for path in assets {
        let asset = broker.get(path, "").await;
        assert_eq!(asset.status, 200, "{path}");
        assert_eq!(asset.header("cache-control"), Some("public, max-age=31536000, immutable"));
        kinds.push(asset.header("content-type").unwrap().to_owned());
    }
    assert!(kinds.contains(&"text/javascript; charset=utf-8".to_owned()), "{kinds:?}");
    assert!(kinds.contains(&"text/css; charset=utf-8".to_owned()), "{kinds:?}");
}

#[tokio::test]
async fn the_page_is_told_when_a_link_elsewhere_led_to_it() {
    let broker = Broker::start(Options::default()).await;
    if broker.get("/", "").await.status == 503 {
        return; // not built, which the test above says
    }
    let led = async |site: &str| {
        let fields = format!("Sec-Fetch-Site: {site}\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n");
        broker.get("/", &fields).await
    };
    for site in ["cross-site", "same-site"] {
        let answer = led(site).await;
        assert!(answer.body().contains("<html data-led lang"), "{site}");
        assert_eq!((answer.header("cache-control"), answer.header("etag")), (Some("no-store"), None), "{site}");
    }
    for site in ["none", "same-origin"] {
        let answer = led(site).await;
        assert!(answer.body().contains("<html lang") && answer.header("etag").is_some(), "{site}");
    }
}

#[tokio::test]
async fn nothing_beside_the_page_is_served() {
    let broker = Broker::start(Options::default()).await;
    for path in [
        "/assets/none.js",
        "/assets/../Cargo.toml",
        "/assets/..%2f..%2fpackage.json",
        "/assets/%2fetc%2fpasswd",
        "/index.html",
    ] {
        assert_eq!(broker.get(path, "").await.status, 404, "{path}");
    }
}
