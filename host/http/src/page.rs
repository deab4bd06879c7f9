//! The terminal page, embedded in the program.
//!
//! Owns its files, their content types and how long a browser may keep them,
//! and tells the page when a link on another site's page led to it.
//! Deliberately knows nothing of what the page does. A build without
//! optimizations reads the files from `web/dist` at each request instead.

use axum::extract::{Extension, Path};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::guard::Page;
use super::{conditions, refuse};

#[derive(rust_embed::Embed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Dist;

/// The name of a file under `assets/` holds a hash of its content, so it may
/// be kept for ever.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// The page itself may be kept, but is asked for again each time.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

const NEVER: HeaderValue = HeaderValue::from_static("no-store");

/// What the page looks for before it starts anything: only the server knows
/// where the browser comes from.
const LED: &str = "<html data-led";

/// `GET /`
pub(super) async fn index(Extension(page): Extension<Page>, headers: HeaderMap) -> Response {
    let Some(file) = Dist::get("index.html") else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the page is not built; `cargo xtask web` builds it");
    };
    if page == Page::Link {
        // Not kept: the next visit may be the person's own.
        let text = String::from_utf8_lossy(&file.data).replacen("<html", LED, 1);
        return ([(CACHE_CONTROL, NEVER), (CONTENT_TYPE, content_type(&file))], text).into_response();
    }
    let hash = &file.metadata.sha256_hash()[..16];
    let etag = format!("\"{:032x}\"", u128::from_be_bytes(hash.try_into().expect("16 bytes")));
    let known = conditions::is_known(&headers, &etag);
    let kept = [(CACHE_CONTROL, ASK_AGAIN), (ETAG, HeaderValue::try_from(etag).expect("hexadecimal"))];
    if known {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    (kept, [(CONTENT_TYPE, content_type(&file))], file.data).into_response()
}

/// The page's files but the page itself: scripts, styles, the icon.
pub(super) const ASSETS: &str = "/assets/{*path}";

/// `GET /assets/*`
pub(super) async fn asset(Path(path): Path<String>) -> Response {
    match Dist::get(&format!("assets/{path}")) {
        Some(file) => ([(CACHE_CONTROL, FOR_EVER), (CONTENT_TYPE, content_type(&file))], file.data).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "no such file"),
    }
}

fn content_type(file: &rust_embed::EmbeddedFile) -> HeaderValue {
    let mime = file.metadata.mimetype();
    let charset = if mime.starts_with("text/") { "; charset=utf-8" } else { "" };
    HeaderValue::try_from(format!("{mime}{charset}")).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}
