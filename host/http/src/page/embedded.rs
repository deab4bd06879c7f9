//! The terminal page, embedded in the program.
//!
//! Owns its files, their content types and how long a browser may keep them. It
//! tells the page if a link on another site led to it. Deliberately does not know
//! what the page does. A build without optimizations reads the files from
//! `web/dist` at each request instead.

use axum::extract::{Extension, Path};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::access::source::RequestSource;
use crate::answer::refuse;
use crate::conditions;

#[derive(rust_embed::Embed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Dist;

/// The name of a file under `assets/` contains a hash of its content, so it may be
/// kept for ever.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// The page itself may be kept, but the browser asks each time whether it changed.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// The answer must not be kept.
const NEVER: HeaderValue = HeaderValue::from_static("no-store");

/// What the page looks for before it starts anything. Only the server knows where
/// the browser comes from.
const LED: &str = "<html data-led";

/// `GET /`
pub(crate) async fn index(Extension(source): Extension<RequestSource>, headers: HeaderMap) -> Response {
    let Some(file) = Dist::get("index.html") else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the page is not built; `cargo xtask web` builds it");
    };
    if source == RequestSource::Link {
        // Not kept, because the next visit may be the person's own.
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

/// `GET /assets/*`
pub(crate) async fn asset(Path(path): Path<String>) -> Response {
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
