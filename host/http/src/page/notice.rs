//! Words for a person who opens an address in a browser and gets no page: a
//! document in the page's style instead of JSON.
//!
//! Owns that one document. It needs no other file, because no other may be served
//! to this person. Deliberately decides nothing: the refusal says why.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, VARY};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;

use crate::access::proxy;
use crate::connection::exchange::Connection;
use crate::state::Shared;

/// Bytes of a refusal, at most.
const MAX_REFUSAL: usize = 16 * 1024;

/// Characters of a `Host` that are repeated, at most.
const MAX_HOST: usize = 100;

/// A refusal as programs get it.
#[derive(Deserialize)]
struct JsonRefusal {
    error: String,
    #[serde(default)]
    code: String,
}

/// `GET /signed-in`: where a sign-in at a proxy ends. It starts nothing.
pub(crate) async fn signed_in() -> Response {
    document("You are signed in", &["Close this tab. The window that led here goes on by itself."]).into_response()
}

/// If a browser wanted a page and was refused, shows the refusal as a page.
pub(crate) async fn dress(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let wants_page = request.method() == Method::GET && accepts_html(request.headers());
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host: String = host.chars().take(MAX_HOST).collect();
    let connection = request.extensions().get::<Connection>().expect("the accept loop adds it");
    let scheme = proxy::scheme(&shared.settings(), connection.peer.ip(), request.headers());
    let response = next.run(request).await;
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let failed = response.status().is_client_error() || response.status().is_server_error();
    if !wants_page || !failed || !is_json {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(body) = to_bytes(body, MAX_REFUSAL).await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let Ok(refusal) = serde_json::from_slice::<JsonRefusal>(&body) else {
        return Response::from_parts(head, Body::from(body));
    };
    let html = words(&refusal, &host, scheme);
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    head.headers.append(VARY, HeaderValue::from_static("accept"));
    Response::from_parts(head, Body::from(html.0))
}

/// Whether a browser wants a page.
fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

/// The document for a refusal. `scheme` is that of the browser's address, if it is known.
fn words(refusal: &JsonRefusal, host: &str, scheme: Option<&str>) -> Html<String> {
    let said = sentence(&refusal.error);
    match &*refusal.code {
        "foreign_host" => document(
            "This broker does not know the address that you opened",
            &[
                &format!("It was asked as “{host}”."),
                &format!(
                    "If that is what your address bar says, the operator sets this in broker.toml{}. It is live within a second.",
                    if scheme.is_some() { "" } else { ", with http or https, as people open it" }
                ),
                &format!("[server]\npublic_url = \"{}://{host}\"", scheme.unwrap_or("http")),
                "If your address bar says something else, a proxy before the broker does not hand on the Host field. \
                 In nginx: proxy_set_header Host $http_host. Then public_url is the address in your address bar.",
            ],
        ),
        _ => document("The broker does not show this page", &[&said]),
    }
}

/// Makes words a sentence.
fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    let Some(first) = chars.next() else { return String::new() };
    let end = if words.ends_with('.') { "" } else { "." };
    format!("{}{}{end}", first.to_uppercase(), chars.as_str())
}

/// Makes a document with these paragraphs. One of several lines is a piece of a file.
fn document(title: &str, paragraphs: &[&str]) -> Html<String> {
    let paragraph = |words: &&str| {
        let tag = if words.contains('\n') { "pre" } else { "p" };
        format!("<{tag}>{}</{tag}>", escape(words))
    };
    let paragraphs: String = paragraphs.iter().map(paragraph).collect();
    let title = escape(title);
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"dark light\"><style>{STYLE}</style><main><h1>{title}</h1>{paragraphs}</main></html>"
    ))
}

/// The style of the page's cards.
const STYLE: &str = ":root{color-scheme:light dark}\
    body{margin:0;min-height:100vh;display:grid;place-items:center;background:light-dark(#f4f6f9,#181c24);\
    color:light-dark(#1c2430,#e3e8f0);font:15px/1.5 system-ui,sans-serif}\
    main{box-sizing:border-box;width:min(520px,100% - 32px);margin:16px;padding:22px 24px 24px;\
    border:1px solid light-dark(#d5dbe5,#333b49);border-radius:14px;background:light-dark(#fff,#20262f)}\
    h1{margin:0 0 12px;font-size:18px}p,pre{margin:10px 0 0;overflow-wrap:anywhere}pre{white-space:pre-wrap}";

/// Escapes text for HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_for_a_foreign_host_are_toml_with_the_scheme_of_the_request() {
        let refusal = JsonRefusal { error: "no".to_owned(), code: "foreign_host".to_owned() };
        for (scheme, url, open) in [(Some("https"), "https://a.example", false), (None, "http://a.example", true)] {
            let Html(html) = words(&refusal, "a.example", scheme);
            let (_, lines) = html.split_once("<pre>").unwrap();
            let (lines, _) = lines.split_once("</pre>").unwrap();
            assert_eq!(lines.replace("&quot;", "\""), format!("[server]\npublic_url = \"{url}\""));
            assert_eq!(html.contains("http or https, as people open it"), open, "{html}");
        }
    }

    #[test]
    fn a_hosts_name_is_text_and_no_markup() {
        let refusal = JsonRefusal { error: "no".to_owned(), code: "foreign_host".to_owned() };
        let Html(html) = words(&refusal, "<script>\"&", None);
        assert!(!html.contains("<script>") && html.contains("“&lt;script&gt;&quot;&amp;”"), "{html}");
    }
}
